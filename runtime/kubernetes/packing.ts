import { randomBytes } from "node:crypto";
import type { V1Job, V1ObjectMeta, V1Pod } from "@kubernetes/client-node";
import { pause } from "../bell";

import type { Watch } from "../waiting";
import { claimUse, nodeOf, soleHolder } from "./claim-use";
import type { Cluster } from "./connection";
import { evidenceOf } from "./evidence";
import { orNull, reasonOf, statusOf } from "./failure";
import { selectorOf } from "./names";
import {
  objectsRunOf,
  type PackingJob,
  packerLabels,
  packingIdentity,
  packingJob,
  packingJobName,
  packingObjects,
  runAnnotation,
  specAnnotation,
} from "./packing-job";
import { type PackingOutcome, packingOutcome } from "./packing-outcome";
import { removeJob } from "./packing-removal";
import { messageIn, PackingWatch } from "./packing-watch";
import { programContent } from "./program";

/** Milliseconds after which a Job is looked at again without news: for deadlines, and for a node that went. */
const interval = 5_000;
/** Times that a Job is begun, where pods are lost through no fault of what they pack. */
const attempts = 2;

export interface PackingRun extends Watch {
  readonly warn: (message: string) => void;
  /** Fails when the engine is gone: asked right before anything that must not happen after its end. */
  readonly assertEngine: () => Promise<void>;
}

export interface Packed {
  readonly reference: string;
  readonly bytesAdded: number;
  readonly bytesStored: number;
}

/** A claim cannot be packed while it is used as it is. */
class ClaimInUseError extends Error {
  override readonly name = "ClaimInUseError";
}

/**
 * Packs a claim's content by a Job beside it, and says what the Job's agent says it packed. An equal Job that a killed run left is adopted;
 * others that it left are removed. Nothing of the Job is left, but where its run is aborted and another one has adopted it.
 */
export async function packInCluster(cluster: Cluster, job: PackingJob, run: PackingRun): Promise<Packed> {
  for (let attempt = 1; ; attempt++) {
    const token = randomBytes(3).toString("hex");
    const ours = await provideJob(cluster, job, token, run);
    let outcome: PackingOutcome;
    try {
      outcome = await follow(cluster, ours, run);
    } catch (error) {
      await takeAway(cluster, ours, run, token);
      throw error;
    }
    const failure = outcome.kind === "failed" ? await failureText(cluster, outcome) : "";
    await takeAway(cluster, ours, run, null);
    if (outcome.kind === "packed") return outcome;
    if (outcome.kind === "failed") throw new Error(`claim ${job.claim} was not packed: ${failure}`);
    if (attempt === attempts) {
      throw new Error(`claim ${job.claim} was not packed, although it was tried ${attempts} times: ${outcome.reason}`);
    }
    run.warn(`packing claim ${job.claim} was interrupted (${outcome.reason}): it is begun once more`);
  }
}

/** A Job of just this, that is there or is made. */
async function provideJob(cluster: Cluster, job: PackingJob, token: string, run: PackingRun): Promise<V1Job> {
  const { batch, namespace } = cluster;
  const name = packingJobName(job);
  const { items } = await batch.listNamespacedJob({ namespace, labelSelector: selectorOf(packerLabels(job)) });
  for (const other of items) {
    if (other.metadata?.name === name && isUsable(other, job)) {
      const adopted = await adopt(cluster, other, token);
      if (adopted === null) continue;
      run.progress("an equal Job that an earlier run has begun goes on");
      await provideObjects(cluster, adopted, job);
      return adopted;
    }
    run.progress(`removing the Job ${other.metadata?.name}, which an earlier run has left`);
    await run.assertEngine();
    await removeJob(cluster, other, run);
  }
  const node = await placeOf(cluster, job);
  await run.assertEngine();
  const made = await batch.createNamespacedJob({ namespace, body: packingJob(job, token, node) });
  await provideObjects(cluster, made, job);
  return made;
}

function isUsable({ metadata, status }: V1Job, job: PackingJob): boolean {
  const failed = status?.conditions?.some(
    ({ type, status: is }) => is === "True" && (type === "Failed" || type === "FailureTarget"),
  );
  if (failed === true || metadata?.deletionTimestamp !== undefined) return false;
  return metadata?.annotations?.[specAnnotation] === packingIdentity(job);
}

/** From now on it is this run's to remove; null when it is gone. */
function adopt({ batch, namespace }: Cluster, { metadata }: V1Job, token: string): Promise<V1Job | null> {
  const name = metadata?.name ?? "";
  const path = `/metadata/annotations/${runAnnotation.replace("/", "~1")}`;
  return orNull(
    batch.patchNamespacedJob({
      name,
      namespace,
      body: [
        { op: "test", path: "/metadata/uid", value: metadata?.uid },
        { op: "add", path, value: token },
      ],
    }),
  );
}

