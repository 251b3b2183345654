import { pause } from "../bell";
import { formatDuration } from "../format";
import type { Watch } from "../waiting";
import { DeploymentPods } from "./deployment-pods";
import { scale } from "./deployments";
import { LostPods } from "./lost-pods";
import { WorkstationStatusWatch } from "./told-by-agent";
import type { WorkstationRecords } from "./workstation-record";

/** Milliseconds after which the pod is looked at again without news. */
const interval = 2_000;
/** Milliseconds by which a pod may outlast its grace period until it is gone. */
const margin = 60_000;
/** Seconds of a pod without a grace period of its own, as Kubernetes has it. */
const usualGrace = 30;

/**
 * Stops a workstation: its pod goes once the running prompt has ended, or its grace period is over. How long that is, its Deployment
 * says: a person may have changed it meanwhile. Nothing where it is stopped or gone.
 */
export async function stopWorkstation(
  records: WorkstationRecords,
  { progress, signal, assertEngine }: Watch & { readonly assertEngine: () => Promise<void> },
): Promise<void> {
  const { cluster, workstation, names } = records;
  const pods = new DeploymentPods(cluster, records.labels, progress);
  const agent = new WorkstationStatusWatch(records, progress);
  try {
    await assertEngine();
    await scale(cluster, names.workstation, 0);
    await Promise.all([pods.start(), agent.start()]);
    const started = performance.now();
    const lost = new LostPods(cluster, progress, { exclusive: true });
    for (;;) {
      signal.throwIfAborted();
      const changes = [pods.next, agent.next];
      const all = pods.of(null).map((pod) => ({ pod, id: pod.metadata?.name ?? "" }));
      if (all.length === 0) break;
      const details = all.map(({ id }) => agent.of(id)?.detail ?? "").filter(Boolean);
      progress(["waiting for the workstation's pod to go", ...details].join(": "));
      const grace = Math.max(...all.map(({ pod }) => pod.spec?.terminationGracePeriodSeconds ?? usualGrace));
      const deadline = grace * 1_000 + margin;
      if (performance.now() - started >= deadline) {
        throw new Error(
          `the pod of workstation ${workstation} was told to go and is still there after ${formatDuration(deadline)}: ${all.map(({ id }) => id).join(", ")}`,
        );
      }
      await lost.removeAmong(all, () => true);
      await pause(interval, AbortSignal.any([signal, ...changes]));
    }
    progress(`workstation ${workstation} is stopped`);
  } finally {
    pods.close();
    agent.close();
  }
}
