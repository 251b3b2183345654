import { z } from "zod";
import { releaseLabel } from "../../kubernetes/names";
import { ports } from "../../kubernetes/pod-places";
import type { InstanceState, TargetInstance } from "../targets";

const time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));

/** What a gateway reads of a pod. */
export const podSchema = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.string().optional(),
    ownerReferences: z
      .array(z.object({ kind: z.string(), name: z.string(), controller: z.boolean().default(false) }))
      .default([]),
  }),
  status: z
    .object({
      phase: z.string().default(""),
      podIP: z.string().default(""),
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            reason: z.string().default(""),
            lastTransitionTime: time.nullish(),
          }),
        )
        .default([]),
      containerStatuses: z
        .array(
          z.object({
            name: z.string(),
            restartCount: z.int().default(0),
            state: z.object({ running: z.object({ startedAt: time.nullish() }).optional() }).default({}),
          }),
        )
        .default([]),
    })
    .prefault({}),
});
export type Pod = z.infer<typeof podSchema>;

/** An instance with what is needed to act on its pod. */
export interface PodInstance extends TargetInstance {
  readonly pod: string;
  readonly uid: string;
  readonly address: string;
  readonly deletionCost: string | undefined;
}

/**
 * The instance in a pod; null while there is none that a gateway could have to do with: before its ComfyUI was proven for the
 * first time, after this start of ComfyUI has ended, and when the cluster has given it up with its node.
 */
export function instanceOfPod(pod: Pod, service: string, draining: ReadonlySet<string>): PodInstance | null {
  const { metadata, status } = pod;
  const release = metadata.labels[releaseLabel];
  if (release === undefined || status.podIP === "" || ["Failed", "Succeeded"].includes(status.phase)) return null;
  if (!isOfRelease(pod, `${service}-${release}`) || isGivenUp(pod)) return null;
  const comfyui = status.containerStatuses.find(({ name }) => name === "comfyui");
  // What is not running has lost its queue, and will be another instance when it runs again.
  if (comfyui?.state.running === undefined) return null;
  const leaving = metadata.deletionTimestamp !== undefined || draining.has(release);
  const state = leaving ? "draining" : readiness(status, comfyui.state.running.startedAt ?? null);
  if (state === null) return null;
  const prefix = `${service}-${release}-`;
  // The names of pods are cut where the Deployment's is long.
  const own = metadata.name.startsWith(prefix) ? metadata.name.slice(prefix.length) : metadata.name;
  const host = status.podIP.includes(":") ? `[${status.podIP}]` : status.podIP;
  return {
    id: `${release}/${own}`,
    release,
    url: `http://${host}:${ports.comfyui}`,
    state,
    epoch: comfyui.restartCount,
    pod: metadata.name,
    uid: metadata.uid,
    address: host,
    deletionCost: metadata.annotations["controller.kubernetes.io/pod-deletion-cost"],
  };
}

/**
 * Whether the cluster has given a pod up because its node does not answer. Its object then stays until somebody removes it or the node.
 * A taint alone evicts pods of nodes that live, too: but only the node's controller, which has no kubelet to ask, takes Ready from a pod
 * and leaves it ContainersReady. What still answers is not lost: `LostPrompts` asks it.
 */
function isGivenUp({ metadata, status }: Pod): boolean {
  const { conditions } = status;
  const is = (type: string, value: string) => conditions.some((one) => one.type === type && one.status === value);
  const evicted = conditions.some(
    ({ type, status: value, reason }) =>
      type === "DisruptionTarget" && value === "True" && reason === "DeletionByTaintManager",
  );
  return metadata.deletionTimestamp !== undefined && evicted && is("Ready", "False") && is("ContainersReady", "True");
}

/** Anybody can put labels on a pod; a Deployment's pods belong to a ReplicaSet that bears its name. */
function isOfRelease({ metadata }: Pod, deployment: string): boolean {
  return metadata.ownerReferences.some(
    ({ kind, name, controller }) =>
      controller &&
      kind === "ReplicaSet" &&
      name.startsWith(`${deployment}-`) &&
      !name.slice(deployment.length + 1).includes("-"),
  );
}

/**
 * Null when this start of ComfyUI has not been Ready yet. A pod's condition changes its time only with its value: one that is
 * not Ready since after the start of ComfyUI was Ready in between. Kubernetes keeps whole seconds.
 */
function readiness(status: Pod["status"], startedAt: number | null): InstanceState | null {
  const condition = status.conditions.find(({ type }) => type === "Ready");
  if (condition?.status === "True") return "ready";
  const since = condition?.lastTransitionTime ?? null;
  return since !== null && startedAt !== null && since > startedAt ? "unready" : null;
}
