import { pause } from "../bell";

/** Milliseconds between two looks, however fast changes come: two hundred pods that start change twenty times a second. */
const shortest = 200;
/** Milliseconds after which is looked again without a change: for deadlines. */
const longest = 2_000;

/** When to look again at what is watched: at once after a change, but not more than five times a second. */
export class Pacing {
  private earliest = 0;

  /** @param changes each aborted when there is something new; taken before the last look. */
  async untilNext(signal: AbortSignal, changes: readonly AbortSignal[]): Promise<void> {
    await pause(longest, AbortSignal.any([signal, ...changes]));
    await pause(Math.max(0, this.earliest - performance.now()), signal);
    this.earliest = performance.now() + shortest;
  }
}
