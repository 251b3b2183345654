import { mkdirSync } from "node:fs";
import { prove, saysPortInUse } from "../health";
import { backOff } from "./back-off";
import type { Background } from "./background";
import { Bell, pause } from "./bell";
import { comfyuiStart } from "./comfyui-process";
import { readJson, removeTree } from "./files";
import type { InstanceFolders } from "./folders";
import { evidenceOf, type Fault, faultOfExit, type Outcome } from "./instance-fault";
import { type InstanceRecord, writeInstanceRecord } from "./instance-record";
import { type Journal, reasonOf } from "./journal";
import { adoptOrClear } from "./kept-process";
import type { PortBook } from "./port-book";
import { prepareInstance } from "./preparation";
import { readLog } from "./process-log";
import { type Exit, killMarked, type RunningProcess, startProcess, stopProcess } from "./processes";
import type { InstanceStatus, Phase, ReleaseSpec } from "./protocol";
import { QueueProbe } from "./queue-probe";
import { urlOf } from "./records";
import type { RestoredEnvironment } from "./restored";

/** How often a process may end in a row before an instance that was never proven is given up. */
const mostStarts = 3;
/** Milliseconds after which a proven process has shown that it is not the kind that ends right away. */
const longRun = 60_000;
/** Milliseconds within which the end of a process explains why a request to it failed. */
const exitPatience = 2_000;

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
 * One ComfyUI process of a release, from its restore to its end. It starts, proves and restarts it; who decides that it
 * has to go, and when it has drained, is its service.
 */
export class Instance {
  readonly id: string;
  private readonly life = new AbortController();
  private readonly wake = new Bell();
  private task: Promise<void> = Promise.resolve();
  private living = false;
  private running: RunningProcess | null = null;
  private probe: QueueProbe | null = null;
  private phase: Phase;
  private phaseSince: string;
  private detail = "";
  private finishing: Promise<void> | null = null;
  private doomed = false;

  constructor(
    private readonly context: InstanceContext,
    private record: InstanceRecord,
  ) {
    this.id = `${context.release}/${context.index}`;
    this.phase = record.standing === "starting" ? "waiting" : record.standing;
    this.phaseSince = record.since;
    if (record.port !== null) context.ports.enter(record.port, this.holder);
  }

  /** Begins to live, or goes on where an earlier supervisor left it. */
  start(): void {
    mkdirSync(this.context.folders.root, { recursive: true });
    this.save({});
    const adopted = adoptOrClear(this.record.process, this.mark, this.context.journal);
    if (adopted === null && this.record.process !== null) {
      this.save({ process: null, ...(this.record.standing === "proven" ? { standing: "starting" as const } : {}) });
    }
    // What failed stays as it is until somebody asks for another attempt; what has to go is not started any more.
    if (this.record.standing === "failed" && !this.record.everProven) return;
    if (adopted === null && this.record.leaving) return;
    this.begin(adopted);
  }

  get index(): number {
    return this.context.index;
  }
  get release(): string {
    return this.context.release;
  }
  get proven(): boolean {
    return this.record.standing === "proven" && this.running !== null && !this.doomed;
  }
  get failed(): boolean {
    return this.phase === "failed";
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
    return this.record.leaving;
  }
  get alive(): boolean {
    return this.running !== null;
  }
  get log(): string {
    return this.context.folders.log;
  }
  get epoch(): number {
    return this.record.epoch;
  }
  get url(): string | null {
    return this.record.port === null ? null : urlOf(this.record.port);
  }

  /** Prompts that it has left as it answers now, or null. */
  async queueRemaining(): Promise<number | null> {
    return (await this.probe?.now()) ?? null;
  }

  /** Decides whether it has to go. */
  setLeaving(leaving: boolean): void {
    // What is being removed must not write its record again.
    if (leaving === this.record.leaving || this.doomed) return;
    this.save({ leaving });
    this.enter(this.phase, "");
    if (!leaving && this.running === null) this.retry();
  }

  /** What its drain waits for. */
  describeDrain(detail: string): void {
    this.detail = detail;
  }

  /** Starts a failed one over, or one that waits before its next start. */
  retry(): void {
    this.wake.ring();
    if (this.doomed || this.living) return;
    if (this.record.standing === "failed") this.save({ standing: "starting", evidence: null });
    this.begin(null);
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
    if (this.running !== null) await stopProcess(this.running, this.mark, "SIGINT");
  }

