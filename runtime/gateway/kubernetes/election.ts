import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { ApiError, ApiUnreachableError, type KubernetesApi } from "../../kubernetes/api";
import { WatchedObjects, type WatchPace } from "../../kubernetes/watched-objects";
import type { Log } from "../log";
import { type Identity, identityText, parseIdentity } from "./identity";

/**
 * Which of several gateways leads, by a Lease, as client-go's leader election does it: the holder writes the time every
 * `retry`; who sees the same Lease unchanged for its whole duration, on its own monotonic clock, may take it, and the API
 * server's compare-and-set on `resourceVersion` decides between two. Nobody compares times that another one wrote.
 *
 * What is stricter, and why. A holder that was stopped (a frozen node, SIGSTOP) runs on in the middle of whatever it did, so
 * leading is no state that a timer ends but a question, asked anew before each act: {@link Election.leads} is true for
 * `renewDeadline` from before the last renewal was *sent*. Another one takes the Lease no earlier than `duration` after it
 * *saw* that renewal, which is later. The difference, 4 s, is what both clocks may differ in their pace.
 *
 * What is more lenient, and why. An API server that is away for half a minute must not take the service along. While it
 * cannot be reached, nobody can take the Lease through it, but it may be the holder alone who cannot reach it. So the holder
 * goes on only as long as its peers agree: every other gateway that it knows follows it at this moment
 * ({@link ElectionOptions.peersAgree}). And who may take the Lease asks its holder first ({@link ElectionOptions.consult}):
 * one that still leads is left alone. Who followed it can be cut off from it, and reach the API server; it then waits for the
 * whole duration from when it last followed, longer than its agreement counts. A gateway that never followed, cut off from a
 * holder that is cut off from the API server, is what this leaves open; it has no share in that holder's requests.
 *
 * The other way round, a holder whose port is closed is known to be dead, and its Lease is not waited for.
 */
export interface LeaseTimes {
  /** Milliseconds for which a Lease that was not renewed is respected. Default 10 s. */
  readonly duration: number;
  /** Milliseconds from the last renewal for which its holder leads. Default 6 s. */
  readonly renewDeadline: number;
  /** Milliseconds between attempts to get or renew the Lease. Default 2 s. */
  readonly retry: number;
}

const defaultLeaseTimes: LeaseTimes = { duration: 10_000, renewDeadline: 6_000, retry: 2_000 };

/** What was found by asking a holder itself. */
export type Consultation = "leads" | "gone" | "unknown";

export interface ElectionOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly identity: Identity;
  readonly times?: LeaseTimes;
  readonly pace?: WatchPace;
  /** Whether every other gateway that may be there follows this one now. */
  readonly peersAgree: () => boolean;
  /** What a holder says of itself. */
  readonly consult: (holder: Identity) => Promise<Consultation>;
  /** Milliseconds since this gateway was last seen to follow the holder, as the holder was told. */
  readonly sinceFollowed: (holder: Identity) => number;
  /** Whether this gateway is fit to take over from one that has gone in order; asked again every 100 ms for 1 s at most. */
  readonly prepared: () => boolean;
  /** Called when the holder is another one, or nobody any more. */
  readonly onChange: () => void;
  readonly log: Log;
}

const leaseSchema = z.object({
  metadata: z.looseObject({ resourceVersion: z.string() }),
  spec: z
    .looseObject({
      holderIdentity: z.string().nullish(),
      leaseDurationSeconds: z.number().nullish(),
      acquireTime: z.string().nullish(),
      leaseTransitions: z.number().nullish(),
    })
    .prefault({}),
});
type Lease = z.infer<typeof leaseSchema>;

/** Milliseconds between two looks at a holder that does not answer at all. */
const suspicious = 300;
/** Milliseconds for which one that is not prepared leaves a free Lease to others; who is prepared takes it at once. */
const longestPreparation = 1_000;

export class Election {
  private readonly times: LeaseTimes;
  private readonly me: string;
  private readonly stopped = new AbortController();
  private watch: WatchedObjects | null = null;
  private observed: { readonly version: string; readonly at: number } | null = null;
  private freeSince: number | null = null;
  /** On both clocks: the monotonic one may stand still while a virtual machine does. */
  private renewedAt: { readonly steady: number; readonly wall: number } | null = null;
  private apiAwayAt: number | null = null;
  private holderText = "";
  private wake: () => void = () => {};
  private running: Promise<void> = Promise.resolve();
  private released = false;
  private suspected = false;
  private lastProblem = "";

  constructor(private readonly options: ElectionOptions) {
    this.times = options.times ?? defaultLeaseTimes;
    this.me = identityText(options.identity);
  }

  /** Who holds the Lease as far as is known; null when nobody does. */
  get holder(): Identity | null {
    return parseIdentity(this.holderText);
  }

  get holdsLease(): boolean {
    return this.holderText === this.me && !this.released;
  }

  /** Whether this gateway may act as the leader at this very moment. */
  leads(): boolean {
    if (!this.holdsLease || this.renewedAt === null) return false;
    const now = performance.now();
    const age = Math.max(now - this.renewedAt.steady, Date.now() - this.renewedAt.wall);
    if (age < this.times.renewDeadline) return true;
    // Only a failure of just now says that the API server is away now.
    const fresh = this.times.retry + this.times.renewDeadline;
    return this.apiAwayAt !== null && now - this.apiAwayAt < fresh && this.options.peersAgree();
  }

