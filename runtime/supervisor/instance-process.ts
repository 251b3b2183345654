import { pause } from "../bell";
import { prove, saysPortInUse } from "../health";
import type { Background } from "./background";
import { comfyuiStart } from "./comfyui-process";
import type { InstanceFolders } from "./folders";
import type { Outcome } from "./instance-fault";
import type { InstanceState } from "./instance-state";
import { type Journal, reasonOf } from "./journal";
import { adoptOrClear } from "./kept-process";
import { untilHung } from "./liveness";
import type { PortBook } from "./port-book";
import { prepareInstance } from "./preparation";
import { readLog } from "./process-log";
import { isAlive, killRemains, type RunningProcess, startProcess, stopProcess } from "./processes";
import type { ReleaseSpec } from "./protocol";
import { QueueProbe } from "./queue-probe";
import { urlOf } from "./records";
import { type RestoredEnvironment, readRestored } from "./restored";

/** Milliseconds within which the end of a process explains why a request to it failed. */
const exitPatience = 2_000;

export interface InstanceProcessContext {
  /** `<release id>/<index>`. */
  readonly id: string;
  readonly spec: ReleaseSpec;
  readonly folders: InstanceFolders;
  readonly cache: string;
  readonly restores: Background;
  readonly ports: PortBook;
  readonly journal: Journal;
}

/** The ComfyUI process of an instance: one start after the other, in the same folders and at the same port. */
export class InstanceProcess {
  private running: RunningProcess | null = null;
  private probe: QueueProbe | null = null;
  private provenSince: number | null = null;

  constructor(
    private readonly context: InstanceProcessContext,
    private readonly state: InstanceState,
  ) {
    const { port } = state.record;
    if (port !== null) context.ports.enter(port, this.holder);
  }

  get runs(): boolean {
    return this.running !== null;
  }
  get pid(): number | null {
    return this.running?.identity.pid ?? null;
  }
  get url(): string | null {
    const { port } = this.state.record;
    return port === null ? null : urlOf(port);
  }

  /** Milliseconds for which it is known to have been proven, by this supervisor; 0 for one that is not. */
  get provenFor(): number {
    return this.provenSince === null ? 0 : performance.now() - this.provenSince;
  }

  /** Prompts that it has left: as it answers now, or as it answered a moment ago. Null when it does not answer. */
  async queueRemaining(when: "now" | "latest"): Promise<number | null> {
    return (await this.probe?.[when]()) ?? null;
  }

  /** Takes over the process that an earlier supervisor left, or ends what is left of it. */
  adopt(): void {
    this.running = adoptOrClear(this.state.record.process, this.mark, this.context.journal);
    if (this.running !== null && this.url !== null) this.probe = new QueueProbe(this.url);
  }

  /**
   * From a start, or from where a process that was taken over stands, to its end, when nothing of it is left any more. Fails only
   * when the signal is aborted, which leaves the process as it is.
   */
  async run(signal: AbortSignal): Promise<Outcome> {
    let outcome: Outcome;
    try {
      outcome = await this.untilOutcome(signal);
    } catch (error) {
      signal.throwIfAborted();
      this.context.journal(`${this.context.id}: could not be started: ${reasonOf(error)}`);
      outcome = { kind: "faulty", fault: { phase: this.state.phase, reason: reasonOf(error) }, conclusive: true };
    }
    await this.stop();
    return outcome;
  }

  /** Ends it; fulfilled when nothing of it is left. */
  async stop(): Promise<void> {
    const { running, mark } = this;
    if (running === null) return;
    if (isAlive(running.identity)) await stopProcess(running, mark, "SIGINT");
    else killRemains(running, mark);
    this.running = null;
  }

  /** Gives its port up. */
  leavePort(): void {
    this.context.ports.leave(this.state.record.port, this.holder);
  }

  /** Unique on this machine, and found again by the next supervisor of the directory. */
  get mark(): string {
    return this.context.folders.root;
  }

  private get holder(): string {
    return `instance ${this.context.id}`;
  }

  private async untilOutcome(signal: AbortSignal): Promise<Outcome> {
    const adopted = this.running;
    const environment = adopted === null ? await this.prepare(signal) : readRestored(this.context.folders);
    const running = adopted ?? (await this.launch(environment, signal));
    if (this.state.record.standing !== "proven") {
      const outcome = await this.proveOrEnd(running, environment, signal);
      if (outcome !== null) return outcome;
    }
    return this.untilEnd(running, signal);
  }

