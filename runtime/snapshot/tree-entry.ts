import type { BigIntStats } from "node:fs";
import type { CountedEntry } from "./types";

/**
 * What changes whenever a file's content is written, so that equal stamps mean equal content. Times are nanoseconds since 1970, cut
 * into the upper and the lower 32 bits: a tree has so many of them that big integers would be felt.
 */
export interface Stamp {
  /** Bytes. */
  readonly size: number;
  readonly ino: number;
  readonly mtimeHigh: number;
  readonly mtimeLow: number;
  readonly ctimeHigh: number;
  readonly ctimeLow: number;
}

/** One thing that travels, as a walk found it. */
export interface TreeEntry {
  /** Relative to the environment's root. */
  readonly path: string;
  readonly type: CountedEntry["type"];
  /** Permission bits, `0o777` at most. */
  readonly mode: number;
  readonly stamp: Stamp;
  /** Where a link leads, as it stands in it; empty for others. */
  readonly target: string;
  /** False for what tools derive from the rest: it travels but does not count. */
  readonly counts: boolean;
  /** True where links are followed to it: a model file may lie anywhere. */
  readonly followed: boolean;
  /** A folder that holds nothing at all. */
  readonly empty: boolean;
}

/** Reads a 64-bit integer as two of 32 bits without arithmetic on big integers. */
const whole = new BigInt64Array(2);
const halves = new Int32Array(whole.buffer);
/** Which half of a 64-bit integer is the lower and which the upper one, as they lie in memory. */
export const [low, high] = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? ([0, 1] as const) : ([1, 0] as const);

export function stampOf({
  size,
  mtimeNs,
  ctimeNs,
  ino,
}: Pick<BigIntStats, "size" | "mtimeNs" | "ctimeNs" | "ino">): Stamp {
  whole[0] = mtimeNs;
  whole[1] = ctimeNs;
  return {
    size: Number(size),
    ino: Number(ino),
    mtimeHigh: halves[high] ?? 0,
    mtimeLow: halves[low] ?? 0,
    ctimeHigh: halves[2 + high] ?? 0,
    ctimeLow: halves[2 + low] ?? 0,
  };
}

export function sameStamp(a: Stamp, b: Stamp): boolean {
  return (
    a.size === b.size &&
    a.ctimeLow === b.ctimeLow &&
    a.mtimeLow === b.mtimeLow &&
    a.ctimeHigh === b.ctimeHigh &&
    a.mtimeHigh === b.mtimeHigh &&
    a.ino === b.ino
  );
}

/** Nanoseconds since 1970. */
export function mtimeOf({ mtimeHigh, mtimeLow }: Stamp): bigint {
  return joined(mtimeHigh, mtimeLow);
}

/** Nanoseconds since 1970. */
export function ctimeOf({ ctimeHigh, ctimeLow }: Stamp): bigint {
  return joined(ctimeHigh, ctimeLow);
}

/** Since 1970, as exact as a double gets: to half a microsecond. */
export function ctimeInMilliseconds({ ctimeHigh, ctimeLow }: Stamp): number {
  return (ctimeHigh * 2 ** 32 + (ctimeLow >>> 0)) / 1e6;
}

function joined(upper: number, lower: number): bigint {
  halves[high] = upper;
  halves[low] = lower;
  return whole[0] ?? 0n;
}

/** The owner's right decides, as in git. */
export function isExecutable(mode: number): boolean {
  return (mode & 0o100) !== 0;
}
