import type { V1Pod } from "@kubernetes/client-node";
import { hasServed, servingText, withEvent, withRelease } from "../deployment";
import { formatDuration } from "../format";
import type { GatewayInstanceStatus } from "../gateway/targets";
import type { Watch } from "../waiting";
import { scale } from "./deployments";
import { GatewayStatusWatch } from "./gateway-status";
import { LostPods } from "./lost-pods";
import { objectNames } from "./names";
import { named } from "./naming";
import { Pacing } from "./pacing";
import { onlyNews } from "./proving";
import { ReleasePods } from "./release-pods";
import { removePod } from "./remove-pod";
import type { ServiceRecords } from "./service-record";

/** Milliseconds between two looks whether the drain's settings have changed. */
const settingsInterval = 2_000;
/** Milliseconds for which the gateway may say nothing before instances go by their own word: as long as one takes to start and lead. */
const gatewayPatience = 60_000;
/** Milliseconds that pods get to go once nothing of them is needed. */
const endDeadline = 120_000;
/** Seconds that pods get which are ended at their drain's deadline. */
const endGrace = 15;

export interface DrainRequest extends Watch {
  readonly release: string;
  /** Fails when the engine that asked is gone. */
  readonly assertEngine: () => Promise<void>;
}

/** What a drain was given up for; the instances stay and go on. */
export class DrainRefusedError extends Error {
  override readonly name = "DrainRefusedError";
}

/**
 * Lets the instances of a release finish their work, then go: tells the gateway, waits until nothing of them is needed any more, and
 * scales them to zero. How long they get, and what then, is read from the record: a person may change it meanwhile.
 * @throws at once when the release gets the traffic
 */
export async function drainRelease(records: ServiceRecords, asked: DrainRequest): Promise<void> {
  const { cluster, service } = records;
  const request = { ...asked, progress: onlyNews(asked.progress) };
  const { release, progress, signal, assertEngine } = request;
  const known = (await records.record())?.releases.find(({ id }) => id === release);
  const pods = new ReleasePods(cluster, service, release, progress);
  const gateway = new GatewayStatusWatch(cluster, service, progress);
  const lost = new LostPods(cluster, progress);
  const name = objectNames(service).release(release);
  try {
    await assertEngine();
    const { generation } = await records.changeTarget((target) => {
      if (target.release === release) throw new Error(servingText(release, service));
      return { ...target, draining: [...target.draining.filter((other) => other !== release), release] };
    });
    if (known !== undefined && known.events.at(-1)?.event !== "draining") await note(records, release, "draining");
    await Promise.all([pods.start(), gateway.start()]);
    if (known === undefined || hasServed(known)) {
      const outcome = await untilDrained(records, request, pods, lost, gateway, generation);
      await assertEngine();
      await scale(cluster, name, 0);
      if (outcome === "deadline") await endNow(records, pods.of(null));
      await untilGone(records, request, pods, lost, outcome === "unheard");
    } else {
      await assertEngine();
      await scale(cluster, name, 0);
      await untilGone(records, request, pods, lost, false);
    }
    await note(records, release, "drained");
    progress(`no instance of ${release} is left`);
  } finally {
    pods.close();
    gateway.close();
  }
  signal.throwIfAborted();
}

/**
 * `drained`: nothing is needed any more. `deadline`: the time was over, and the policy is to end them. `unheard`: no gateway says
 * anything, so the instances have to know themselves.
 */
