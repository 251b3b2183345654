import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { acceptanceScript, type Seen } from "../support/acceptance-script";
import { runCli } from "../support/cli-run";
import { ClusterServices } from "../support/cluster-service";
import { useCommandPlugin } from "../support/command-plugin-path";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { startTraffic, type Traffic } from "../support/traffic";

describe("a script that a release in a cluster has to pass", () => {
  let services: ClusterServices;
  let traffic: Traffic | undefined;
  let serving = "";

  const seenFile = () => join(services.project.folder, "seen.json");
  const seen = (): Seen => JSON.parse(readFileSync(seenFile(), "utf8"));

  function declare(verify: object): void {
    rmSync(seenFile(), { force: true });
    services.declare([{ name: "studio", count: 1, verify }]);
  }

  async function publish(version: string): Promise<void> {
    services.project.writePlugins({ painter: painter(version) });
    await services.publish();
  }

  /** Deployments of the serving release and of the last one, with the pods that they are to have. */
  async function replicas(): Promise<Readonly<Record<string, number | undefined>>> {
    const deployments = await services.deployments();
    return Object.fromEntries(deployments.map(({ metadata, spec }) => [metadata?.name ?? "", spec?.replicas]));
  }

  async function expectServing(version: string): Promise<void> {
    serving = (await services.records().target()).release ?? "";
    expect(seen()).toMatchObject({ http: version, socket: version });
    expect(seen().environment).toMatchObject({ COMFYUI_RELEASE: serving, COMFYUI_SERVICE: "studio" });
    expect(await replicas()).toEqual({ [`studio-${serving}`]: 1 });
  }

  const script = (version: string) => `node acceptance.mjs ${version}`;

  beforeAll(async () => {
    useCommandPlugin();
    services = await ClusterServices.create("verify", { gpus: 2 });
    services.makeEnvironment({ painter: painter("0") });
    writeFileSync(join(services.project.folder, "acceptance.mjs"), acceptanceScript);
  });

  afterAll(async () => {
    const { complaints } = (await traffic?.stop()) ?? { complaints: [] };
    await services?.[Symbol.asyncDispose]();
    expect(complaints).toEqual([]);
  });

  test("is tried with the first release, through a gateway that has nothing to serve", async () => {
    await publish("1");
    declare({ command: script("1") });
    await services.project.mustUp();
    await expectServing("1");
    const token = await services.records().deployerToken();
    expect(JSON.stringify(seen().environment)).not.toContain(token);
    traffic = startTraffic({
      url: await services.url(),
      clients: 2,
      workflow: (client, prompt) => paint(0.5, `${client}-${prompt}`),
      versionIn: paintedBy,
      patience: 120_000,
    });
  });

  test("that refuses a release fails the update with its output; traffic stays, its pods go", async () => {
    await publish("2");
    declare({ command: script("9") });
    const run = await services.project.up();
    expect(run.code, run.output).not.toBe(0);
    expect(run.output).toContain("painted by 2, wanted 9");
    expect(run.output).toContain(`traffic stays on ${serving}`);
    expect(seen()).toMatchObject({ http: "2", socket: "2" });
    expect((await services.records().target()).release).toBe(serving);
    const failed = (await services.records().required()).releases.at(-1);
    expect(failed?.events.at(-1)).toMatchObject({
      event: "failed",
      detail: "acceptance: the command ended with exit code 7: painted by 2, wanted 9",
    });
    expect(failed?.count).toBe(0);
    expect(await replicas()).toEqual({ [`studio-${serving}`]: 1, [`studio-${failed?.id}`]: 0 });
  });

  test("tries the same release again with the next update, once it is proven anew", async () => {
    const failed = (await services.records().required()).releases.at(-1)?.id;
    declare({ command: script("2") });
    await services.project.mustUp();
    await expectServing("2");
    expect(serving).toBe(failed);
  });

  test("ends with an engine that is killed; after recover and up the release is tried again", async () => {
    await publish("3");
    const holding = join(services.project.folder, "holding");
    declare({ command: `touch ${holding}; exec sleep 7401` });
    const run = services.project.start("up", "--yes", "--skip-preview");
    await waitFor({ what: "the script to begin", deadline: 300_000, look: () => existsSync(holding) || undefined });
    await run.kill();
    await waitFor({
      what: "the script to end with its engine",
      deadline: 60_000,
      look: () => !execFileSync("ps", ["-eo", "args="], { encoding: "utf8" }).includes("\nsleep 7401") || undefined,
    });
    const { releases } = await services.records().required();
    expect(releases.at(-1)?.events.at(-1)?.event).toBe("proven");
    const recovered = await runCli(["recover", "--yes", "--json"], {
      cwd: services.project.folder,
      environment: services.project.environmentVariables,
    });
    expect(recovered, recovered.stderr).toMatchObject({ code: 0 });
    declare({ command: script("3") });
    await services.project.mustUp();
    await expectServing("3");
  });

  test("that refuses gives way to the earlier snapshot, and nothing is left of what it refused", async () => {
    await publish("4");
    declare({ command: script("9") });
    expect((await services.project.up()).code).not.toBe(0);
    await publish("3");
    declare({ command: script("3") });
    await services.project.mustUp();
    await expectServing("3");
  });
});
