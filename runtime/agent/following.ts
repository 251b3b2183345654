import { pause } from "../bell";
import { formatDuration } from "../format";
import { ComfyUI, prove } from "../health";
import {
  type Evidence,
  type Exit,
  type Fault,
  faultOfExit,
  lastLines,
  longestRead,
  longestSilence,
  lookInterval,
  noticeable,
  type RestoredInstance,
  Silence,
  tailBytes,
} from "../instance";
import type { AgentFolders } from "./folders";
import type { InstanceSpec } from "./instance-spec";
import type { Journal } from "./journal";
import { type Run, readExit, readPulse, readRun } from "./launching";
import { readMemory, writeMemory } from "./memory";
import { attend, launcherInterval, startLog } from "./starts";
import { ConclusiveFault } from "./termination";

/** How many starts may end before an instance that was never proven is given up. */
const mostStarts = 3;
/** Milliseconds before a start that could not be proven, but may yet be, is tried again; then twice as long, up to the longest. */
const firstPause = 1_000;
const longestPause = 30_000;
/** Milliseconds within which the end of a process explains why a request to it failed. */
const exitPatience = 2_000;
/** Milliseconds after which the absence of ComfyUI's container is worth a word. */
const startPatience = 30_000;

export interface Following {
  /** `<release>/<suffix>`. */
  readonly instance: string;
  readonly spec: InstanceSpec;
  readonly restored: RestoredInstance;
  readonly folders: AgentFolders;
  readonly journal: Journal;
  /** What ComfyUI's container has to have, told where it does not start. */
  readonly demands: string;
  readonly longestSilence?: number | undefined;
  readonly lookInterval?: number | undefined;
}

/** What ComfyUI's container does: one start after the other, each of which is proven. */
export class Follower {
  readonly url: string;
  /** The start that runs, or ran last; 0 before the first. */
  start = 0;
  /** Whether it runs. */
  running = false;
  /** Whether this start is proven. */
  proven = false;
  /** Why the kubelet is to start ComfyUI again, or null. */
  condemned: string | null = null;
  /** Whether its end is wanted, so that it is no fault, nor its silence. */
  expected: () => boolean = () => false;
  /** Hears of a new start. */
  onStart: () => void = () => undefined;
  #provenStart: number;
  /** What an earlier agent saw the end of. ComfyUI's container waits for this one, so that whatever ends later is news. */
  readonly #endedBefore: number;

  constructor(private readonly context: Following) {
    this.url = `http://127.0.0.1:${context.spec.ports.comfyui}`;
    this.#endedBefore = readExit(context.folders)?.start ?? 0;
    this.#provenStart = readMemory(context.folders).provenStart;
  }