  async status(): Promise<InstanceStatus> {
    const { record } = this;
    const queueRemaining = this.record.standing === "proven" ? ((await this.probe?.latest()) ?? null) : null;
    return {
      id: this.id,
      release: this.release,
      index: this.index,
      phase: this.doomed ? "stopping" : this.leaving && this.proven ? "draining" : this.phase,
      detail: this.detail,
      url: this.url,
      pid: this.running?.identity.pid ?? null,
      epoch: record.epoch,
      restarts: record.restarts,
      createdAt: record.createdAt,
      phaseSince: this.phaseSince,
      queueRemaining,
      log: this.context.folders.log,
      evidence: record.evidence,
    };
  }

  private get holder(): string {
    return `instance ${this.id}`;
  }

  /** Unique on this machine, and found again by the next supervisor of the directory. */
  private get mark(): string {
    return this.context.folders.root;
  }

  private begin(adopted: RunningProcess | null): void {
    this.living = true;
    this.running = adopted;
    if (adopted !== null && this.url !== null) this.probe = new QueueProbe(this.url);
    this.task = this.live(adopted)
      .catch((error) => {
        if (!this.life.signal.aborted) this.giveUp({ phase: this.phase, reason: reasonOf(error) });
      })
      .finally(() => {
        this.living = false;
      });
  }

  private async live(adopted: RunningProcess | null): Promise<void> {
    const { signal } = this.life;
    let running = adopted;
    let failures = 0;
    for (;;) {
      const outcome = await this.runOnce(running);
      running = null;
      this.running = null;
      if (this.leaving) {
        this.save({ process: null });
        return this.context.changed();
      }
      if (outcome.kind === "port-in-use") {
        this.context.ports.leave(this.record.port, this.holder);
        this.save({ port: null });
        continue;
      }
      failures = this.ranLong() ? 1 : failures + 1;
      const fault = this.faultOf(outcome);
      const conclusive = outcome.kind === "faulty" && outcome.conclusive;
      if (!this.record.everProven && (conclusive || failures >= mostStarts)) return this.giveUp(fault, outcome);
      this.context.journal(`${this.id}: ${fault.reason}; it is started again in ${backOff(failures)} ms`);
      this.save({ standing: "starting", process: null, evidence: evidenceOf(this.id, fault, outcome, this.log) });
      this.enter(failures >= mostStarts ? "failed" : "waiting", fault.reason);
      await pause(backOff(failures), AbortSignal.any([signal, this.wake.next]));
      signal.throwIfAborted();
      this.save({ restarts: this.record.restarts + 1 });
    }
  }

  /** From a start, or the adoption of a process, to its end. */
  private async runOnce(adopted: RunningProcess | null): Promise<Outcome> {
    const { journal, folders } = this.context;
    let environment = adopted === null ? null : readJson<RestoredEnvironment>(folders.restored);
    let running = adopted;
    try {
      environment ??= await this.prepare();
      running ??= await this.launch(environment);
    } catch (error) {
      this.life.signal.throwIfAborted();
      journal(`${this.id}: could not be started: ${reasonOf(error)}`);
      return { kind: "faulty", fault: { phase: this.phase, reason: reasonOf(error) }, conclusive: true };
    }
    this.running = running;
    if (this.record.standing !== "proven") {
      const outcome = await this.proveOrEnd(running, environment);
      if (outcome !== null) {
        if (outcome.kind === "faulty") await stopProcess(running, this.mark, "SIGINT");
        killMarked(this.mark);
        return outcome;
      }
    }
    const exit = await this.untilEnd(running);
    killMarked(this.mark);
    return { kind: "ended", exit };
  }

  private async prepare(): Promise<RestoredEnvironment> {
    const { folders, spec, cache, restores } = this.context;
    const { signal } = this.life;
    this.enter("restoring", "waiting for its turn");
    const progress = (message: string) => this.enter("restoring", message);
    return prepareInstance({ folders, spec, cache, restores, progress, signal });
  }

