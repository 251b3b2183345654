/** Milliseconds without any sign of life after which a process is taken as hung. */
export const longestSilence = 10 * 60_000;
/** Milliseconds between two looks. */
export const lookInterval = 15_000;
/** Milliseconds of silence that a person is told of. */
export const noticeable = 60_000;
/** A process that computes for less than this share of the time does nothing: what waits has threads that wake now and then. */
const idleShare = 0.01;

/** What a process has done since it started. */
export interface Activity {
  /** Milliseconds, on any clock that goes on evenly: when this was so. */
  readonly at: number;
  /** Seconds computed. */
  readonly seconds: number;
  /** Bytes read and written, in any form that changes when one of them does. */
  readonly bytes: string;
}

/**
 * For how long a process has shown no sign of life: it neither answered, nor computed, nor read or wrote anything.
 *
 * Lenient on purpose, since a restart loses the prompts that it has. One native call that keeps the interpreter's lock stops every
 * answer for as long as it lasts, and loading a model from a slow disk may take minutes. So only a process that for the whole time
 * did none of these is hung: one that was stopped, or whose threads wait for each other. One that computes forever is never taken as
 * hung; its clients can interrupt it.
 */
export class Silence {
  #lively: number;
  #before: Activity | null;

  /** `now`: milliseconds, on the clock of all later calls; that of activities may be another one. */
  constructor(now: number, activity: Activity | null) {
    this.#lively = now;
    this.#before = activity;
  }

  /** A sign of life that was seen otherwise, or a reason why silence does not count. */
  interrupt(now: number): void {
    this.#lively = now;
  }

  /** Compares what it has done with what it had done at the last look. */
  observe(now: number, activity: Activity): void {
    const before = this.#before;
    this.#before = activity;
    if (before === null || activity.at <= before.at) return;
    const computed = activity.seconds - before.seconds;
    // Less than before: one of several processes has ended.
    const active = computed < 0 || computed / ((activity.at - before.at) / 1000) >= idleShare;
    if (active || activity.bytes !== before.bytes) this.#lively = now;
  }

  /** Milliseconds. */
  lasts(now: number): number {
    return now - this.#lively;
  }
}