async function untilDrained(
  records: ServiceRecords,
  { release, progress, signal }: DrainRequest,
  pods: ReleasePods,
  lost: LostPods,
  gateway: GatewayStatusWatch,
  generation: number,
): Promise<"drained" | "deadline" | "unheard"> {
  const { service } = records;
  const started = performance.now();
  const pacing = new Pacing();
  let drain = await drainSettings(records);
  let settingsRead = started;
  for (;;) {
    signal.throwIfAborted();
    const changes = [pods.next, gateway.next];
    const seen = pods.of(null).map((pod) => ({ pod, id: pods.idOf(pod, service) }));
    const status = gateway.current;
    const heard = status !== null && status.generation >= generation;
    const left = seen.flatMap(({ pod, id }) => {
      const work = heard
        ? workOf(
            pod,
            status.instances.find((one) => one.id === id),
          )
        : "the gateway has not heard of it yet";
      const note = lost.notes.get(pod.metadata?.name ?? "");
      return work === null ? [] : [`${id}: ${note === undefined ? work : `${work}, and ${note}`}`];
    });
    if (left.length === 0) return "drained";
    const waited = performance.now() - started;
    if (!heard && waited >= gatewayPatience) {
      progress("the gateway says nothing: instances go by their own word");
      return "unheard";
    }
    progress(`waiting for the instances of ${release} to finish their work: ${named(left, "; ")}`);
    if (performance.now() - settingsRead >= settingsInterval) {
      settingsRead = performance.now();
      drain = await drainSettings(records);
    }
    const { deadline, onDeadline } = drain;
    if (waited >= deadline) {
      const message = `the drain of ${release} did not end within ${formatDuration(deadline)}: ${named(left, "; ")}`;
      if (onDeadline === "stop") {
        progress(`${message}; they are ended`);
        return "deadline";
      }
      throw new DrainRefusedError(
        `${message}. The instances of ${release} stay and finish their work; the next pulumi up asks again (drain.onDeadline: "stop" would end them)`,
      );
    }
    await lost.removeAmong(seen, () => true);
    await pacing.untilNext(signal, changes);
  }
}

async function drainSettings(records: ServiceRecords) {
  return (await records.required()).settings.drain;
}

/** What an instance still has to do, or null when nothing of it is needed. One that the gateway never knew has nothing of it. */
function workOf({ status }: V1Pod, known: GatewayInstanceStatus | undefined): string | null {
  if (status?.phase === "Failed" || status?.phase === "Succeeded") return null;
  if (known === undefined || known.drained) return null;
  if (known.queueRemaining === null) return "it does not answer";
  if (known.queueRemaining > 0)
    return `${known.queueRemaining} ${known.queueRemaining === 1 ? "prompt" : "prompts"} left`;
  return known.inFlight > 0 ? `${known.inFlight} requests under way` : "its results are being copied";
}

async function untilGone(
  records: ServiceRecords,
  { release, progress, signal }: DrainRequest,
  pods: ReleasePods,
  lost: LostPods,
  mayHoldWork: boolean,
): Promise<void> {
  const { service } = records;
  const started = performance.now();
  // Pods whose work nobody could ask for go by their own word, which may take as long as a drain.
  const deadline = (await drainSettings(records)).deadline + endDeadline;
  const pacing = new Pacing();
  for (;;) {
    signal.throwIfAborted();
    const change = pods.next;
    const seen = pods.of(null).map((pod) => ({ pod, id: pods.idOf(pod, service) }));
    if (seen.length === 0) return;
    const names = named(
      seen.map(({ pod, id }) => {
        const note = lost.notes.get(pod.metadata?.name ?? "");
        return note === undefined ? id : `${id} (${note})`;
      }),
    );
    progress(`waiting for the pods of ${release} to go: ${names}`);
    if (performance.now() - started >= deadline) {
      throw new Error(
        `the pods of ${release} were told to go and are still there after ${formatDuration(deadline)}: ${names}`,
      );
    }
    await lost.removeAmong(seen, () => mayHoldWork);
    await pacing.untilNext(signal, [change]);
  }
}

async function endNow({ cluster }: ServiceRecords, pods: readonly V1Pod[]): Promise<void> {
  await Promise.all(pods.map((pod) => removePod(cluster, pod, endGrace)));
}

async function note(records: ServiceRecords, release: string, event: "draining" | "drained"): Promise<void> {
  await records.change((record) => {
    const known = record.releases.find(({ id }) => id === release);
    if (known === undefined || !hasServed(known) || known.events.at(-1)?.event === event) return record;
    return withRelease(record, { ...withEvent(known, event, new Date().toISOString()), count: 0 });
  });
}