  private async launch({ location, python }: RestoredEnvironment): Promise<RunningProcess> {
    const { folders, spec, journal } = this.context;
    const port = await this.port();
    this.save({ port, epoch: this.record.epoch + 1, process: null, standing: "starting" });
    this.life.signal.throwIfAborted();
    this.probe = new QueueProbe(urlOf(port));
    this.enter("booting", "");
    const running = await startProcess(
      comfyuiStart({
        ...location,
        python,
        port,
        folders,
        arguments: spec.arguments,
        environmentVariables: spec.environmentVariables,
        log: folders.log,
        mark: this.mark,
      }),
    );
    this.running = running;
    this.save({ process: running.identity });
    journal(`${this.id}: process ${running.identity.pid} starts at ${urlOf(port)}`);
    return running;
  }

  private async port(): Promise<number> {
    const { ports } = this.context;
    const { port } = this.record;
    if (port !== null && (await ports.takenBy(port, this.holder)) === null) return port;
    ports.leave(port, this.holder);
    return ports.choose(this.holder);
  }

  /** Null when it is proven. */
  private async proveOrEnd(running: RunningProcess, environment: RestoredEnvironment): Promise<Outcome | null> {
    const { spec, folders, journal } = this.context;
    const ended = new AbortController();
    void running.exited.then(() => ended.abort());
    try {
      const proof = await prove({
        url: this.url ?? "",
        readLog: () => readLog(folders.log),
        plugins: environment.plugins,
        ...spec.health,
        report: (phase, detail) => this.enter(phase, detail),
        signal: AbortSignal.any([this.life.signal, ended.signal]),
      });
      if (!proof.proven) return { kind: "faulty", fault: proof.finding, conclusive: true };
      this.save({ standing: "proven", everProven: true, evidence: null, since: new Date().toISOString() });
      journal(`${this.id}: proven`);
      this.enter("proven", proof.remarks.join("; "));
      return null;
    } catch (error) {
      this.life.signal.throwIfAborted();
      await pause(exitPatience, ended.signal);
      if (!ended.signal.aborted) {
        return { kind: "faulty", fault: { phase: this.phase, reason: reasonOf(error) }, conclusive: false };
      }
      const exit = await running.exited;
      return saysPortInUse(readLog(folders.log)) ? { kind: "port-in-use" } : { kind: "ended", exit };
    }
  }

  /** Whether the process that has just ended had been proven for long enough not to be of the kind that ends right away. */
  private ranLong(): boolean {
    return this.record.standing === "proven" && Date.now() - Date.parse(this.record.since) >= longRun;
  }

  private async untilEnd(running: RunningProcess): Promise<Exit> {
    const gone = new AbortController();
    const abandoned = new Promise<null>((resolve) => {
      this.life.signal.addEventListener("abort", () => resolve(null), { once: true, signal: gone.signal });
    });
    const exit = await Promise.race([running.exited, abandoned]);
    gone.abort();
    this.life.signal.throwIfAborted();
    return exit ?? { code: null, signal: null };
  }

  private faultOf(outcome: Exclude<Outcome, { kind: "port-in-use" }>): Fault {
    if (outcome.kind === "faulty") return outcome.fault;
    return faultOfExit(outcome.exit, this.phase, this.record.standing === "proven", this.log);
  }

  private giveUp(fault: Fault, outcome: Outcome | null = null): void {
    this.context.journal(`${this.id}: failed while ${fault.phase}: ${fault.reason}`);
    this.save({
      standing: "failed",
      process: null,
      since: new Date().toISOString(),
      evidence: evidenceOf(this.id, fault, outcome, this.log),
    });
    this.enter("failed", fault.reason);
  }

  private async finish(): Promise<void> {
    const { folders, ports, changed, journal } = this.context;
    // Nothing is sent to it any more before its process is told to end.
    changed();
    this.life.abort(new Error(`${this.id} has to go`));
    await this.task;
    if (this.running !== null) await stopProcess(this.running, this.mark, "SIGINT");
    this.running = null;
    killMarked(this.mark);
    await removeTree(folders.root);
    ports.leave(this.record.port, this.holder);
    journal(`${this.id}: gone`);
    changed();
  }

  private enter(phase: Phase, detail: string): void {
    this.detail = detail;
    if (phase === this.phase) return;
    this.phase = phase;
    this.phaseSince = new Date().toISOString();
    this.context.changed();
  }

  private save(change: Partial<InstanceRecord>): void {
    this.record = { ...this.record, ...change };
    writeInstanceRecord(this.context.folders, this.record);
  }
}
