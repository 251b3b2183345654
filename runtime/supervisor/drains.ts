import { Bell, pause, untilAborted } from "../bell";
import { formatDuration } from "../format";
import type { GatewayInstanceStatus, GatewayStatus } from "../gateway/targets";
import { longestBackOff } from "./back-off";
import type { GatewayProcess } from "./gateway-process";
import type { Instance } from "./instance";
import type { InstanceSet } from "./instance-set";
import { type Journal, reasonOf } from "./journal";
import type { Refusal, ServiceSettings } from "./protocol";
import type { StoredRelease } from "./records";
import { elapsedSince } from "./steady-clock";

/** Milliseconds between two looks. */
const interval = 200;
/** Milliseconds before another attempt to remove an instance whose removal failed. */
const retryInterval = 5_000;
/**
 * Milliseconds for which a gateway may be silent before instances go without it. Longer than the longest pause before its restart: results
 * that it has not copied yet go with the instance.
 */
const gatewayPatience = 2 * longestBackOff;

export interface DrainContext {
  readonly instances: InstanceSet;
  readonly releases: () => readonly StoredRelease[];
  readonly settings: () => ServiceSettings;
  readonly gateway: () => GatewayProcess | null;
  /** What the gateway must have applied before its word on an instance counts. */
  readonly generation: () => number;
  readonly refuse: (release: string, refusal: Refusal) => void;
  /** No instance of the release has to go any more. */
  readonly finished: (release: string) => void;
  readonly journal: Journal;
}

/** Watches instances that have to go, and ends each when nothing of it is needed any more, or its time is over. */
export class Drains {
  private readonly life = new AbortController();
  private readonly bell = new Bell();
  private task: Promise<void> = Promise.resolve();
  private silentSince: number | null = null;

  constructor(private readonly context: DrainContext) {}

  /** Begins to watch; called once all instances are known, or one that is not yet would count as gone. */
  start(): void {
    this.task = this.watch();
  }

  /** Something has to go, or a process has ended. */
  wake(): void {
    this.bell.ring();
  }

  async detach(): Promise<void> {
    this.life.abort();
    await this.task;
  }

  private async watch(): Promise<void> {
    const { signal } = this.life;
    while (!signal.aborted) {
      const change = AbortSignal.any([signal, this.bell.next]);
      let under: number;
      try {
        under = await this.look();
      } catch (error) {
        this.context.journal(`a drain could not be looked after: ${reasonOf(error)}`);
        under = 1;
      }
      if (under > 0) await pause(interval, signal);
      else await untilAborted(change);
    }
  }

  /** Looks once at everything that has to go; returns how many have to be looked at again. */
  private async look(): Promise<number> {
    const { instances, releases } = this.context;
    const leaving = instances.all.filter((instance) => instance.leaving && !instance.ending);
    const status = leaving.length === 0 ? null : await this.gatewayStatus();
    let under = 0;
    for (const release of releases()) {
      const own = leaving.filter((instance) => instance.release === release.id);
      if (own.length > 0) under += await this.lookAt(release, own, status);
      else if (release.drain !== null && !instances.of(release.id).some(({ leaving: goes }) => goes)) {
        this.context.finished(release.id);
      }
    }
    return under;
  }

  private async lookAt(
    release: StoredRelease,
    leaving: readonly Instance[],
    status: GatewayStatus | "silent" | null,
  ): Promise<number> {
    const refused = release.drain?.refused ?? null;
    const left: { readonly instance: Instance; readonly work: string }[] = [];
    for (const instance of leaving) {
      const work = !instance.alive ? null : refused === null ? await this.workOf(instance, status) : "";
      if (work === null) this.end(instance);
      else left.push({ instance, work });
    }
    if (refused !== null || release.drain === null) return refused === null ? left.length : 0;
    for (const { instance, work } of left) instance.describeDrain(work);
    const { deadline, onDeadline } = this.context.settings().drain;
    if (left.length === 0 || drainedFor(release) < deadline) return left.length;
    const unfinished = await Promise.all(
      left.map(async ({ instance, work }) => {
        const queueRemaining = await instance.queueRemaining();
        // The gateway's word may be of a moment ago.
        return {
          instance: instance.id,
          queueRemaining,
          work: queueRemaining ? `${prompts(queueRemaining)} left` : work,
        };
      }),
    );
    const names = unfinished.map(({ instance, work }) => `${instance} (${work})`).join(", ");
    const message = `the drain of ${release.id} did not end within ${formatDuration(deadline)}: ${names}`;
    this.context.journal(`${message}; ${onDeadline === "stop" ? "they are ended" : "they stay"}`);
    if (onDeadline === "keep") {
      this.context.refuse(release.id, { code: "drain-deadline", message, details: { instances: unfinished } });
      return 0;
    }
    for (const { instance } of left) this.end(instance);
    return left.length;
  }

  /** What an instance still has to do, or null when nothing of it is needed any more. */
  private async workOf(instance: Instance, status: GatewayStatus | "silent" | null): Promise<string | null> {
    if (status === "silent") return "the gateway does not answer";
    const entry = status?.instances.find(({ id }) => id === instance.id);
    if (status !== null && entry !== undefined) {
      if (status.generation < this.context.generation()) return "the gateway has not heard of the drain yet";
      if (!entry.drained) return describe(entry);
      // Prompts that came another way than through the gateway are finished, too.
      const own = (await instance.queueRemaining()) ?? 0;
      return own === 0 ? null : `${prompts(own)} left`;
    }
    const queue = await instance.queueRemaining();
    if (queue === 0) return null;
    return queue === null ? "it does not answer" : `${prompts(queue)} left`;
  }

  private async gatewayStatus(): Promise<GatewayStatus | "silent" | null> {
    const gateway = this.context.gateway();
    if (gateway === null) return null;
    const status = await gateway.status();
    if (status !== null) {
      this.silentSince = null;
      return status;
    }
    this.silentSince ??= performance.now();
    return performance.now() - this.silentSince > gatewayPatience ? null : "silent";
  }

  /** Ends an instance. What fails is in the journal, and tried again. */
  end(instance: Instance): void {
    this.context.instances
      .end(instance)
      .catch(() => pause(retryInterval, this.life.signal))
      .then(() => this.wake());
  }
}

/** Milliseconds since a drain began, whatever was done to the machine's clock meanwhile. */
function drainedFor({ drain, drainBegan }: StoredRelease): number {
  if (drainBegan != null) return elapsedSince(drainBegan) ?? 0;
  return drain === null ? 0 : Date.now() - Date.parse(drain.startedAt);
}

function describe({ queueRemaining, inFlight }: GatewayInstanceStatus): string {
  if (queueRemaining === null) return "it does not answer";
  if (queueRemaining > 0) return `${prompts(queueRemaining)} left`;
  return inFlight > 0 ? `${inFlight} request${inFlight === 1 ? "" : "s"} under way` : "its results are being copied";
}

const prompts = (count: number) => `${count} prompt${count === 1 ? "" : "s"}`;
