import { setImmediate } from "node:timers/promises";
import type { Watch } from "../waiting";

/** Milliseconds of synchronous work after which other work of the process gets its turn. */
const turn = 15;
/** Milliseconds between two progress texts. */
const interval = 300;

/** Keeps long synchronous work polite: lets others run, reports progress, stops when it is told to. */
export class Pace {
  #turnEnds = performance.now() + turn;
  #reportDue = performance.now() + interval;
  readonly #watch: Partial<Watch>;

  constructor(watch: Partial<Watch>) {
    this.#watch = watch;
  }

  /** Cheap. True when {@link rest} should be awaited. */
  get due(): boolean {
    return performance.now() >= this.#turnEnds;
  }

  /** Lets the event loop run; throws the signal's reason when the work is to end. */
  async rest(describe: () => string): Promise<void> {
    this.check(describe);
    await setImmediate();
    this.#turnEnds = performance.now() + turn;
  }

  /** Reports progress when it is time, and throws the signal's reason when the work is to end. */
  check(describe: () => string): void {
    this.#watch.signal?.throwIfAborted();
    const now = performance.now();
    if (now < this.#reportDue) return;
    this.#reportDue = now + interval;
    this.#watch.progress?.(describe());
  }
}

/** A count as a person reads it: `12,000 files`. */
export function formatCount(count: number, what: string): string {
  return `${String(count).replace(/\B(?=(\d{3})+$)/g, ",")} ${what}`;
}
