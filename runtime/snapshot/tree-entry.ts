import type { BigIntStats } from "node:fs";
import type { CountedEntry } from "./types";

/** What changes whenever a file's content is written, so that equal stamps mean equal content. */
export interface Stamp {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
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

export function stampOf({ size, mtimeNs, ctimeNs, ino }: BigIntStats): Stamp {
  return { size, mtimeNs, ctimeNs, ino };
}

export function sameStamp(a: Stamp, b: Stamp): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs && a.ino === b.ino;
}

/** The owner's right decides, as in git. */
export function isExecutable(mode: number): boolean {
  return (mode & 0o100) !== 0;
}
