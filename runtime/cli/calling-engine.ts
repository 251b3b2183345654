import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { pause } from "../bell";
import { accepts, type EngineAddress, engineOf, parentOf, readProcess } from "./recover/processes";

/** Milliseconds between two looks. */
const interval = 1_000;

/** The engine for which a command runs is gone. */
export class EngineGoneError extends Error {
  override readonly name = "EngineGoneError";
  constructor() {
    super("the Pulumi engine that runs this command is gone; run pulumi-comfyui recover, then pulumi up again");
  }
}

/**
 * The engine whose plugin runs this process: a plugin of an engine that was killed goes on with what it does, and so would what it runs.
 */
export class CallingEngine implements Disposable {
  readonly #over = new AbortController();
  readonly #gone = new AbortController();
  readonly #parent = process.ppid;
  readonly #engine = engineAbove(process.ppid);

  constructor() {
    void this.#watch();
  }

  /** Aborted when the engine, or the plugin, is gone. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Fails when the engine is gone: asked right before anything that must not happen after its end. */
  async assertThere(): Promise<void> {
    await this.#look();
    this.signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }

  async #watch(): Promise<void> {
    while (!this.#over.signal.aborted && !this.signal.aborted) {
      await this.#look();
      await pause(interval, this.#over.signal);
    }
  }

  async #look(): Promise<void> {
    const there = process.ppid === this.#parent && (this.#engine === null || (await accepts(this.#engine)));
    if (!there) this.#gone.abort(new EngineGoneError());
  }
}

/** The engine of the nearest plugin among the ancestors of a process, or null where there is none. */
function engineAbove(pid: number): EngineAddress | null {
  for (let at = pid; at > 1; ) {
    const ancestor = existsSync("/proc/self")
      ? { arguments: readProcess(at)?.arguments ?? [], parent: parentOf(at) }
      : ps(at);
    const engine = engineOf(ancestor);
    if (engine !== null) return engine;
    at = ancestor.parent;
  }
  return null;
}

/** Where there is no `/proc`. */
function ps(pid: number): { readonly arguments: readonly string[]; readonly parent: number } {
  const text = execFileSync("ps", ["-o", "ppid=,command=", "-p", String(pid)], { encoding: "utf8" }).trim();
  const [parent, ...args] = text.split(/\s+/);
  return { arguments: args, parent: Number(parent) };
}