/** Its ConfigMaps, which go with it; its pod waits for them. */
async function provideObjects(cluster: Cluster, made: V1Job, job: PackingJob): Promise<void> {
  const { core, namespace } = cluster;
  const { metadata } = made;
  const { told, program } = packingObjects(metadata?.name ?? "", objectsRunOf(made));
  const ownerReferences = [
    { apiVersion: "batch/v1", kind: "Job", name: metadata?.name ?? "", uid: metadata?.uid ?? "" },
  ];
  const common: V1ObjectMeta = { labels: packerLabels(job), ownerReferences };
  const objects = [
    { metadata: { ...common, name: told }, data: { "pack.json": job.spec }, immutable: true },
    { metadata: { ...common, name: program }, ...programContent() },
  ];
  for (const body of objects) {
    try {
      await core.createNamespacedConfigMap({ namespace, body });
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
    }
  }
}

/** Where its pod has to be. @throws {ClaimInUseError} where nobody else may use the claim */
async function placeOf(cluster: Cluster, { claim }: PackingJob): Promise<string | null> {
  const use = await claimUse(cluster, claim);
  if (use === null) throw new Error(`the namespace ${cluster.namespace} has no claim ${claim}`);
  const holder = soleHolder(use);
  if (holder !== null) throw new ClaimInUseError(inUseText(claim, holder));
  return nodeOf(use);
}

export function inUseText(claim: string, { metadata }: V1Pod): string {
  return `claim ${claim} is ReadWriteOncePod and pod ${metadata?.name} holds it: no other pod can read it meanwhile; declare the workstation with state: "stopped" to publish`;
}

async function follow(cluster: Cluster, { metadata }: V1Job, run: PackingRun): Promise<PackingOutcome> {
  const { signal, progress } = run;
  const name = metadata?.name ?? "";
  let said = "";
  const tell = (line: string) => {
    said = line;
    progress(line);
  };
  const watch = new PackingWatch(cluster, name, metadata?.uid ?? "", tell, progress);
  try {
    await watch.start();
    let shown = "";
    let stage = { name: "", at: performance.now() };
    const lasting = (name: string) => (name === stage.name ? performance.now() - stage.at : 0);
    for (;;) {
      signal.throwIfAborted();
      const change = watch.next;
      const { seen } = watch;
      const outcome = packingOutcome(seen, lasting);
      if (outcome.kind !== "going") return outcome;
      if (outcome.stage !== stage.name) stage = { name: outcome.stage, at: performance.now() };
      const text = outcome.stage === "packing" && said !== "" ? said : `${outcome.text} (Job ${name})`;
      if (text !== shown) progress(text);
      shown = text;
      const { pod } = seen;
      if (await isLost(cluster, pod)) return { kind: "lost", reason: `its node ${pod?.spec?.nodeName} is gone` };
      await pause(interval, AbortSignal.any([signal, change]));
    }
  } finally {
    watch.close();
  }
}

/** Whether a pod's node is gone; nobody is left then who would say what became of the pod. */
async function isLost(cluster: Cluster, pod: V1Pod | null): Promise<boolean> {
  const node = pod?.spec?.nodeName;
  if (node === undefined) return false;
  try {
    return (await orNull(cluster.core.readNode({ name: node }))) === null;
  } catch (error) {
    // Not everybody who deploys may look at nodes, and one that does not answer now is asked again.
    if (statusOf(error) === 403 || statusOf(error) === null) return false;
    throw error;
  }
}

/** Why it failed, with what its pod, the cluster and its output say. */
async function failureText(cluster: Cluster, { reason, pod }: PackingOutcome & { readonly kind: "failed" }) {
  if (pod === null) return reason;
  const standing = { phase: "failed" as const, detail: reason, fault: null };
  const evidence = await evidenceOf(cluster, pod, pod.metadata?.name ?? "", standing);
  const lines = evidence.logTail.map(messageIn).filter((line) => !reason.includes(line));
  const output = lines.length === 0 ? [] : ["  its last output:", ...lines.map((line) => `    ${line}`)];
  return [evidence.reason, ...output].join("\n");
}

/**
 * Removes a Job and what belongs to it. With a token only while it is that run's: another one may have adopted it since the engine of this one
 * is gone. What cannot be removed is said, and goes by itself some minutes after its end.
 */
async function takeAway(cluster: Cluster, job: V1Job, run: PackingRun, token: string | null): Promise<void> {
  // Whoever aborted this run waits for nothing any more.
  const watch = { progress: run.progress, ...(run.signal.aborted ? {} : { signal: run.signal }) };
  const name = job.metadata?.name ?? "";
  try {
    const ours = token === null ? undefined : (now: V1Job) => now.metadata?.annotations?.[runAnnotation] === token;
    await removeJob(cluster, job, watch, ours);
  } catch (error) {
    run.warn(`the Job ${name} could not be removed and is left, for some minutes after its end: ${reasonOf(error)}`);
  }
}
