import type { V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";
import { removePod } from "./remove-pod";

/** Milliseconds for which a node may not answer before pods that have nothing to lose there are made anew elsewhere. */
const nodePatience = 60_000;

/** Milliseconds between two looks of one waiting. */
const defaultInterval = 10_000;
/** How many nodes one look asks for. */
const mostNodes = 10;

interface NodeStanding {
  readonly exists: boolean;
  /** Since when it has not been ready; null while it is. */
  readonly silentSince: Date | null;
}

export interface LostPodsRequest {
  readonly pods: readonly { readonly pod: V1Pod; readonly id: string }[];
  /** Whether a pod may hold what its clients wait for: the cluster then has to give it up before it is removed. */
  readonly holdsWork: (pod: V1Pod) => boolean;
  /**
   * Whether two of them at once would do harm, as with a volume that both write to: one that may still run on a node that does not answer
   * is then never removed. @default false
   */
  readonly exclusive?: boolean;
  readonly progress: (message: string) => void;
}

/**
 * Removes the pods that nobody is left to end: of a node that is gone, and of one that has not been ready for so long that the cluster has
 * given the pod up (its toleration of `node.kubernetes.io/unreachable`, five minutes unless the pod says otherwise), or for a minute
 * where the pod holds no work. Their Deployment then makes others. Should the node come back, its kubelet ends what it finds.
 *
 * @returns by pod's name, what a person should know of those that are waited for
 */
export async function removeLostPods(
  cluster: Cluster,
  { pods, holdsWork, exclusive = false, progress }: LostPodsRequest,
): Promise<ReadonlyMap<string, string>> {
  const names = new Set(pods.flatMap(({ pod }) => pod.spec?.nodeName ?? []));
  const standings = new Map<string, NodeStanding>();
  await Promise.all([...names].map(async (name) => standings.set(name, await standingOfNode(cluster, name))));
  const waitedFor = new Map<string, string>();
  for (const { pod, id } of pods) {
    const { name, uid } = pod.metadata ?? {};
    const { nodeName } = pod.spec ?? {};
    const node = standings.get(nodeName ?? "");
    if (name === undefined || uid === undefined || node === undefined) continue;
    if (!node.exists) {
      progress(`${id} is lost with its node ${nodeName}`);
      await removePod(cluster, pod, 0);
      continue;
    }
    const { silentSince } = node;
    if (silentSince === null) continue;
    const since = `its node ${nodeName} has not been ready since ${silentSince.toISOString()}`;
    const givenUp = givenUpAt(pod);
    const idle = !holdsWork(pod) && Date.now() - silentSince.getTime() >= nodePatience;
    if (!exclusive && (givenUp || idle)) {
      progress(`${id} is given up: ${since}`);
      await removePod(cluster, pod, 0);
    } else {
      waitedFor.set(name, since);
    }
  }
  return waitedFor;
}

/**
 * Looks for lost pods while something is waited for, every 10 s, at the nodes that were not looked at for longest: at ten of them at a time,
 * since two hundred would be twenty requests a second. Of more, the cluster itself may be first to see that a node is gone; it takes a minute.
 */
export class LostPods {
  /** By pod's name, what a person should know of those that are waited for. */
  readonly notes = new Map<string, string>();
  private readonly asked = new Map<string, number>();
  private looked = performance.now();

  constructor(
    private readonly cluster: Cluster,
    private readonly progress: (message: string) => void,
    private readonly options: Pick<LostPodsRequest, "exclusive"> & { readonly interval?: number } = {},
  ) {}

  /** Looks when it is time to; what lasts no longer than that asks nothing. */
  async removeAmong(pods: LostPodsRequest["pods"], holdsWork: LostPodsRequest["holdsWork"]): Promise<void> {
    const { interval = defaultInterval, exclusive = false } = this.options;
    const now = performance.now();
    if (now - this.looked < interval) return;
    this.looked = now;
    const nodes = [...new Set(pods.flatMap(({ pod }) => pod.spec?.nodeName ?? []))]
      .sort((a, b) => (this.asked.get(a) ?? 0) - (this.asked.get(b) ?? 0))
      .slice(0, mostNodes);
    for (const node of nodes) this.asked.set(node, now);
    const suspects = pods.filter(({ pod }) => nodes.includes(pod.spec?.nodeName ?? ""));
    const found = await removeLostPods(this.cluster, { pods: suspects, holdsWork, exclusive, progress: this.progress });
    for (const { pod } of suspects) this.notes.delete(pod.metadata?.name ?? "");
    for (const [name, note] of found) this.notes.set(name, note);
  }
}

/** Whether the cluster has given a pod up because of its node: told to go, with nobody who could do it. */
function givenUpAt({ metadata, status }: V1Pod): boolean {
  if (metadata?.deletionTimestamp === undefined) return false;
  const reasons = ["DeletionByTaintManager", "DeletionByPodGC"];
  return (
    status?.conditions?.some(
      ({ type, status: is, reason }) => type === "DisruptionTarget" && is === "True" && reasons.includes(reason ?? ""),
    ) ?? false
  );
}

async function standingOfNode({ core }: Cluster, name: string): Promise<NodeStanding> {
  try {
    const node = await orNull(core.readNode({ name }));
    if (node === null) return { exists: false, silentSince: null };
    const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
    const silent = ready !== undefined && ready.status !== "True";
    return { exists: true, silentSince: silent ? new Date(ready.lastTransitionTime ?? Date.now()) : null };
  } catch (error) {
    // Nodes are often not a deployer's to see; the cluster's own controllers then have the last word.
    if (statusOf(error) === 403) return { exists: true, silentSince: null };
    throw error;
  }
}
