import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { VersionApi } from "@kubernetes/client-node";
import { ClusterServices } from "../../test/support/cluster-service";
import { useKubernetesPlugin } from "../../test/support/kubernetes-plugin-path";
import { describeMachine } from "../machine";
import { Results } from "../metrics";
import { documentOf, tableOf } from "../report";
import { countIn, sayWhetherIdle, wantedOf } from "../selection";
import { measureGate } from "./gate";
import { type ClusterMetricId, clusterGoals } from "./goals";
import { describeRollouts, rollOut } from "./rollout";
import { rotate } from "./rotation";
import type { Stage } from "./stage";

const usage = `Usage: npm run bench:cluster [-- options]
  --json FILE      write the raw numbers as well
  --only METRIC    measure only this, or all that start so (gate needs no cluster); may be repeated
  --rotations N    rotations of the service, and rollouts of the plain Deployment (default: 5)
Metrics: ${clusterGoals.map(({ id }) => id).join(" ")}
`;

const say = (line: string) => void process.stderr.write(`${line}\n`);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "string" },
      only: { type: "string", multiple: true },
      rotations: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help) return void process.stdout.write(usage);
  const rotations = countIn("rotations", values.rotations, 5);
  const wanted = wantedOf(clusterGoals, values.only ?? [], usage);
  const results = new Results<ClusterMetricId>(clusterGoals);
  const versions = new Map<string, string>();
  const machine = () => describeMachine(process.cwd(), versions);
  const { load } = machine();
  sayWhetherIdle({ load }, say);

  const attempt = async (metrics: readonly ClusterMetricId[], what: string, run: () => Promise<void>) => {
    if (!metrics.some(wanted)) return;
    say(what);
    try {
      await run();
    } catch (error) {
      const { message } = error as Error;
      // What an engine says of its failure is at the end of what it prints.
      say(
        `  failed: ${message.slice(0, 200)}${message.length > 200 ? `\n  …\n${message.slice(200).slice(-3_000)}` : ""}`,
      );
      for (const id of metrics) if (!results.has(id)) results.missing(id, message.split("\n", 1)[0] ?? "");
    }
  };
  await attempt(["gate.proving", "gate.draining"], "a gate over 200 pods, and their drain", () =>
    measureGate(results, say),
  );
  await attempt(["rotation.traffic", "rotation.up", "rotation.failures"], "rotations on the cluster", async () => {
    await using services = await ClusterServices.create("bench");
    const version = await services.cluster.client(VersionApi).getCode();
    versions.set("kubernetes", version.gitVersion);
    versions.set("kubernetes plugin", useKubernetesPlugin().real ? "the released one" : "the tests' stand-in");
    const stage = { services, results, rotations, say };
    const failed = await rotateAndDestroy(stage).then(
      () => null,
      (error: unknown) => error,
    );
    say("rollouts of a plain Deployment");
    const { text, details } = describeRollouts(await rollOut(stage));
    say(`  ${text}`);
    if (failed !== null) throw failed;
    results.annotate("rotation.failures", text, details);
  });
  const measured = results.all(wanted);
  if (values.json !== undefined) {
    const document = documentOf({ ...machine(), load }, {}, rotations, measured);
    writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`);
  }
  process.stdout.write(`${tableOf(measured)}\n`);
  process.stdout.write(`${measured.filter(({ met }) => met).length} of ${measured.length} goals met\n`);
}

async function rotateAndDestroy(stage: Stage): Promise<void> {
  await rotate(stage);
  const destroyed = await stage.services.project.destroy();
  if (destroyed.code !== 0) throw new Error(`pulumi destroy ended with ${destroyed.code}:\n${destroyed.output}`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
