import type { V1Job } from "@kubernetes/client-node";
import { type Watch, waitFor } from "../waiting";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";
import { removeLostPods } from "./lost-pods";
import { labelsOf, ownerAnnotation, selectorOf } from "./names";
import { objectsRunOf, packingObjects } from "./packing-job";

/** Milliseconds until a Job has to be gone with its pod, which gets half a minute to end. */
const removalDeadline = 120_000;

/** Times that a Job is looked at again where it changes between a look and its removal. */
const attempts = 20;

/**
 * Removes a Job, its pods and its ConfigMaps, and waits until they are gone. Another Job of its name is left alone, and so is one of which
 * `isOurs` says no.
 */
export async function removeJob(
  cluster: Cluster,
  job: V1Job,
  watch: Partial<Watch> = {},
  isOurs: (now: V1Job) => boolean = () => true,
): Promise<void> {
  const { batch, core, namespace } = cluster;
  const { name = "", uid = "" } = job.metadata ?? {};
  for (let attempt = 1; ; attempt++) {
    const now = await orNull(batch.readNamespacedJob({ name, namespace }));
    if (now !== null && now.metadata?.uid === uid && !isOurs(now)) return;
    if (now === null || now.metadata?.uid !== uid) break;
    // Whoever adopts it changes it, and is not overlooked.
    const resourceVersion = now.metadata.resourceVersion ?? "";
    const body = { propagationPolicy: "Foreground", preconditions: { uid, resourceVersion } };
    try {
      await orNull(batch.deleteNamespacedJob({ name, namespace, body }));
      break;
    } catch (error) {
      if (statusOf(error) !== 409 || attempt === attempts) throw error;
    }
  }
  const { told, program } = packingObjects(name, objectsRunOf(job));
  for (const object of [told, program]) {
    await orNull(core.deleteNamespacedConfigMap({ name: object, namespace }));
  }
  await waitFor({
    ...watch,
    what: `the Job ${name} to be gone with its pod`,
    deadline: removalDeadline,
    interval: 200,
    look: async () => {
      const found = await orNull(batch.readNamespacedJob({ name, namespace }));
      if (found === null || found.metadata?.uid !== uid) return true;
      await removeLost(cluster, uid, watch.progress ?? (() => undefined));
      return undefined;
    },
  });
}

/** Pods that nobody is left to end. What they pack is in the store, or is packed again. */
async function removeLost(cluster: Cluster, uid: string, progress: (message: string) => void): Promise<void> {
  const { core, namespace } = cluster;
  const labelSelector = `batch.kubernetes.io/controller-uid=${uid}`;
  const { items } = await core.listNamespacedPod({ namespace, labelSelector });
  const going = items.filter(({ metadata }) => metadata?.deletionTimestamp !== undefined);
  const pods = going.map((pod) => ({ pod, id: `pod ${pod.metadata?.name}` }));
  await removeLostPods(cluster, { pods, holdsWork: () => false, progress });
}

/** A packing Job that is there, whoever follows it. */
export interface LeftPacking {
  readonly name: string;
  readonly workstation: string;
  /** `organisation/project/stack` */
  readonly owner: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly state: "running" | "packed" | "failed";
  readonly remove: (watch?: Partial<Watch>) => Promise<void>;
}

/**
 * All packing Jobs of a namespace: of runs that are under way, and of those that were killed. Ones that have ended go by themselves some minutes
 * later.
 */
export async function packingJobs(cluster: Cluster): Promise<readonly LeftPacking[]> {
  const { namespace } = cluster;
  const { "app.kubernetes.io/instance": _, ...labels } = labelsOf("", "packer");
  const { items } = await cluster.batch.listNamespacedJob({ namespace, labelSelector: selectorOf(labels) });
  return items.map((job) => ({
    name: job.metadata?.name ?? "",
    workstation: job.metadata?.labels?.["app.kubernetes.io/instance"] ?? "",
    owner: job.metadata?.annotations?.[ownerAnnotation] ?? "",
    createdAt: new Date(job.metadata?.creationTimestamp ?? 0).toISOString(),
    state: stateOf(job),
    remove: (watch) => removeJob(cluster, job, watch),
  }));
}

function stateOf({ status }: V1Job): LeftPacking["state"] {
  const has = (type: string) => status?.conditions?.some((one) => one.type === type && one.status === "True") === true;
  if (has("Complete")) return "packed";
  return has("Failed") ? "failed" : "running";
}
