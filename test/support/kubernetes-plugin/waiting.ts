import { setTimeout as pause } from "node:timers/promises";
import type { Values } from "../plugin-base/values";

/** The object is there, but is not what was waited for; it is saved as it is. */
export class Incomplete extends Error {
  override name = "Incomplete";
  constructor(
    message: string,
    readonly object: Values,
    readonly reasons: readonly string[],
  ) {
    super([message, ...reasons.map((reason) => `  * ${reason}`)].join("\n"));
  }
}

/** What a look at the object gave: what is still missing; nothing, when it is complete. */
export interface Look {
  readonly object: Values;
  readonly missing: readonly string[];
  /** It cannot become complete any more. */
  readonly failed?: boolean;
}

export interface Wait {
  readonly name: string;
  readonly goal: string;
  readonly timeout: number;
  readonly signal: AbortSignal;
  readonly look: () => Promise<Look>;
  /** Told when what is missing has changed. */
  readonly report: (status: string) => void;
}

/** Milliseconds between two looks. */
const interval = 250;

/** Looks until nothing is missing. Throws `Incomplete` when it failed, time is up, or the wait was cancelled. */
export async function wait({ name, goal, timeout, signal, look, report }: Wait): Promise<Values> {
  const end = performance.now() + timeout;
  let said = "";
  for (;;) {
    const { object, missing, failed } = await look();
    if (missing.length === 0) return object;
    const status = missing.join("; ");
    if (status !== said) report(status);
    said = status;
    if (failed) throw new Incomplete(`'${name}' failed`, object, missing);
    if (signal.aborted) throw new Incomplete(`Resource operation was cancelled for '${name}'`, object, missing);
    if (performance.now() > end) throw new Incomplete(`'${name}' timed out waiting to be ${goal}`, object, missing);
    try {
      await pause(interval, undefined, { signal });
    } catch {
      // Cancelled: one last look.
    }
  }
}
