import type { V1Pod } from "@kubernetes/client-node";
import { pause } from "../bell";
import { type Evidence, type PodSettings, type WorkstationStatus, workstationStatusIn } from "../deployment";
import { formatDuration } from "../format";
import type { Watch } from "../waiting";
import { DeploymentPods } from "./deployment-pods";
import { evidenceOf } from "./evidence";
import { LostPods } from "./lost-pods";
import { selectorOf } from "./names";
import { type PodStanding, standingOf, unschedulable } from "./pod-phase";
import { evidenceText, isFaulty, shortageOf } from "./proving";
import { removePod } from "./remove-pod";
import { WorkstationStatusWatch } from "./told-by-agent";
import type { WorkstationRecords } from "./workstation-record";

/** Milliseconds after which the pod is looked at again without news. */
const interval = 2_000;
/** Milliseconds beyond a stop's time-out for ComfyUI to end and its last scan, which the pod's grace period has, and for the pod to go. */
const endMargin = 240_000;
/** Milliseconds for which what only a person can mend may still turn out otherwise. */
const blockedPatience = 5_000;

export interface WorkstationStart extends Watch {
  /** UID of the Deployment whose pod counts. */
  readonly deployment: string;
  /** What its pod asks for; to tell what is missing. */
  readonly settings: Pick<PodSettings, "gpu" | "nodeSelector" | "tolerations">;
  /** Milliseconds that the start gets once no earlier pod is there. */
  readonly timeout: number;
  /** Milliseconds that an earlier pod gets to finish its prompts. */
  readonly stopTimeout: number;
  /** Hears, once each, of what a person should know while it waits. */
  readonly warn: (message: string) => void;
}

/**
 * Waits until the one pod of a workstation is there, of what is declared now, and its ComfyUI answers.
 * @throws with evidence, as soon as waiting is of no use, and at the deadline
 */
export async function untilWorkstationRuns(records: WorkstationRecords, start: WorkstationStart): Promise<void> {
  const { cluster, workstation } = records;
  const { deployment, progress, signal, timeout } = start;
  const pods = new DeploymentPods(cluster, records.labels, progress);
  const agent = new WorkstationStatusWatch(records, progress);
  let started = performance.now();
  let wasGoing = false;
  const stuckSince = new Map<string, number>();
  let blockedSince: number | null = null;
  let shortage: string | null = null;
  const lost = new LostPods(cluster, progress, { exclusive: true });
  try {
    await Promise.all([pods.start(), agent.start()]);
    for (;;) {
      signal.throwIfAborted();
      const changes = [pods.next, agent.next];
      const current = await records.deployment();
      if (current?.metadata?.uid !== deployment) {
        throw new Error(`the Deployment of workstation ${workstation} was removed by somebody else`);
      }
      const all = pods.of(deployment).map((pod) => seenOf(pod, agent));
      const going = all.filter(({ pod }) => pod.metadata?.deletionTimestamp !== undefined);
      const [seen] = all.filter((one) => !going.includes(one));
      if (seen !== undefined && going.length === 0) {
        const isCurrent = (current.status?.observedGeneration ?? 0) >= (current.metadata?.generation ?? 0);
        if (seen.standing.phase === "proven" && isCurrent && current.status?.updatedReplicas === 1) {
          progress(`workstation ${workstation} runs`);
          return;
        }
        if (isFaulty(seen, stuckSince) || seen.told?.phase === "failed") throw await failure(records, seen);
        blockedSince = seen.told?.blocked ? (blockedSince ?? performance.now()) : null;
        if (blockedSince !== null && performance.now() - blockedSince >= blockedPatience) {
          throw new Error(`workstation ${workstation} cannot start: ${seen.told?.blocked}`);
        }
        if (unschedulable(seen.pod) !== null && shortage === null) {
          shortage = await shortageOf(cluster, start.settings, [seen]);
          start.warn(shortage);
        }
      }
      // Its time begins once an earlier pod has gone.
      if (wasGoing && going.length === 0) started = performance.now();
      wasGoing = going.length > 0;
      const text = textOf(seen, going);
      progress(`waiting for workstation ${workstation}: ${text}`);
      const deadline = wasGoing ? start.stopTimeout + endMargin : timeout;
      if (performance.now() - started >= deadline) {
        const message = `workstation ${workstation} did not run within ${formatDuration(deadline)}: ${text}`;
        const late = seen === undefined ? "" : `\n${(await failure(records, seen)).message}`;
        throw new Error(`${[message, shortage].filter(Boolean).join("; ")}${late}`);
      }
      await lost.removeAmong(all, () => true);
      await pause(interval, AbortSignal.any([signal, ...changes]));
    }
  } finally {
    pods.close();
    agent.close();
  }
}

/**
 * Ends pods that would not go on by themselves: of what has failed for good, as their agent noted, something may have been mended; and one
 * that waits for an environment has read what it is to be filled from, before that was declared. Another pod tries it.
 */
export async function endStuckPods(records: WorkstationRecords): Promise<void> {
  const { cluster, labels } = records;
  const { core, namespace } = cluster;
  const { items } = await core.listNamespacedPod({ namespace, labelSelector: selectorOf(labels) });
  const told = workstationStatusIn((await records.told())?.data);
  for (const pod of items) {
    const isBlocked = told !== null && told.pod === pod.metadata?.name && told.blocked !== null;
    if (standingOf(pod).fault?.kind === "certain" || isBlocked) await removePod(cluster, pod);
  }
}

interface Seen {
  readonly pod: V1Pod;
  /** Its name. */
  readonly id: string;
  readonly standing: PodStanding;
  readonly told: WorkstationStatus | null;
}

function seenOf(pod: V1Pod, agent: WorkstationStatusWatch): Seen {
  const id = pod.metadata?.name ?? "";
  return { pod, id, standing: standingOf(pod), told: agent.of(id) };
}

/** One line for the progress display. */
function textOf(seen: Seen | undefined, going: readonly Seen[]): string {
  const [leaving] = going;
  if (leaving !== undefined) {
    const { told } = leaving;
    return `its earlier pod ends${told?.phase === "stopping" && told.detail ? ` (${told.detail})` : ""}`;
  }
  if (seen === undefined) return "its pod is not created yet";
  const { standing, told } = seen;
  const [phase, detail] = told === null ? [standing.phase, standing.detail] : [told.phase, told.detail];
  return detail ? `${phase} (${detail})` : phase;
}

async function failure({ cluster, workstation }: WorkstationRecords, seen: Seen): Promise<Error> {
  const { told, standing } = seen;
  const evidence: Evidence =
    told?.evidence && standing.fault === null ? told.evidence : await evidenceOf(cluster, seen.pod, seen.id, standing);
  return new Error(evidenceText(`workstation ${workstation}`, evidence));
}
