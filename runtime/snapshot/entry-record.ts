import type { BigIntStats } from "node:fs";
import type { TreeEntry } from "./tree-entry";

/** Bytes of an entry's record: size and inode, mtime and ctime in nanoseconds, 8 each; then mode and length of the path, 2 each; flags. */
export const recordSize = 40;
/** Numbers of each size in a record. */
export const [doubles, integers, shorts, longs] = [recordSize / 8, recordSize / 4, recordSize / 2, recordSize / 8];
/** Where things are in a record, in units of their own size. */
export const at = { size: 0, ino: 1, mtime: 2, ctime: 3, mode: 16, pathBytes: 17, flags: 36 };

export const types = ["file", "directory", "link"] as const satisfies readonly TreeEntry["type"][];
export const flag = { type: 3, counts: 4, followed: 8, empty: 16 };

/** A table as it passes between threads and is kept in a file. */
export interface TableData {
  readonly count: number;
  /** {@link recordSize} bytes for each entry, at a multiple of 8 in their memory. */
  readonly records: Uint8Array<ArrayBuffer>;
  /** The paths in UTF-8, each ended by a NUL. */
  readonly text: Uint8Array<ArrayBuffer>;
  /** Where the links lead, in their order. */
  readonly targets: readonly string[];
}

/** What is to be noted of an entry. `found` is null for folders and links, whose stamps say nothing. */
export interface NewEntry extends Pick<TreeEntry, "path" | "type" | "target" | "counts" | "followed" | "empty"> {
  readonly mode: number;
  readonly found: Pick<BigIntStats, "size" | "ino" | "mtimeNs" | "ctimeNs"> | null;
}

/** A place between two rows: how many rows, bytes of text and links are before it. */
export interface TablePlace {
  readonly row: number;
  readonly text: number;
  readonly link: number;
}
