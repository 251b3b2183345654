import type { V1Pod } from "@kubernetes/client-node";
import type { Evidence, PodSettings } from "../deployment";
import { formatDuration } from "../format";
import type { Watch } from "../waiting";
import { gpuCapacity, shortage } from "./capacity";
import type { Cluster } from "./connection";
import { nodeExists, removeLostPod } from "./deployments";
import { evidenceOf } from "./evidence";
import { reasonOf, statusOf } from "./failure";
import { LostPods } from "./lost-pods";
import { mostNamed, named } from "./naming";
import { Pacing } from "./pacing";
import { type PodStanding, standingOf, unschedulable } from "./pod-phase";
import { ReleasePods } from "./release-pods";
import type { ServiceRecords } from "./service-record";

/** Milliseconds for which what mostly stays may still go away: a registry that has to be asked again, a Secret that is being made. */
const stuckPatience = 45_000;

export interface ProvingRequest extends Watch {
  readonly release: string;
  /** UID of the Deployment whose pods count. */
  readonly deployment: string;
  readonly count: number;
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
  const { release, deployment, count, timeout, warn, signal } = request;
  const progress = onlyNews(request.progress);
  const pods = new ReleasePods(cluster, service, release, (problem) => progress(problem));
  const started = performance.now();
  const stuckSince = new Map<string, number>();
  const told = new Set<string>();
  const lost = new LostPods(cluster, progress);
  const pacing = new Pacing();
  try {
    await pods.start();
    for (;;) {
      signal.throwIfAborted();
      const change = pods.next;
      const seen = pods.of(deployment).map((pod) => ({ pod, id: pods.idOf(pod, service), standing: standingOf(pod) }));
      const wanted = seen.filter(({ standing }) => standing.phase !== "draining");
      const faulty = wanted.filter((one) => isFaulty(one, stuckSince));
      if (faulty.length > 0) throw new UnhealthyError(moreThanNamed(faulty), await evidence(records, faulty));
      const settled = wanted.length === count && wanted.every(({ standing }) => standing.phase === "proven");
      if (settled && seen.length === count) {
        progress(`${count} of ${count} proven`);
        return;
      }
      progress(summaryOf(seen, count));
      await tellShortage(records, request, wanted, told, warn);
      if (performance.now() - started >= timeout) {
        const late = seen.filter(({ standing }) => standing.phase !== "proven");
        const message = `${count} ${count === 1 ? "instance" : "instances"} of ${release} were not proven within ${formatDuration(timeout)}: ${summaryOf(seen, count)}`;
        const parts = [message, ...told, moreThanNamed(late)].filter(Boolean);
        throw new UnhealthyError(parts.join("; "), await evidence(records, late));
      }
      await lost.removeAmong(seen);
      await pacing.untilNext(signal, [change]);
    }
  } finally {
    pods.close();
    lost.close();
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

function isFaulty({ pod, standing: { fault } }: Seen, stuckSince: Map<string, number>): boolean {
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

/** Says at once what is missing when there is no node for the new pods: an autoscaler may still bring it. */
async function tellShortage(
  { cluster }: ServiceRecords,
  { settings }: ProvingRequest,
  wanted: readonly Seen[],
  told: Set<string>,
  warn: (message: string) => void,
): Promise<void> {
  const waiting = wanted.filter(({ pod }) => unschedulable(pod) !== null);
  if (waiting.length === 0 || told.size > 0) return;
  try {
    const [{ items: nodes }, { items: pods }] = await Promise.all([
      cluster.core.listNode({}),
      cluster.core.listPodForAllNamespaces({}),
    ]);
    const text = shortage(gpuCapacity(settings, nodes, pods), waiting.length, settings.gpu.count);
    told.add(text ?? `no node takes ${named(waiting.map(({ id }) => id))}: ${unschedulable(waiting[0]?.pod ?? {})}`);
  } catch (error) {
    // Nodes and others' pods are often not a deployer's to see; what the scheduler says is.
    if (statusOf(error) !== 403) throw new Error(`the cluster's nodes cannot be listed: ${reasonOf(error)}`);
    told.add(`no node takes ${named(waiting.map(({ id }) => id))}: ${unschedulable(waiting[0]?.pod ?? {})}`);
  }
  for (const text of told) warn(text);
}

/** Pods whose node is gone are lost, whatever their last status says; their Deployment then makes others. */
export async function removeLost(
  { cluster }: { readonly cluster: Cluster },
  seen: readonly { readonly pod: V1Pod; readonly id: string }[],
  progress: (message: string) => void,
): Promise<void> {
  const nodes = new Set(seen.flatMap(({ pod }) => pod.spec?.nodeName ?? []));
  const gone = new Set<string>();
  await Promise.all(
    [...nodes].map(async (name) => {
      const there = await nodeExists(cluster, name).catch((error) => {
        if (statusOf(error) === 403) return true;
        throw error;
      });
      if (!there) gone.add(name);
    }),
  );
  for (const { pod, id } of seen) {
    const { name, uid } = pod.metadata ?? {};
    if (name === undefined || uid === undefined || !gone.has(pod.spec?.nodeName ?? "")) continue;
    progress(`${id} is lost with its node ${pod.spec?.nodeName}`);
    await removeLostPod(cluster, name, uid);
  }
}

export function describeEvidence({ instance, phase, reason, traceback, logTail }: Evidence): string {
  const lines = [`instance ${instance} failed while ${phase}: ${reason}`];
  if (traceback) lines.push(indent(traceback.split("\n")));
  else if (logTail.length > 0) lines.push("  its last output:", indent(logTail.slice(-15)));
  return lines.join("\n");
}

const indent = (lines: readonly string[]) => lines.map((line) => `    ${line}`).join("\n");
