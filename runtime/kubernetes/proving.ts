import type { V1Pod } from "@kubernetes/client-node";
import type { Evidence, PodSettings } from "../deployment";
import { formatDuration } from "../format";
import type { Watch } from "../waiting";
import { gpuCapacity, shortage } from "./capacity";
import type { Cluster } from "./connection";
import { evidenceOf } from "./evidence";
import { reasonOf, statusOf } from "./failure";
import { LostPods } from "./lost-pods";
import { mostNamed, named } from "./naming";
import { Pacing } from "./pacing";
import { nodePoolLabel } from "./placement";
import { disruptionOf, type PodStanding, standingOf, unschedulable } from "./pod-phase";
import { ReleasePods } from "./release-pods";
import type { ServiceRecords } from "./service-record";

/** Milliseconds for which what mostly stays may still go away: a registry that has to be asked again, a Secret that is being made. */
const stuckPatience = 45_000;
/** How many pods may be taken away through no fault of their own before a person should know why the gate fails. */
const mostReplaced = 3;

export interface ProvingRequest extends Watch {
  readonly release: string;
  /** UID of the Deployment whose pods count. */
  readonly deployment: string;
  /** How many there are to be; null: as many as the Deployment is to have, which an autoscaler changes. */
  readonly count: number | null;
  /** What the release's pods ask for; to tell what is missing. */
  readonly settings: PodSettings;
  /** Milliseconds that all of them together get. */
  readonly timeout: number;
  /** Hears, once each, of what a person should know while it waits. */
  readonly warn: (message: string) => void;
}

/** Instances that will not become proven by waiting longer. */
export class UnhealthyError extends Error {
  override readonly name = "UnhealthyError";
  constructor(
    message: string,
    readonly evidence: readonly Evidence[],
  ) {
    super([message, ...evidence.map(describeEvidence)].filter(Boolean).join("\n"));
  }
}

interface Seen {
  readonly pod: V1Pod;
  readonly id: string;
  readonly standing: PodStanding;
}

/**
 * Waits until exactly the wanted pods are there and every one of them is proven, and none is left that has to go.
 * @throws {UnhealthyError} with evidence, as soon as waiting is of no use, and at the deadline
 */
export async function untilProven(records: ServiceRecords, request: ProvingRequest): Promise<void> {
  const { cluster, service } = records;
  const { release, deployment, timeout, signal } = request;
  const progress = onlyNews(request.progress);
  const pods = new ReleasePods(cluster, service, release, (problem) => progress(problem));
  const started = performance.now();
  const stuckSince = new Map<string, number>();
  const told = new Notices(request.warn);
  const lost = new LostPods(cluster, progress);
  const pacing = new Pacing();
  try {
    await pods.start();
    for (;;) {
      signal.throwIfAborted();
      const change = pods.next;
      const count = request.count ?? pods.wanted(deployment);
      const all = pods.of(deployment).map((pod) => {
        const standing = standingOf(pod);
        const note = lost.notes.get(pod.metadata?.name ?? "");
        const detail = [standing.detail, note].filter(Boolean).join("; ");
        return { pod, id: pods.idOf(pod, service), standing: { ...standing, detail } };
      });
      const replaced = all.filter(({ standing }) => standing.fault?.kind === "replaced");
      const seen = all.filter((one) => !replaced.includes(one));
      await tellReplaced(all, told);
      const refusal = pods.refusal(deployment);
      if (refusal !== null) await told.once("refused", () => `the cluster refuses pods of ${release}: ${refusal}`);
      const wanted = seen.filter(({ standing }) => standing.phase !== "draining");
      const faulty = wanted.filter((one) => isFaulty(one, stuckSince));
      if (replaced.length >= mostReplaced) faulty.push(...replaced);
      if (faulty.length > 0) throw new UnhealthyError(moreThanNamed(faulty), await evidence(records, faulty));
      const settled = wanted.length === count && wanted.every(({ standing }) => standing.phase === "proven");
      if (settled && count > 0 && seen.length === count) {
        progress(`${count} of ${count} proven`);
        return;
      }
      progress(summaryOf(seen, count));
      await tellShortage(records, request, wanted, told);
      if (performance.now() - started >= timeout) {
        const late = all.filter(({ standing }) => standing.phase !== "proven");
        const message = `${count} ${count === 1 ? "instance" : "instances"} of ${release} were not proven within ${formatDuration(timeout)}: ${summaryOf(seen, count)}`;
        const parts = [message, ...told.texts, moreThanNamed(late)].filter(Boolean);
        throw new UnhealthyError(parts.join("; "), await evidence(records, late));
      }
      await lost.removeAmong(
        seen,
        (pod) => standingOf(pod).phase === "proven" || pod.metadata?.deletionTimestamp !== undefined,
      );
      await pacing.untilNext(signal, [change]);
    }
  } finally {
    pods.close();
  }
}

/** Passes on what differs from what was last said: pods change in ways that say nothing new. */
export function onlyNews(progress: (message: string) => void): (message: string) => void {
  let last = "";
  return (message) => {
    if (message !== last) progress(message);
    last = message;
  };
}

