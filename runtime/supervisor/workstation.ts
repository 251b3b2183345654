import { Bell, pause, untilAborted } from "../bell";
import { formatDuration } from "../format";
import { parseStartupLog } from "../health";
import { describeExit, type Exit, untilBooted } from "../instance";
import { backOff, longestBackOff } from "./back-off";
import type { Background } from "./background";
import { removeTree } from "./files";
import type { WorkstationFolders } from "./folders";
import { type Journal, reasonOf } from "./journal";
import { adoptOrClear } from "./kept-process";
import type { PortBook } from "./port-book";
import { logTail, readLog } from "./process-log";
import { isAlive, killMarked, killRemains, type RunningProcess, startProcess, stopProcess } from "./processes";
import type { Evidence, Phase, WorkstationDeclaration, WorkstationState } from "./protocol";
import { QueueProbe } from "./queue-probe";
import { type StoredWorkstation, urlOf } from "./records";
import { startOf, writeWorkstation } from "./workstation-record";
import { workstationStart } from "./workstation-start";

/** How many starts may fail in a row before it is called failed; it is then tried again more seldom. */
const mostStarts = 3;
/** Milliseconds after which a process has shown that it is not the kind that ends right away. */
const longRun = 60_000;
/** Milliseconds between two looks at the queue of one that is being stopped. */
const queueInterval = 250;

export interface WorkstationContext {
  readonly name: string;
  readonly folders: WorkstationFolders;
  readonly scans: Background;
  readonly ports: PortBook;
  readonly journal: Journal;
}

/** A ComfyUI process on a person's environment, as it is: kept running while that is declared, and stopped after its prompts. */
export class Workstation {
  private readonly life = new AbortController();
  private readonly bell = new Bell();
  private readonly task: Promise<void>;
  private running: RunningProcess | null;
  private probe: QueueProbe;
  private phase: WorkstationState["phase"] = "stopped";
  private detail = "";
  private evidence: Evidence | null = null;
  private bootedAt = 0;
  private stopSince: number | null = null;
  private failures = 0;
  private removed = false;

  constructor(
    private readonly context: WorkstationContext,
    private stored: StoredWorkstation,
  ) {
    this.running = adoptOrClear(stored.process, this.mark, context.journal);
    this.probe = new QueueProbe(urlOf(stored.processPort ?? stored.port));
    context.ports.enter(stored.port, holderOf(context.name));
    if (this.running !== null) this.phase = stored.booted ? "running" : "booting";
    else if (this.wanted) this.phase = "booting";
    this.task = this.keep();
  }

  get owner() {
    return this.stored.declaration.owner;
  }
  get root(): string {
    return this.stored.declaration.root;
  }
  get port(): number {
    return this.stored.port;
  }
  get log(): string {
    return this.context.folders.log;
  }
  get gone(): boolean {
    return this.removed;
  }

  /** Whether its process holds a port already. */
  holds(port: number): boolean {
    return this.running !== null && this.stored.processPort === port;
  }

  declare(declaration: WorkstationDeclaration, port: number): void {
    if (port !== this.stored.port) this.context.ports.leave(this.stored.port, holderOf(this.context.name));
    this.context.ports.enter(port, holderOf(this.context.name));
    this.save({ declaration, port, removing: false });
    // Whoever looks next must not take what was before for what is declared now.
    if (this.running !== null && !(this.wanted && this.fits)) this.enter("stopping", "");
    else if (this.running === null && this.wanted) this.enter("booting", "");
    this.bell.ring();
  }

  /** Stops and starts it, when it runs. */
  restart(): void {
    this.save({ startedWith: null });
    this.failures = 0;
    this.bell.ring();
  }

  /** Stops and forgets it; {@link gone} tells when that is done. */
  remove(): void {
    this.save({ removing: true });
    this.bell.ring();
  }

  async detach(): Promise<void> {
    this.life.abort();
    await this.task;
  }

  /** Ends its process at once; what is declared stays. */
  async halt(): Promise<void> {
    await this.detach();
    if (this.running !== null) await stopProcess(this.running, this.mark, "SIGINT");
  }

  async state(): Promise<WorkstationState> {
    const { declaration, port, plugins, restarts } = this.stored;
    return {
      name: this.context.name,
      declaration,
      phase: this.phase,
      detail: this.detail,
      port,
      url: urlOf(port),
      pid: this.running?.identity.pid ?? null,
      restarts,
      queueRemaining: this.running !== null && this.stored.booted ? await this.probe.latest() : null,
      plugins,
      log: this.log,
      evidence: this.evidence,
    };
  }

  private get wanted(): boolean {
    return this.stored.declaration.state === "running" && !this.stored.removing;
  }

  private get fits(): boolean {
    return this.stored.startedWith === startOf(this.stored.declaration, this.stored.port);
  }

  private get mark(): string {
    return this.context.folders.root;
  }

  private async keep(): Promise<void> {
    const { signal } = this.life;
    while (!signal.aborted && !this.removed) {
      // Aborted when anything is declared: each step then looks again at what is wanted.
      const change = AbortSignal.any([signal, this.bell.next]);
      try {
        await this.step(change);
      } catch (error) {
        if (change.aborted) continue;
        this.failed("booting", reasonOf(error), null);
        await this.untilRetry(change);
      }
    }
  }

