import { bootId } from "./processes";

/** A point of time on a clock that nobody sets and that goes on over the end of this process, until the machine is started again. */
export interface Moment {
  readonly boot: string;
  /** Milliseconds since that boot. */
  readonly milliseconds: number;
}

export function momentNow(): Moment {
  return { boot: bootId(), milliseconds: sinceBoot() };
}

/** Milliseconds since a moment of this boot; null for one of another. */
export function elapsedSince({ boot, milliseconds }: Moment): number | null {
  return boot === bootId() ? sinceBoot() - milliseconds : null;
}

/** Linux's monotonic clock, which `process.hrtime` reads, counts from the boot. */
const sinceBoot = () => Number(process.hrtime.bigint() / 1_000_000n);
