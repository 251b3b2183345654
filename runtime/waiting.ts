import { setTimeout as delay } from "node:timers/promises";
import { formatDuration } from "./format";

/** What a long operation reports to and stops by. */
export interface Watch {
  /** Receives short texts that say what is being done or waited for, several a second at most. */
  readonly progress: (message: string) => void;
  /** Ends the operation early; its reason is thrown. */
  readonly signal: AbortSignal;
}

export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

export interface Wait<T> extends Partial<Watch> {
  /** What is waited for, for example `"instance r3-x7k2/0 to be proven"`. */
  readonly what: string;
  /** Milliseconds after which the wait fails. */
  readonly deadline: number;
  /** Milliseconds between two looks, or what gives them anew for each pause. Default 100. */
  readonly interval?: number | (() => number);
  /** Looks once: a value ends the wait, `undefined` goes on. A throw ends it as a failure. */
  readonly look: () => Promise<T | undefined> | T | undefined;
  /** What the last look saw, shown as progress and, at the deadline, as evidence. */
  readonly seen?: () => string;
}

/** Waits for a condition; fails at its deadline with what it waited for and what it saw last. */
export async function waitFor<T>({
  what,
  deadline,
  interval = 100,
  look,
  seen,
  progress,
  signal,
}: Wait<T>): Promise<T> {
  const started = performance.now();
  let reported = "";
  for (;;) {
    signal?.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    const evidence = seen?.() ?? "";
    const message = evidence ? `waiting for ${what}: ${evidence}` : `waiting for ${what}`;
    if (message !== reported) progress?.(message);
    reported = message;
    if (performance.now() - started >= deadline) {
      throw new DeadlineError(`gave up after ${formatDuration(deadline)} ${message}`);
    }
    try {
      await delay(typeof interval === "number" ? interval : interval(), undefined, signal ? { signal } : {});
    } catch (error) {
      // The timer's own AbortError only wraps the reason.
      signal?.throwIfAborted();
      throw error;
    }
  }
}
