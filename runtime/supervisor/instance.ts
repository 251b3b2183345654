import { mkdirSync } from "node:fs";
import { Bell, pause } from "../bell";
import { backOff, longestBackOff } from "./back-off";
import type { Background } from "./background";
import { removeTree } from "./files";
import type { InstanceFolders } from "./folders";
import { evidenceOf, type Fault, faultOfExit, type Outcome } from "./instance-fault";
import { InstanceProcess } from "./instance-process";
import type { InstanceRecord } from "./instance-record";
import { InstanceState } from "./instance-state";
import { type Journal, reasonOf } from "./journal";
import type { PortBook } from "./port-book";
import { killMarked } from "./processes";
import type { InstanceStatus, ReleaseSpec } from "./protocol";

/** How often a process may end in a row before an instance that was never proven is given up. */
const mostStarts = 3;
/** Milliseconds after which a proven process has shown that it is not the kind that ends right away. */
const longRun = 60_000;

export interface InstanceContext {
  readonly release: string;
  readonly index: number;
  readonly spec: ReleaseSpec;
  readonly folders: InstanceFolders;
  readonly cache: string;
  readonly restores: Background;
  readonly ports: PortBook;
  readonly journal: Journal;
  /** Hears of everything that others act by: proven, failed, another epoch, gone. */
  readonly changed: () => void;
}

/**
 * One ComfyUI of a release, from its restore to its end. It is started, proven and started again here; who decides that it
 * has to go, and when it has drained, is its service.
 */
export class Instance {
  readonly id: string;
  private readonly life = new AbortController();
  private readonly wake = new Bell();
  private readonly state: InstanceState;
  private readonly process: InstanceProcess;
  private task: Promise<void> = Promise.resolve();
  private living = false;
  private finishing: Promise<void> | null = null;
  private doomed = false;

  constructor(
    private readonly context: InstanceContext,
    record: InstanceRecord,
  ) {
    this.id = `${context.release}/${context.index}`;
    this.state = new InstanceState(context.folders, record, context.changed);
    this.process = new InstanceProcess({ ...context, id: this.id }, this.state);
  }

  /** Begins to live, or goes on where an earlier supervisor left it. */
  start(): void {
    mkdirSync(this.context.folders.root, { recursive: true });
    this.state.save({});
    this.process.adopt();
    const { record } = this.state;
    if (!this.alive && record.process !== null) {
      this.state.save({ process: null, ...(record.standing === "proven" ? { standing: "starting" as const } : {}) });
    }
    // What failed stays as it is until somebody asks for another attempt; what has to go is not started any more.
    if (record.standing === "failed" && !record.everProven) return;
    if (!this.alive && record.leaving) return;
    this.begin();
  }

  get index(): number {
    return this.context.index;
  }
  get release(): string {
    return this.context.release;
  }
  get proven(): boolean {
    return this.state.record.standing === "proven" && this.alive && !this.doomed;
  }
  get failed(): boolean {
    return this.state.phase === "failed";
  }
  /** Whether it was told to end: it does not come back. */
  get going(): boolean {
    return this.doomed;
  }
  /** Whether it is being ended right now; not after an attempt that failed. */
  get ending(): boolean {
    return this.finishing !== null;
  }
  get leaving(): boolean {
    return this.state.record.leaving;
  }
  get alive(): boolean {
    return this.process.runs;
  }
  get log(): string {
    return this.context.folders.log;
  }
  get epoch(): number {
    return this.state.record.epoch;
  }
  get url(): string | null {
    return this.process.url;
  }

  /** Prompts that it has left as it answers now, or null. */
  queueRemaining(): Promise<number | null> {
    return this.process.queueRemaining("now");
  }

  /** Decides whether it has to go. */
  setLeaving(leaving: boolean): void {
    // What is being removed must not write its record again.
    if (leaving === this.leaving || this.doomed) return;
    this.state.save({ leaving });
    this.state.enter(this.state.phase, "");
    if (!leaving && !this.alive) this.retry();
  }

  /** What its drain waits for. */
  describeDrain(detail: string): void {
    this.state.detail = detail;
  }

  /** Starts a failed one over, or one that waits before its next start. */
  retry(): void {
    this.wake.ring();
    if (this.doomed || this.living) return;
    if (this.state.record.standing === "failed") this.state.save({ standing: "starting", evidence: null });
    this.begin();
  }