  /** Fulfilled when the signal is aborted. @throws {ConclusiveFault} where another start would come to the same */
  async run(signal: AbortSignal): Promise<void> {
    const { journal } = this.context;
    while (!signal.aborted) {
      const run = await this.#untilStart(signal);
      if (run === null) return;
      this.start = run.start;
      this.running = true;
      this.proven = false;
      this.condemned = null;
      this.onStart();
      journal.enter("booting");
      const exit = await attend(run, this.context.folders, signal, (both, ended) =>
        this.#proveAndWatch(run, both, ended),
      );
      if (exit === null) return;
      const { proven: wasProven, condemned } = this;
      this.running = false;
      this.proven = false;
      this.condemned = null;
      if (this.expected()) {
        journal.enter("draining", "ComfyUI has ended");
        continue;
      }
      if (condemned !== null) {
        journal.enter("waiting", `it was ended: ${condemned}`);
        continue;
      }
      const fault = faultOfExit(exit, journal.phase, wasProven, this.#log(longestRead));
      journal.evidence = this.#evidence(fault, exit);
      // Whatever an instance does that was proven once: another start may go better.
      if (this.#provenStart === 0 && run.start >= mostStarts) throw new ConclusiveFault(journal.evidence);
      journal.say(`${fault.reason}; it is started again`);
      journal.enter("waiting", fault.reason);
    }
  }

  /** Prompts that it has left, or null while it does not answer. */
  queueRemaining(): Promise<number | null> {
    return new ComfyUI(this.url, new AbortController().signal).queueRemaining();
  }

  async #untilStart(signal: AbortSignal): Promise<Run | null> {
    const { folders, journal, demands } = this.context;
    const since = performance.now();
    while (!signal.aborted) {
      const run = readRun(folders);
      if (run !== null && run.start > this.start) {
        // One that has ended is attended as well, so that it is told how.
        if (run.start > this.#endedBefore || run.start >= mostStarts) return run;
      }
      const late = performance.now() - since >= startPatience;
      if (journal.phase !== "waiting" && !this.expected()) journal.enter("waiting");
      if (late && this.start === 0) journal.enter("waiting", `ComfyUI's container has not started it yet; ${demands}`);
      await pause(launcherInterval, signal);
    }
    return null;
  }

  async #proveAndWatch(run: Run, signal: AbortSignal, ended: AbortSignal): Promise<void> {
    const { journal, folders } = this.context;
    if (this.#provenStart !== run.start && !(await this.#prove(signal, ended))) return;
    if (this.#provenStart !== run.start) {
      this.#provenStart = run.start;
      try {
        writeMemory(folders, { provenStart: run.start });
      } catch (error) {
        // Only an agent that is started again would need it, and proves it again.
        journal.say(`that it is proven could not be noted: ${(error as Error).message}`);
      }
    }
    this.proven = true;
    journal.evidence = null;
    if (!this.expected()) journal.enter("proven", journal.detail);
    await this.#watch(run, signal);
  }

  /** True once it is proven, false when it is condemned. */
  async #prove(signal: AbortSignal, ended: AbortSignal): Promise<boolean> {
    const { spec, restored, journal } = this.context;
    for (let attempt = 1; ; attempt++) {
      try {
        const proof = await prove({
          url: this.url,
          readLog: () => this.#log(longestRead),
          plugins: restored.plugins,
          ...spec.health,
          report: (phase, detail) => journal.enter(phase, detail),
          signal,
        });
        if (proof.proven) {
          journal.enter("proven", proof.remarks.join("; "));
          return true;
        }
        const evidence = this.#evidence(proof.finding);
        if (this.#provenStart === 0) throw new ConclusiveFault(evidence);
        journal.evidence = evidence;
        this.condemned = evidence.reason;
        journal.enter("failed", evidence.reason);
        journal.say("an earlier start was proven, so another one is asked for");
        return false;
      } catch (error) {
        if (error instanceof ConclusiveFault) throw error;
        signal.throwIfAborted();
        // A request that failed may be the first sign of its end.
        await pause(exitPatience, ended);
        signal.throwIfAborted();
        const reason = error instanceof Error ? error.message : String(error);
        const milliseconds = Math.min(longestPause, firstPause * 2 ** Math.min(attempt - 1, 10));
        journal.enter(journal.phase, `${reason}; proven again in ${formatDuration(milliseconds)}`);
        journal.say(journal.detail);
        await pause(milliseconds, signal);
        signal.throwIfAborted();
      }
    }
  }

  /** Looks for signs of life until it ends. */
  async #watch({ start }: Run, signal: AbortSignal): Promise<void> {
    const { folders, journal } = this.context;
    const comfyui = new ComfyUI(this.url, new AbortController().signal);
    const silence = new Silence(performance.now(), null);
    const { detail } = journal;
    let told = false;
    while (!signal.aborted) {
      await pause(this.context.lookInterval ?? lookInterval, signal);
      if (signal.aborted) return;
      const answers = await comfyui.answers();
      if (signal.aborted) return;
      const now = performance.now();
      const pulse = readPulse(folders);
      if (pulse?.start === start) {
        silence.observe(now, {
          at: Date.parse(pulse.at),
          seconds: pulse.cpu,
          bytes: `${pulse.read} ${pulse.written}`,
        });
      }
      // While it drains, its drain's deadline decides.
      if (answers || this.expected()) silence.interrupt(now);
      const silent = silence.lasts(now);
      const text = `for ${formatDuration(silent)} it has neither answered, nor computed, nor read or written anything`;
      const hung = silent >= (this.context.longestSilence ?? longestSilence);
      if (hung && this.condemned === null) journal.say(`${text}: it is to be started again`);
      this.condemned = hung ? text : null;
      if (silent >= noticeable || hung) journal.enter("proven", text);
      else if (told && journal.phase === "proven") journal.enter("proven", detail);
      told = silent >= noticeable || hung;
    }
  }

  #evidence(fault: Fault, exit?: Exit): Evidence {
    return {
      instance: this.context.instance,
      ...fault,
      ...(exit === undefined ? {} : { exit }),
      logTail: lastLines(this.#log(tailBytes)),
    };
  }

  /** The end of what this start has printed. */
  #log(bytes: number): string {
    return startLog(this.start, this.context.folders, bytes);
  }
}