  start(): void {
    const { api, namespace, name, log, pace } = this.options;
    this.watch = new WatchedObjects({
      api,
      path: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
      selector: { fieldSelector: `metadata.name=${name}` },
      // The watch only says that it is worth a look: what it tells may be older than what was read.
      onChange: (objects) => {
        const lease = leaseSchema.safeParse(objects.get(name));
        if (!lease.success || (lease.data.spec.holderIdentity ?? "") !== this.holderText) this.wake();
      },
      log,
      ...(pace === undefined ? {} : { pace }),
    });
    this.watch.start(Number.POSITIVE_INFINITY).catch((error: Error) => log(error.message));
    this.running = this.run();
  }

  /** Looks at once whether the holder is still there: a request did not reach it. */
  suspect(): void {
    if (this.suspected) return;
    this.suspected = true;
    this.wake();
  }

  /** Gives the Lease up, if it is held, so that another one can take it at once. Takes part no longer. */
  async release(): Promise<void> {
    const held = this.holdsLease;
    this.released = true;
    this.stopped.abort();
    this.watch?.close();
    await this.running;
    if (!held) return;
    const lease = await this.read();
    if (lease?.spec.holderIdentity !== this.me) return;
    await this.write(lease, { holderIdentity: "", leaseDurationSeconds: 1 });
  }

  /** Follows who leads after this gateway has released the Lease. */
  async lookWhoHolds(): Promise<void> {
    this.note((await this.read())?.spec.holderIdentity ?? "");
  }

  /** Counts on the Lease no longer, for it could not be renewed for long; it is looked at again at every attempt. */
  forfeit(): void {
    this.note("");
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    while (!signal.aborted) {
      const started = performance.now();
      try {
        await this.attempt();
        this.lastProblem = "";
        this.apiAwayAt = null;
      } catch (error) {
        if (error instanceof ApiUnreachableError) this.apiAwayAt = performance.now();
        const { message } = error as Error;
        if (message !== this.lastProblem) this.options.log(`the Lease cannot be used at the moment: ${message}`);
        this.lastProblem = message;
      }
      const pause = this.suspected ? suspicious : this.freeSince !== null ? 100 : this.times.retry;
      const woken = new AbortController();
      this.wake = () => woken.abort();
      const rest = Math.max(pause - (performance.now() - started), this.suspected ? suspicious : 50);
      await delay(rest, undefined, { signal: AbortSignal.any([signal, woken.signal]), ref: false }).catch(() => {});
      this.wake = () => {};
      // Who is woken again and again must not ask again and again.
      if (woken.signal.aborted) await delay(20);
    }
  }

  /** Looks at the Lease, and renews or takes it where that is due. */
  private async attempt(): Promise<void> {
    const sent = { steady: performance.now(), wall: Date.now() };
    const lease = (await this.read()) ?? (await this.create());
    const { version, at } =
      this.observed?.version === lease.metadata.resourceVersion
        ? this.observed
        : { version: lease.metadata.resourceVersion, at: performance.now() };
    this.observed = { version, at };
    const holder = lease.spec.holderIdentity ?? "";
    if (holder !== this.me) {
      this.note(holder);
      if (!(await this.mayTake(holder, at, lease))) return;
    }
    if (this.stopped.signal.aborted) return;
    const now = new Date().toISOString().replace("Z", "000Z");
    const taken = { acquireTime: now, leaseTransitions: (lease.spec.leaseTransitions ?? 0) + 1 };
    try {
      const written = await this.write(lease, {
        holderIdentity: this.me,
        leaseDurationSeconds: Math.ceil(this.times.duration / 1_000),
        renewTime: now,
        ...(holder === this.me ? {} : taken),
      });
      this.observed = { version: written.metadata.resourceVersion, at: performance.now() };
      // What was sent before it was known to have been frozen in between would lead longer than it may.
      this.renewedAt = sent;
      this.freeSince = null;
      this.suspected = false;
      this.note(this.me);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 409)) throw error;
      // Another one was faster: who, is seen at the next look.
      this.wake();
    }
  }

  private async mayTake(holder: string, observedAt: number, lease: Lease): Promise<boolean> {
    const { consult, sinceFollowed, prepared } = this.options;
    if (holder === "") {
      this.freeSince ??= performance.now();
      // Where nobody has led yet, there is nothing to be prepared for.
      return (
        (lease.spec.leaseTransitions ?? 0) === 0 ||
        prepared() ||
        performance.now() - this.freeSince > longestPreparation
      );
    }
    this.freeSince = null;
    const other = parseIdentity(holder);
    const duration = Math.max((lease.spec.leaseDurationSeconds ?? 0) * 1_000, 1_000);
    const expired = performance.now() - observedAt >= duration;
    if (other === null) return expired;
    if (!expired && !this.suspected) return false;
    const found = await consult(other);
    if (found === "leads") {
      this.suspected = false;
      return false;
    }
    if (found === "gone") return true;
    if (!expired) {
      this.suspected = false;
      return false;
    }
    return sinceFollowed(other) >= this.times.duration;
  }

  private async read(): Promise<Lease | null> {
    try {
      return leaseSchema.parse(await this.options.api.request({ path: this.path, timeout: this.times.retry }));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  private async create(): Promise<Lease> {
    const { api, namespace, name, labels } = this.options;
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    const body = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace, labels },
      spec: { holderIdentity: "" },
    };
    return leaseSchema.parse(await api.request({ method: "POST", path, body, timeout: this.times.retry }));
  }

  private async write(lease: Lease, spec: Readonly<Record<string, unknown>>): Promise<Lease> {
    const body = { ...lease, spec: { ...lease.spec, ...spec } };
    const request = { method: "PUT", path: this.path, body, timeout: this.times.retry } as const;
    return leaseSchema.parse(await this.options.api.request(request));
  }

  private get path(): string {
    const { namespace, name } = this.options;
    return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}`;
  }

  private note(holder: string): void {
    if (holder === this.holderText) return;
    this.holderText = holder;
    if (holder !== this.me) this.renewedAt = null;
    this.options.onChange();
  }
}