  private prepare(signal: AbortSignal): Promise<RestoredEnvironment> {
    const { folders, spec, cache, restores } = this.context;
    this.state.enter("restoring", "waiting for its turn");
    const progress = (message: string) => this.state.enter("restoring", message);
    return prepareInstance({ folders, spec, cache, restores, progress, signal });
  }

  private async launch(environment: RestoredEnvironment | null, signal: AbortSignal): Promise<RunningProcess> {
    if (environment === null) throw new Error("nothing is restored");
    const { folders, spec, journal, id } = this.context;
    const port = await this.port();
    const { epoch } = this.state.record;
    this.state.save({ port, epoch: epoch + 1, process: null, standing: "starting" });
    this.provenSince = null;
    signal.throwIfAborted();
    this.probe = new QueueProbe(urlOf(port));
    this.state.enter("booting", "");
    const running = await startProcess(
      comfyuiStart({
        ...environment.location,
        python: environment.python,
        port,
        folders,
        arguments: spec.arguments,
        environmentVariables: spec.environmentVariables,
        log: folders.log,
        mark: this.mark,
      }),
    );
    this.running = running;
    this.state.save({ process: running.identity });
    journal(`${id}: process ${running.identity.pid} starts at ${urlOf(port)}`);
    return running;
  }

  private async port(): Promise<number> {
    const { ports } = this.context;
    const { port } = this.state.record;
    if (port !== null && (await ports.takenBy(port, this.holder)) === null) return port;
    this.leavePort();
    return ports.choose(this.holder);
  }

  /** Null when it is proven. */
  private async proveOrEnd(
    running: RunningProcess,
    environment: RestoredEnvironment | null,
    signal: AbortSignal,
  ): Promise<Outcome | null> {
    const { spec, folders, journal, id } = this.context;
    if (environment === null) {
      // Its next start restores it anew.
      const reason = `${folders.restored} is lost, which tells what is to be proven`;
      return { kind: "faulty", fault: { phase: this.state.phase, reason }, conclusive: false };
    }
    const ended = new AbortController();
    void running.exited.then(() => ended.abort());
    try {
      const proof = await prove({
        url: this.url ?? "",
        readLog: () => readLog(folders.log),
        plugins: environment.plugins,
        ...spec.health,
        report: (phase, detail) => this.state.enter(phase, detail),
        signal: AbortSignal.any([signal, ended.signal]),
      });
      if (!proof.proven) return { kind: "faulty", fault: proof.finding, conclusive: true };
      this.state.save({ standing: "proven", everProven: true, evidence: null, since: new Date().toISOString() });
      journal(`${id}: proven`);
      this.state.enter("proven", proof.remarks.join("; "));
      return null;
    } catch (error) {
      signal.throwIfAborted();
      await pause(exitPatience, ended.signal);
      if (!ended.signal.aborted) {
        return { kind: "faulty", fault: { phase: this.state.phase, reason: reasonOf(error) }, conclusive: false };
      }
      const exit = await running.exited;
      return saysPortInUse(readLog(folders.log)) ? { kind: "port-in-use" } : { kind: "ended", exit };
    }
  }

  /** A proven process ends by itself, or shows for so long no sign of life that it is ended. */
  private async untilEnd(running: RunningProcess, signal: AbortSignal): Promise<Outcome> {
    this.provenSince ??= performance.now();
    const over = new AbortController();
    const { detail } = this.state;
    const hung = untilHung({
      url: this.url ?? "",
      identity: running.identity,
      // While it drains, its drain's deadline and policy decide.
      excused: () => this.state.record.leaving,
      report: (silence) => this.state.enter("proven", silence === "" ? detail : silence),
      signal: AbortSignal.any([signal, over.signal]),
    });
    const exited = running.exited.then((exit): Outcome => ({ kind: "ended", exit }));
    try {
      const outcome = await Promise.race([
        exited,
        hung.then((reason): Outcome | null =>
          reason === null ? null : { kind: "faulty", fault: { phase: "proven", reason }, conclusive: false },
        ),
      ]);
      signal.throwIfAborted();
      return outcome ?? (await exited);
    } finally {
      over.abort();
    }
  }
}