/** One line for the progress display: of many instances, how many are in which phase. */
export function summaryOf(seen: readonly Pick<Seen, "id" | "standing">[], count: number): string {
  const proven = seen.filter(({ standing }) => standing.phase === "proven").length;
  const others = seen.filter(({ standing }) => standing.phase !== "proven");
  const missing = count - seen.filter(({ standing }) => standing.phase !== "draining").length;
  return [
    `${proven} of ${count} proven`,
    ...(others.length <= mostNamed ? others.map(describe) : countsOf(others)),
    ...(missing > 0 ? [`${missing} not created yet`] : []),
  ].join("; ");
}

const describe = ({ id, standing: { phase, detail } }: Pick<Seen, "id" | "standing">) =>
  `${id} ${phase}${detail ? ` (${detail})` : ""}`;

function countsOf(seen: readonly Pick<Seen, "standing">[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { standing } of seen) counts.set(standing.phase, (counts.get(standing.phase) ?? 0) + 1);
  return [...counts].map(([phase, count]) => `${count} ${phase}`);
}

/** Whether waiting for a pod is of no use. `stuckSince` remembers what mostly stays, by the pod's UID. */
export function isFaulty(
  { pod, standing: { fault } }: Pick<Seen, "pod" | "standing">,
  stuckSince: Map<string, number>,
): boolean {
  const uid = pod.metadata?.uid ?? "";
  if (fault === null) {
    stuckSince.delete(uid);
    return false;
  }
  if (fault.kind === "certain") return true;
  const since = stuckSince.get(uid) ?? performance.now();
  stuckSince.set(uid, since);
  return performance.now() - since >= stuckPatience;
}

function moreThanNamed(seen: readonly Seen[]): string {
  return seen.length <= mostNamed ? "" : `evidence of ${mostNamed} of the ${seen.length} that are not proven follows`;
}

/** Of the first few: each costs several requests, and what two hundred instances fail of is mostly the same. */
function evidence({ cluster }: ServiceRecords, seen: readonly Seen[]): Promise<readonly Evidence[]> {
  return Promise.all(seen.slice(0, mostNamed).map(({ pod, id, standing }) => evidenceOf(cluster, pod, id, standing)));
}

/** Says once of each pod that was taken away that another one is waited for. */
async function tellReplaced(seen: readonly Seen[], told: Notices): Promise<void> {
  for (const { pod, id, standing } of seen) {
    const why = standing.fault?.kind === "replaced" ? standing.fault.reason : disruptionOf(pod);
    if (why === null || standing.fault?.kind === "certain") continue;
    await told.once(
      pod.metadata?.uid ?? "",
      () => `${id} was taken away (${why}): another one in its place is waited for`,
    );
  }
}

/** Says at once what is missing when there is no node for the new pods: an autoscaler may still bring it. */
async function tellShortage(
  { cluster }: ServiceRecords,
  { settings, progress }: ProvingRequest,
  wanted: readonly Seen[],
  told: Notices,
): Promise<void> {
  const waiting = wanted.filter(({ pod }) => unschedulable(pod) !== null);
  if (waiting.length === 0) return;
  const pool = settings.nodeSelector[nodePoolLabel];
  // Pods that wait are how Karpenter comes to know of the nodes that it has to make.
  if (pool === undefined) return told.once("shortage", () => shortageOf(cluster, settings, waiting));
  const ids = named(waiting.map(({ id }) => id));
  const text = `Karpenter has made no node of the NodePool ${pool} for ${ids} so far: ${unschedulable(waiting[0]?.pod ?? {})}`;
  await told.once("shortage", () => text, progress);
}

/** What pods lack for which there is no node. */
export async function shortageOf(
  cluster: Cluster,
  settings: Pick<PodSettings, "gpu" | "nodeSelector" | "tolerations">,
  waiting: readonly { readonly pod: V1Pod; readonly id: string }[],
): Promise<string> {
  const said = `no node takes ${named(waiting.map(({ id }) => id))}: ${unschedulable(waiting[0]?.pod ?? {})}`;
  try {
    const [{ items: nodes }, { items: pods }] = await Promise.all([
      cluster.core.listNode({}),
      cluster.core.listPodForAllNamespaces({}),
    ]);
    return shortage(gpuCapacity(settings, nodes, pods), waiting.length, settings.gpu.count) ?? said;
  } catch (error) {
    // Nodes and others' pods are often not a deployer's to see; what the scheduler says is.
    if (statusOf(error) !== 403) throw new Error(`the cluster's nodes cannot be listed: ${reasonOf(error)}`);
    return said;
  }
}

/** What a person is told while a gate waits, once each, and again when it fails. */
class Notices {
  readonly #told = new Map<string, string>();

  constructor(private readonly warn: (message: string) => void) {}

  get texts(): readonly string[] {
    return [...this.#told.values()];
  }

  /** Tells a text unless one was told for the same key; by default as a warning. */
  async once(key: string, text: () => string | Promise<string>, tell = this.warn): Promise<void> {
    if (this.#told.has(key)) return;
    const told = await text();
    this.#told.set(key, told);
    tell(told);
  }
}

function describeEvidence(evidence: Evidence): string {
  return evidenceText(`instance ${evidence.instance}`, evidence);
}

/** Evidence as a person reads it. */
export function evidenceText(what: string, { phase, reason, traceback, logTail }: Evidence): string {
  const lines = [`${what} failed while ${phase}: ${reason}`];
  if (traceback) lines.push(indent(traceback.split("\n")));
  else if (logTail.length > 0) lines.push("  its last output:", indent(logTail.slice(-15)));
  return lines.join("\n");
}

const indent = (lines: readonly string[]) => lines.map((line) => `    ${line}`).join("\n");