  private async step(change: AbortSignal): Promise<void> {
    if (this.running === null) {
      this.stopSince = null;
      if (this.stored.removing) return this.forget();
      if (this.wanted) return this.launch(change);
      this.enter("stopped", "");
      return untilAborted(change);
    }
    if (!this.wanted || !this.fits) return this.stopStep(this.running, change);
    this.stopSince = null;
    const { running } = this;
    const ended = new AbortController();
    void running.exited.then(() => ended.abort());
    const over = AbortSignal.any([change, ended.signal]);
    try {
      if (!this.stored.booted) await this.boot(over);
      this.enter("running", "");
      await untilAborted(over);
    } catch (error) {
      if (!over.aborted) {
        await stopProcess(running, this.mark, "SIGINT");
        this.lost();
        throw error;
      }
    }
    if (ended.signal.aborted) await this.ended(await running.exited, change);
  }

  /** One look at a process that has to go: it is ended when its queue is empty or its time over. */
  private async stopStep(running: RunningProcess, change: AbortSignal): Promise<void> {
    this.stopSince ??= performance.now();
    const { stopDeadline } = this.stored.declaration;
    const answer = await this.probe.now();
    // One that has not opened its port yet has been given nothing.
    const queue = answer === null && !this.stored.booted ? 0 : answer;
    const waited = performance.now() - this.stopSince;
    if (isAlive(running.identity) && queue !== 0 && waited < stopDeadline) {
      const what = queue === null ? "it does not answer" : `${queue} prompt${queue === 1 ? "" : "s"} left`;
      this.enter("stopping", `${what}; it is ended after ${formatDuration(stopDeadline)} at the latest`);
      return pause(queueInterval, change);
    }
    this.enter("stopping", "");
    await stopProcess(running, this.mark, "SIGINT");
    this.context.journal(`workstation ${this.context.name}: stopped`);
    this.lost();
  }

  private async launch(change: AbortSignal): Promise<void> {
    const { name, folders, scans, ports, journal } = this.context;
    const { declaration, port } = this.stored;
    const start = workstationStart(declaration, { port, log: folders.log, mark: this.mark });
    this.enter("booting", "looking at the plugins");
    killMarked(this.mark);
    const hashes = await this.hashPlugins(change, scans);
    change.throwIfAborted();
    const other = await ports.takenBy(port, holderOf(name));
    if (other !== null) throw new Error(`its port ${port} is held by ${other}`);
    this.save({ process: null, processPort: port, booted: false, hashes, startedWith: startOf(declaration, port) });
    this.probe = new QueueProbe(urlOf(port));
    this.enter("booting", "");
    const running = await startProcess(start);
    this.running = running;
    this.save({ process: running.identity });
    journal(`workstation ${name}: process ${running.identity.pid} starts at ${urlOf(port)}`);
  }

  /** A workstation starts also when its plugins cannot be read: their records then tell of no content. */
  private async hashPlugins(signal: AbortSignal, scans: Background): Promise<Readonly<Record<string, string>>> {
    const { root, layout } = this.stored.declaration;
    const progress = (message: string) => this.enter("booting", message);
    try {
      return await scans.hashPlugins({ root, layout }, { progress, signal });
    } catch (error) {
      signal.throwIfAborted();
      this.context.journal(`workstation ${this.context.name}: its plugins could not be read: ${reasonOf(error)}`);
      return {};
    }
  }

  private async boot(signal: AbortSignal): Promise<void> {
    const { name, folders, journal } = this.context;
    const plugins = await untilBooted({
      name,
      url: urlOf(this.stored.port),
      readLog: () => readLog(folders.log),
      hashes: async () => this.stored.hashes,
      report: (lastLine) => this.enter("booting", lastLine),
      journal,
      signal,
    });
    this.save({ plugins, booted: true });
    this.bootedAt = performance.now();
    this.evidence = null;
    journal(`workstation ${name}: runs`);
  }

  /** Its process ended unasked. */
  private async ended(exit: Exit, change: AbortSignal): Promise<void> {
    const { booted } = this.stored;
    if (booted && performance.now() - this.bootedAt >= longRun) this.failures = 0;
    const { importing, lastLine, traceback } = parseStartupLog(readLog(this.log));
    this.lost();
    const phase = importing ? "importing" : "booting";
    const reason = `${booted ? "ComfyUI ended" : `ComfyUI ended while it was ${phase}`}: ${describeExit(exit)}; it printed last: ${lastLine}`;
    this.failed(phase, reason, { exit, ...(traceback === null || booted ? {} : { traceback }) });
    this.save({ restarts: this.stored.restarts + 1 });
    await this.untilRetry(change);
  }

  private failed(phase: Phase, reason: string, more: Partial<Evidence> | null): void {
    const { name, journal } = this.context;
    this.failures++;
    journal(`workstation ${name}: ${reason}`);
    this.evidence = { instance: name, phase, reason, ...more, logTail: logTail(this.log) };
    this.enter(this.failures >= mostStarts ? "failed" : "booting", reason);
  }

  private untilRetry(change: AbortSignal): Promise<void> {
    return pause(this.failures >= mostStarts ? longestBackOff : backOff(Math.max(1, this.failures)), change);
  }

  /** Nothing of its process is left. */
  private lost(): void {
    if (this.running !== null) killRemains(this.running, this.mark);
    this.running = null;
    this.stopSince = null;
    this.save({ process: null, booted: false });
  }

  private async forget(): Promise<void> {
    const { name, folders, ports, journal } = this.context;
    killMarked(this.mark);
    await removeTree(folders.root);
    ports.leave(this.stored.port, holderOf(name));
    journal(`workstation ${name}: forgotten`);
    this.removed = true;
  }

  private enter(phase: WorkstationState["phase"], detail: string): void {
    this.phase = phase;
    this.detail = detail;
  }

  private save(change: Partial<StoredWorkstation>): void {
    const stored = { ...this.stored, ...change };
    writeWorkstation(this.context.folders, stored);
    this.stored = stored;
  }
}

export const holderOf = (name: string) => `workstation ${name}`;
