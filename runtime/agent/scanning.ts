import { type FSWatcher, watch } from "node:fs";
import { join } from "node:path";
import { Bell, pause } from "../bell";
import type { EnvironmentLocation } from "../environment";
import { type Scan, scan } from "../snapshot";

/** Milliseconds of quiet after something changed where plugins and packages are, until it is looked at. */
const quiet = 3_000;
/** Milliseconds after which it is looked at even though it keeps changing. */
const longestUnquiet = 30_000;
/** How many times longer than a scan took the next one is waited for: a slow file system is not kept busy with it. */
const restFactor = 20;

export interface Scanning {
  readonly location: EnvironmentLocation;
  /** File of the stat index. */
  readonly index: string;
  /** Milliseconds between two scans while nothing is known to have changed. */
  readonly interval: number;
  readonly onBegin: () => void;
  readonly progress: (message: string) => void;
  /** Hears of each scan, with when it began. */
  readonly onScan: (scan: Scan, at: string) => void;
  readonly onFailure: (error: unknown) => void;
}

/** Looks through an environment now and then: one scan at a time. */
export class Scanner {
  #running: Promise<Scan> | null = null;
  #next: Promise<Scan> | null = null;
  #lasted = 0;

  constructor(private readonly scanning: Scanning) {}

  /** A scan that begins after this is asked for. One that runs already may have passed what changed since. */
  fresh(signal: AbortSignal): Promise<Scan> {
    if (this.#running === null) return this.#start(signal);
    this.#next ??= this.#running.then(
      () => this.#start(signal),
      () => this.#start(signal),
    );
    return this.#next;
  }

  /** Scans when something changes, and now and then, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const changes = new Bell();
    const watchers = this.#watch(changes);
    try {
      while (!signal.aborted) {
        const change = changes.next;
        await pause(Math.max(this.scanning.interval, this.#lasted * restFactor), AbortSignal.any([signal, change]));
        if (change.aborted) await this.#untilQuiet(changes, signal);
        if (signal.aborted) return;
        await this.fresh(signal).catch(() => undefined);
      }
    } finally {
      for (const watcher of watchers) watcher.close();
    }
  }

  #start(signal: AbortSignal): Promise<Scan> {
    this.#next = null;
    const { location, index, progress, onBegin, onScan, onFailure } = this.scanning;
    const at = new Date().toISOString();
    const began = performance.now();
    onBegin();
    const running = scan({ environment: location, models: "referenced", index, progress, signal });
    this.#running = running;
    const done = () => {
      this.#running = null;
      this.#lasted = performance.now() - began;
    };
    return running.then(
      (found) => {
        done();
        onScan(found, at);
        return found;
      },
      (error) => {
        done();
        if (!signal.aborted) onFailure(error);
        throw error;
      },
    );
  }

  async #untilQuiet(changes: Bell, signal: AbortSignal): Promise<void> {
    const end = performance.now() + longestUnquiet;
    for (let change = changes.next; !signal.aborted && performance.now() < end; change = changes.next) {
      await pause(Math.min(quiet, this.scanning.interval), AbortSignal.any([signal, change]));
      if (!change.aborted) return;
    }
  }

  /** Where plugins and packages come and go. Only hints: some file systems tell nothing of what other nodes do. */
  #watch(changes: Bell): readonly FSWatcher[] {
    const { root, layout } = this.scanning.location;
    return [layout.plugins, layout.comfyui, join(layout.dependencies, "bin")].flatMap((folder) => {
      try {
        const watcher = watch(join(root, folder), () => changes.ring());
        watcher.on("error", () => watcher.close());
        return [watcher];
      } catch {
        return [];
      }
    });
  }
}