  /** Ends its process and removes its folder; fulfilled when nothing of it is left. */
  end(): Promise<void> {
    this.doomed = true;
    this.finishing ??= this.finish().catch((error) => {
      // Whoever asks again makes another attempt.
      this.finishing = null;
      throw error;
    });
    return this.finishing;
  }

  /** Stops looking after it; its process goes on. */
  async detach(): Promise<void> {
    this.life.abort();
    await this.task;
  }

  /** Ends its process at once and leaves all else for the next supervisor, which starts it again. */
  async halt(): Promise<void> {
    await this.detach();
    await this.process.stop();
  }

  async status(): Promise<InstanceStatus> {
    const { record, phase, detail, phaseSince, evidence } = this.state;
    return {
      id: this.id,
      release: this.release,
      index: this.index,
      phase: this.doomed ? "stopping" : this.leaving && this.proven ? "draining" : phase,
      detail,
      url: this.url,
      pid: this.process.pid,
      epoch: record.epoch,
      restarts: record.restarts,
      createdAt: record.createdAt,
      phaseSince,
      queueRemaining: record.standing === "proven" ? await this.process.queueRemaining("latest") : null,
      log: this.log,
      evidence,
    };
  }

  private begin(): void {
    this.living = true;
    this.task = this.persist().finally(() => {
      this.living = false;
    });
  }

  /** Goes on also when what happens cannot be recorded, on a full disk for example: tried again after a while, or when asked. */
  private async persist(): Promise<void> {
    const { signal } = this.life;
    while (!signal.aborted) {
      try {
        await this.live();
        this.state.unrecorded = null;
        return;
      } catch (error) {
        if (signal.aborted) return;
        const reason = reasonOf(error);
        this.context.journal(`${this.id}: cannot be looked after: ${reason}`);
        this.state.unrecorded = { instance: this.id, phase: this.state.phase, reason, logTail: [] };
        this.state.enter("failed", reason);
        await pause(longestBackOff, AbortSignal.any([signal, this.wake.next]));
      }
    }
  }

  private async live(): Promise<void> {
    const { signal } = this.life;
    let failures = 0;
    for (;;) {
      const outcome = await this.process.run(signal);
      this.state.unrecorded = null;
      if (this.leaving) {
        this.state.save({ process: null });
        return this.context.changed();
      }
      if (outcome.kind === "port-in-use") {
        this.process.leavePort();
        this.state.save({ port: null });
        continue;
      }
      failures = this.process.provenFor >= longRun ? 1 : failures + 1;
      const fault = this.faultOf(outcome);
      const conclusive = outcome.kind === "faulty" && outcome.conclusive;
      if (!this.state.record.everProven && (conclusive || failures >= mostStarts)) return this.giveUp(fault, outcome);
      this.context.journal(`${this.id}: ${fault.reason}; it is started again in ${backOff(failures)} ms`);
      this.state.save({ standing: "starting", process: null, evidence: evidenceOf(this.id, fault, outcome, this.log) });
      this.state.enter(failures >= mostStarts ? "failed" : "waiting", fault.reason);
      await pause(backOff(failures), AbortSignal.any([signal, this.wake.next]));
      signal.throwIfAborted();
      this.state.save({ restarts: this.state.record.restarts + 1 });
    }
  }

  private faultOf(outcome: Exclude<Outcome, { kind: "port-in-use" }>): Fault {
    if (outcome.kind === "faulty") return outcome.fault;
    return faultOfExit(outcome.exit, this.state.phase, this.state.record.standing === "proven", this.log);
  }

  private giveUp(fault: Fault, outcome: Outcome): void {
    this.context.journal(`${this.id}: failed while ${fault.phase}: ${fault.reason}`);
    this.state.save({
      standing: "failed",
      process: null,
      since: new Date().toISOString(),
      evidence: evidenceOf(this.id, fault, outcome, this.log),
    });
    this.state.enter("failed", fault.reason);
  }

  private async finish(): Promise<void> {
    const { folders, changed, journal } = this.context;
    // Nothing is sent to it any more before its process is told to end.
    changed();
    this.life.abort(new Error(`${this.id} has to go`));
    await this.task;
    await this.process.stop();
    killMarked(this.process.mark);
    await removeTree(folders.root);
    this.process.leavePort();
    journal(`${this.id}: gone`);
    changed();
  }
}
