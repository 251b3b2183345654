import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { restore } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { painter } from "../../test/support/engine-plugins";
import { median } from "../measure";
import { plainClaim, plainDeployment, plainService, versionPatch } from "./plain-deployment";
import { differences, instances, listsOf, type Stage, startLoad, untilSteady } from "./stage";

const name = "plain";

/** What clients saw of the rollouts of a plain Deployment. */
export interface Rollouts {
  /** Seconds of each, from `kubectl patch` until `kubectl rollout status` is content. */
  readonly seconds: readonly number[];
  /** Complaints in each. */
  readonly complaints: readonly number[];
  readonly counts: Readonly<Record<string, number>>;
  readonly finished: number;
}

/**
 * Rolls a plain Deployment out as often, on the same cluster, with the same snapshots and under the same load. Its pods find every
 * version restored already, as they would in an image that is on their node.
 */
export async function rollOut({ services, rotations, say }: Stage): Promise<Rollouts> {
  const { cluster, s3, project } = services;
  const volume = `plain-${randomBytes(3).toString("hex")}`;
  const folder = await cluster.lab.addVolume(volume, 1);
  services.makeEnvironment({ painter: painter("0") });
  for (let version = 0; version <= rotations; version++) {
    project.writePlugins({ painter: painter(String(version)) });
    const reference = await services.publish();
    await restore({ reference, settings: s3.settings, target: join(folder, `v${version}`) });
  }
  await cluster.create(plainClaim(name, volume, cluster.lab.storageClass));
  await cluster.create(plainDeployment(name, instances, "v0"));
  const service = await cluster.create(plainService(name));
  const kubectl = kubectlIn(cluster.kubeconfig, cluster.namespace);
  const rolledOut = () => kubectl("rollout", "status", `deployment/${name}`, "--timeout=180s");
  await rolledOut();
  const { clusterIP, ports } = service.spec ?? {};
  const url = `http://${clusterIP}:${ports?.[0]?.port}`;
  await untilAnswers(url);
  const traffic = startLoad(url);
  const seconds: number[] = [];
  const before: number[] = [];
  try {
    await untilSteady(traffic, 20);
    for (let version = 1; version <= rotations; version++) {
      before.push(traffic.seen.complaints.length);
      const began = performance.now();
      await kubectl("patch", `deployment/${name}`, "--type=json", "--patch", versionPatch(`v${version}`));
      await rolledOut();
      seconds.push((performance.now() - began) / 1000);
      await onlyPods(services, instances);
      say(`  ${version}/${rotations} kubectl rollout: ${seconds.at(-1)?.toFixed(2)} s`);
    }
  } finally {
    const { complaints } = await traffic.stop();
    for (const complaint of complaints.slice(0, 12)) say(`  ${complaint}`);
    if (complaints.length > 12) say(`  and ${complaints.length - 12} more`);
  }
  const { finished, complaints, counts } = traffic.seen;
  return { seconds, complaints: differences(before, complaints.length), counts, finished };
}

/** The rollouts in a line, and their raw numbers. */
export function describeRollouts({ seconds, complaints, counts, finished }: Rollouts) {
  const kinds = `${counts.requests} requests, ${counts.prompts} prompts, ${counts.sockets} sockets`;
  const text = `kubectl rollout: ${kinds} in ${seconds.length} rollouts of ${median(seconds).toFixed(1)} s, ${finished} prompts finished`;
  const details = { "rollout seconds": seconds, "rollout complaints": complaints, "rollout finished": [finished] };
  const kindDetails = Object.entries(listsOf(counts)).map(([kind, list]) => [`rollout ${kind}`, list] as const);
  return { text, details: { ...details, ...Object.fromEntries(kindDetails) } };
}

/** A rollout that is done says nothing of nodes, which may not know yet where the Service leads. */
async function untilAnswers(url: string): Promise<void> {
  await waitFor({
    what: `an answer of ${name} at ${url}`,
    deadline: 60_000,
    look: async () => {
      const answer = await fetch(`${url}/system_stats`, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
      return answer?.ok === true ? true : undefined;
    },
  });
}

/** Waits until the pods of the version before are gone. */
async function onlyPods({ cluster }: Stage["services"], count: number): Promise<void> {
  const { core, namespace } = cluster;
  await waitFor({
    what: `${count} pods of ${name}`,
    deadline: 120_000,
    look: async () => {
      const { items } = await core.listNamespacedPod({ namespace, labelSelector: `app=${name}` });
      return items.length === count ? true : undefined;
    },
  });
}

/** `kubectl` as the environment names it, else the one on PATH. */
function kubectlIn(kubeconfig: string, namespace: string) {
  const [program = "kubectl", ...first] = (process.env.BENCH_KUBECTL ?? "kubectl").split(" ");
  return async (...args: readonly string[]): Promise<string> => {
    const all = [...first, "--kubeconfig", kubeconfig, "--namespace", namespace, ...args];
    return (await promisify(execFile)(program, all, { timeout: 240_000 })).stdout;
  };
}
