import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { Phase } from "../deployment";

/** Names of the containers of an instance's pod. */
export const containers = { agent: "agent", comfyui: "comfyui", nodeCache: "node-cache" } as const;

/** With which the agent ends on a fault that another start would repeat; its evidence is the termination message. */
export const faultExitCode = 70;

/** What a pod's status says of its instance. */
export interface PodStanding {
  readonly phase: Phase;
  /** What it is busy with or waits for. */
  readonly detail: string;
  /** Why waiting longer will not help, or null. */
  readonly fault: PodFault | null;
}

export interface PodFault {
  readonly phase: Phase;
  readonly reason: string;
  /**
   * `certain`: it will not go away by itself. `likely`: a registry or a Secret may still come; wait a little. `replaced`: this pod is
   * over through no fault of its own, and its Deployment makes another.
   */
  readonly kind: "certain" | "likely" | "replaced";
  readonly plugin?: string;
  readonly traceback?: string;
  readonly logTail?: readonly string[];
}

/** Reasons of a waiting container that mostly stay. */
const stuck: Readonly<Record<string, "certain" | "likely">> = {
  InvalidImageName: "certain",
  ErrImageNeverPull: "certain",
  ImageInspectError: "likely",
  ErrImagePull: "likely",
  ImagePullBackOff: "likely",
  RegistryUnavailable: "likely",
  CreateContainerConfigError: "likely",
  CreateContainerError: "likely",
  RunContainerError: "likely",
};

/** Reads what a pod is at from its status alone. */
export function standingOf(pod: V1Pod): PodStanding {
  const { metadata, spec, status } = pod;
  if (metadata?.deletionTimestamp !== undefined) {
    const why = disruptionOf(pod);
    return going("draining", why === null ? "it finishes its work" : `${why}; it finishes its work`);
  }
  if (status?.phase === "Failed" || status?.phase === "Succeeded") {
    const told = [status.reason, status.message?.trim()].filter(Boolean).join(": ");
    const reason = `the pod has ended (${told || disruptionOf(pod) || status.phase})`;
    const kind = overItsLimits(pod) ? "certain" : "replaced";
    return { phase: "failed", detail: reason, fault: { phase: "failed", reason, kind } };
  }
  const agent = statusOfContainer(status?.initContainerStatuses, containers.agent);
  const comfyui = statusOfContainer(status?.containerStatuses, containers.comfyui);
  const noted = notedFault(agent);
  if (noted !== null) return { phase: "failed", detail: noted.reason, fault: noted };
  if (spec?.nodeName === undefined) return going("waiting", schedulingText(pod));
  // Where there is one, nothing else starts before it has ended.
  const nodeCache = statusOfContainer(status?.initContainerStatuses, containers.nodeCache);
  for (const container of [nodeCache, agent, comfyui]) {
    const fault = waitingFault(container);
    if (fault !== null) return { phase: "waiting", detail: fault.reason, fault };
  }
  if (isReady(pod)) return going("proven", "");
  if (agent?.started !== true) {
    if (agent?.state?.running) return going("restoring", "");
    return going("waiting", waitingText(nodeCache === undefined || hasSucceeded(nodeCache) ? agent : nodeCache));
  }
  return comfyui?.state?.running ? going("booting", "") : going("booting", waitingText(comfyui));
}

/** Reasons of the condition `DisruptionTarget`: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/ */
const disruptions: Readonly<Record<string, string>> = {
  EvictionByEvictionAPI: "evicted from its node through the API",
  PreemptionByScheduler: "preempted by a pod of higher priority",
  DeletionByTaintManager: "its node has a taint that it does not tolerate, as one that does not answer has",
  DeletionByPodGC: "lost with its node",
  TerminationByKubelet: "evicted by its node's kubelet",
};

/** Why the cluster takes a pod away, or null when it does not, or a person or a Deployment does. */
export function disruptionOf({ status }: V1Pod): string | null {
  const condition = status?.conditions?.find(({ type, status: is }) => type === "DisruptionTarget" && is === "True");
  if (condition === undefined) return null;
  const { reason = "", message } = condition;
  return disruptions[reason] ?? ([reason, message].filter(Boolean).join(": ") || "disrupted");
}

/** Whether the kubelet evicted a pod for using more than it may: another one would do the same. */
function overItsLimits({ status }: V1Pod): boolean {
  return status?.reason === "Evicted" && /\bexceed(s|ed)\b/.test(status.message ?? "");
}

export function isReady({ metadata, status }: V1Pod): boolean {
  if (metadata?.deletionTimestamp !== undefined) return false;
  return status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True") ?? false;
}

/** Whether the scheduler finds no node for a pod, and why. */
export function unschedulable({ status }: V1Pod): string | null {
  const scheduled = status?.conditions?.find(({ type }) => type === "PodScheduled");
  return scheduled?.status === "False" && scheduled.reason === "Unschedulable" ? (scheduled.message ?? "") : null;
}

function going(phase: Phase, detail: string): PodStanding {
  return { phase, detail, fault: null };
}

function statusOfContainer(
  statuses: readonly V1ContainerStatus[] | undefined,
  name: string,
): V1ContainerStatus | undefined {
  return statuses?.find((status) => status.name === name);
}

function schedulingText(pod: V1Pod): string {
  const why = unschedulable(pod);
  return why === null ? "scheduling" : `no node for it: ${why}`;
}

function waitingText(status: V1ContainerStatus | undefined): string {
  const { waiting, terminated } = status?.state ?? {};
  if (waiting?.reason) return waiting.message ? `${waiting.reason}: ${waiting.message}` : waiting.reason;
  return terminated ? `ended with ${terminated.reason ?? ""} ${terminated.exitCode}` : "pulling its image";
}

function hasSucceeded({ state }: V1ContainerStatus): boolean {
  return state?.terminated?.exitCode === 0;
}

/** What keeps a container from being started, or null. */
export function waitingFault(status: V1ContainerStatus | undefined): PodFault | null {
  const { reason, message } = status?.state?.waiting ?? {};
  const kind = reason === undefined ? undefined : stuck[reason];
  if (kind === undefined) return null;
  const text = `container ${status?.name} cannot start: ${reason}${message ? `: ${message}` : ""} (image ${status?.image})`;
  return { phase: "waiting", reason: text, kind };
}

/** The evidence that the agent left behind when it ended. */
function notedFault(agent: V1ContainerStatus | undefined): PodFault | null {
  for (const state of [agent?.state, agent?.lastState]) {
    const ended = state?.terminated;
    if (ended?.exitCode !== faultExitCode) continue;
    return parseFault(ended.message ?? "");
  }
  return null;
}

function parseFault(message: string): PodFault {
  try {
    const { phase, reason, plugin, traceback, logTail } = JSON.parse(message);
    if (typeof reason === "string") return { phase, reason, kind: "certain", plugin, traceback, logTail };
  } catch {
    // Another program ended with this code, or the message was cut; what there is, is told.
  }
  return { phase: "failed", reason: message || "the agent ended without saying why", kind: "certain" };
}
