import type { V1ContainerStateTerminated, V1Job, V1Pod } from "@kubernetes/client-node";
import { formatDuration } from "../format";
import { containers, unschedulable, waitingFault } from "./pod-phase";

/** Milliseconds for which what mostly stays may still go away: a registry that has to be asked again, a Secret that is being made. */
const stuckPatience = 45_000;
/** Milliseconds until its container runs: an autoscaler may have to bring a node. */
const startPatience = 15 * 60_000;
/** Milliseconds for which a Job may be without a pod before that means that the pod is gone. */
const podPatience = 60_000;

/** What has become of a packing Job: `lost`: through no fault of what it packs, so that another attempt may go better. */
export type PackingOutcome =
  | { readonly kind: "packed"; readonly reference: string; readonly bytesAdded: number; readonly bytesStored: number }
  | { readonly kind: "failed"; readonly reason: string; readonly pod: V1Pod | null }
  | { readonly kind: "lost"; readonly reason: string };

/** A Job that goes on. How long a stage lasts counts, whatever its text says meanwhile. */
export interface PackingStage {
  readonly kind: "going";
  readonly stage: "without a pod" | "pending" | "stuck" | "packing";
  readonly text: string;
}

export interface Seen {
  readonly job: V1Job | null;
  readonly pod: V1Pod | null;
}

/** Judges a Job by what is seen of it; `lasting`: milliseconds for which its stage has been this one. */
export function packingOutcome(
  { job, pod }: Seen,
  lasting: (stage: PackingStage["stage"]) => number,
): PackingOutcome | PackingStage {
  if (job === null) return { kind: "lost", reason: "its Job was removed by somebody else" };
  if (pod !== null) {
    const ended = terminationOf(pod);
    if (ended !== null) return outcomeOfEnd(pod, ended);
    const disruption = disruptionOf(pod);
    if (disruption !== null) return { kind: "lost", reason: disruption };
    if (pod.status?.phase === "Failed") {
      const { reason = "Failed", message = "" } = pod.status;
      return { kind: "failed", reason: `its pod has ended: ${[reason, message].filter(Boolean).join(": ")}`, pod };
    }
  }
  const end = job.status?.conditions?.find(
    ({ type, status }) => status === "True" && /^(Failed|FailureTarget)$/.test(type),
  );
  if (end?.reason === "DeadlineExceeded") {
    const seconds = job.spec?.activeDeadlineSeconds ?? 0;
    const reason = `it was not done after ${formatDuration(seconds * 1000)}, its time-out; raise packing.timeout`;
    return { kind: "failed", reason, pod };
  }
  if (job.metadata?.deletionTimestamp !== undefined) {
    return { kind: "lost", reason: "its Job was removed by somebody else" };
  }
  if (pod === null) {
    const over = end !== undefined || job.status?.conditions?.some(({ type }) => type === "Complete") === true;
    if (over || lasting("without a pod") >= podPatience) return { kind: "lost", reason: "its pod is gone" };
    return { kind: "going", stage: "without a pod", text: "waiting for its pod" };
  }
  return whereItIs(pod, lasting);
}

function whereItIs(pod: V1Pod, lasting: (stage: PackingStage["stage"]) => number): PackingOutcome | PackingStage {
  const status = pod.status?.containerStatuses?.find(({ name }) => name === containers.agent);
  if (status?.state?.running) return { kind: "going", stage: "packing", text: "packing" };
  const fault = waitingFault(status);
  if (fault !== null) {
    const isOver = fault.kind === "certain" || lasting("stuck") >= stuckPatience;
    return isOver
      ? { kind: "failed", reason: fault.reason, pod }
      : { kind: "going", stage: "stuck", text: fault.reason };
  }
  const noNode = unschedulable(pod);
  const text = noNode === null ? "waiting for its container" : `no node takes its pod: ${noNode}`;
  if (lasting("pending") < startPatience) return { kind: "going", stage: "pending", text };
  return { kind: "failed", reason: `its container does not run after ${formatDuration(startPatience)}: ${text}`, pod };
}

function terminationOf({ status }: V1Pod): V1ContainerStateTerminated | null {
  return status?.containerStatuses?.find(({ name }) => name === containers.agent)?.state?.terminated ?? null;
}

function outcomeOfEnd(pod: V1Pod, { exitCode, message = "", reason }: V1ContainerStateTerminated): PackingOutcome {
  const told = parsed(message);
  if (exitCode === 0) {
    const { reference, bytesAdded = 0, bytesStored = 0 } = told;
    if (typeof reference === "string") {
      return { kind: "packed", reference, bytesAdded: Number(bytesAdded), bytesStored: Number(bytesStored) };
    }
    return { kind: "failed", reason: "its agent ended without saying what it packed", pod };
  }
  if (reason === "OOMKilled") {
    return { kind: "failed", reason: "it took more memory than it may; raise packing.resources.limits.memory", pod };
  }
  const disruption = disruptionOf(pod);
  if (disruption !== null) return { kind: "lost", reason: disruption };
  // 143: told to end, whoever told it.
  if (exitCode === 143) return { kind: "lost", reason: "its container was told to end" };
  if (typeof told.reason === "string") return { kind: "failed", reason: told.reason, pod };
  return { kind: "failed", reason: `its agent ended with exit code ${exitCode}`, pod };
}

/** What took a pod away that would have gone on: an eviction, a node that went, a person; null where nothing did. */
function disruptionOf({ metadata, status }: V1Pod): string | null {
  const target = status?.conditions?.find(({ type, status: is }) => type === "DisruptionTarget" && is === "True");
  if (target !== undefined)
    return `its pod was taken away: ${[target.reason, target.message].filter(Boolean).join(": ")}`;
  if (/^(Evicted|NodeLost|Shutdown|Terminated|NodeShutdown|Preempting)$/.test(status?.reason ?? "")) {
    return `its pod was taken away: ${[status?.reason, status?.message].filter(Boolean).join(": ")}`;
  }
  return metadata?.deletionTimestamp === undefined ? null : "its pod was deleted";
}

function parsed(message: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(message);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
