import { pause } from "../bell";
import type { PluginRecord } from "../environment";
import { ComfyUI } from "../health";
import {
  type Evidence,
  type Exit,
  type Fault,
  faultOfExit,
  lastLines,
  longestRead,
  tailBytes,
  untilBooted,
} from "../instance";
import type { AgentFolders } from "./folders";
import type { Journal } from "./journal";
import { type Run, readExit, readRun } from "./launching";
import { attend, launcherInterval, startLog } from "./starts";

/** How many starts may fail in a row before it is called failed; the kubelet tries it again all the same. */
const mostStarts = 3;
/** Milliseconds after which a process has shown that it is not the kind that ends right away. */
const longRun = 60_000;
/** Milliseconds after which the absence of ComfyUI's container is worth a word. */
const startPatience = 30_000;

export interface WorkstationFollowing {
  readonly workstation: string;
  readonly port: number;
  readonly folders: AgentFolders;
  readonly journal: Journal;
  /** Identity of each plugin's content, as it is when this is asked for. */
  readonly hashPlugins: () => Promise<Readonly<Record<string, string>>>;
  /** Hears how plugins behaved at a start, null where it did not tell. */
  readonly onBooted: (plugins: readonly PluginRecord[] | null) => void;
  readonly onEnded: () => void;
}

/** What a workstation's ComfyUI does: one start after the other. */
export class WorkstationFollower {
  readonly url: string;
  /** The start that runs, or ran last; 0 before the first. */
  start = 0;
  running = false;
  /** Whether this start answers. */
  booted = false;
  /** Whether its end is wanted, so that it is no fault. */
  expected: () => boolean = () => false;
  #failures = 0;
  /** What an earlier agent saw the end of. ComfyUI's container waits for this one, so that whatever ends later is news. */
  readonly #endedBefore: number;

  constructor(private readonly context: WorkstationFollowing) {
    this.url = `http://127.0.0.1:${context.port}`;
    this.#endedBefore = readExit(context.folders)?.start ?? 0;
  }

  /** Prompts that it has left, or null while it does not answer. */
  queueRemaining(): Promise<number | null> {
    return new ComfyUI(this.url, new AbortController().signal).queueRemaining();
  }

  /** Fulfilled when the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { journal } = this.context;
    while (!signal.aborted) {
      const run = await this.#untilStart(signal);
      if (run === null) return;
      this.start = run.start;
      this.running = true;
      this.booted = false;
      journal.enter("booting");
      const began = performance.now();
      const exit = await attend(run, this.context.folders, signal, (both) => this.#bootOrTell(both));
      if (exit === null) return;
      const wasBooted = this.booted;
      this.running = false;
      this.booted = false;
      this.context.onEnded();
      if (this.expected()) {
        journal.enter("draining", "ComfyUI has ended");
        continue;
      }
      this.#failures = wasBooted && performance.now() - began >= longRun ? 1 : this.#failures + 1;
      const fault = faultOfExit(exit, journal.phase, wasBooted, this.#log(longestRead));
      journal.evidence = this.#evidence(fault, exit);
      journal.say(`${fault.reason}; it is started again`);
      journal.enter(this.#failures >= mostStarts ? "failed" : "waiting", fault.reason);
    }
  }

  async #untilStart(signal: AbortSignal): Promise<Run | null> {
    const { folders, journal } = this.context;
    const since = performance.now();
    while (!signal.aborted) {
      const run = readRun(folders);
      // One that has ended is attended as well, so that it is told how.
      if (run !== null && run.start > Math.max(this.start, this.#endedBefore)) return run;
      const late = performance.now() - since >= startPatience;
      if (this.start === 0 && !this.expected()) {
        journal.enter("waiting", late ? "ComfyUI's container has not started it yet" : "ComfyUI may start");
      }
      await pause(launcherInterval, signal);
    }
    return null;
  }

  /** A start that cannot be looked at goes on, and is waited for. */
  async #bootOrTell(signal: AbortSignal): Promise<void> {
    try {
      await this.#boot(signal);
    } catch (error) {
      if (signal.aborted) return;
      const reason = error instanceof Error ? error.message : String(error);
      this.context.journal.evidence = this.#evidence({ phase: "booting", reason });
      this.context.journal.enter("failed", reason);
    }
  }

  async #boot(signal: AbortSignal): Promise<void> {
    const { workstation, journal } = this.context;
    const hashes = this.context.hashPlugins();
    // Awaited once ComfyUI answers; one that ends before has nothing to be told with.
    hashes.catch(() => undefined);
    const plugins = await untilBooted({
      name: workstation,
      url: this.url,
      readLog: () => this.#log(longestRead),
      hashes: () => hashes,
      report: (lastLine) => journal.enter("booting", lastLine),
      journal: (line) => journal.say(line),
      signal,
    });
    this.booted = true;
    journal.evidence = null;
    if (!this.expected()) journal.enter("proven");
    this.context.onBooted(plugins);
  }

  #evidence(fault: Fault, exit?: Exit): Evidence {
    const { workstation } = this.context;
    const logTail = lastLines(this.#log(tailBytes));
    return { instance: workstation, ...fault, ...(exit === undefined ? {} : { exit }), logTail };
  }

  #log(bytes: number): string {
    return startLog(this.start, this.context.folders, bytes);
  }
}
