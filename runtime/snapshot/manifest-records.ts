/** The records of a manifest, one JSON text a line. docs/store-format.md describes them for readers without this code. */

/** A pack that entries of the manifest need. Sorted by hash. */
export interface PackRecord {
  readonly type: "pack";
  readonly sha256: string;
  /** Bytes of the whole pack. */
  readonly size: number;
}

/** The manifest, by its digest, from which one that has this record says only what differs. It has no such record itself. */
export interface BaseRecord {
  readonly type: "base";
  readonly sha256: string;
}

/** An entry of the base that is not there any more. */
export interface RemovedRecord {
  readonly type: "removed";
  readonly path: string;
}

/** A zstd frame in a pack. Sorted by pack and offset; its place among the frames is its number. */
export interface FrameRecord {
  readonly type: "frame";
  /** Number of its pack among the pack records. */
  readonly pack: number;
  /** Where the frame begins in the pack, and its bytes there. */
  readonly offset: number;
  readonly length: number;
  /** Bytes of its plain content, and their SHA-256. */
  readonly size: number;
  readonly sha256: string;
}

/** Where a piece of a file's content is: number of the frame, offset in its plain content, bytes. */
export type PartRecord = readonly [frame: number, offset: number, length: number];

interface EntryRecord {
  readonly path: string;
  /** Present, and false, where the entry is not part of the identity. */
  readonly counts?: false | undefined;
}

export interface DirectoryRecord extends EntryRecord {
  readonly type: "directory";
  /** Permission bits in octal, for example `755`. */
  readonly mode: string;
}

export interface LinkRecord extends EntryRecord {
  readonly type: "link";
  readonly target: string;
}

export interface FileRecord extends EntryRecord {
  readonly type: "file";
  readonly mode: string;
  /** Seconds since 1970 with nine decimals. */
  readonly mtime: string;
  readonly size: number;
  readonly sha256: string;
  /** What counts for the identity where that is not `sha256`: the file names the environment's root. */
  readonly identity?: string | undefined;
  /** In order; empty for an empty file. */
  readonly parts: readonly PartRecord[];
}

/** Something of the environment. Sorted by the bytes of its path, so that a folder comes before what it holds. */
export type ManifestEntry = DirectoryRecord | LinkRecord | FileRecord;

/** Every record of a manifest but the first. */
export type StoredRecord = BaseRecord | PackRecord | FrameRecord | ManifestEntry | RemovedRecord;

/** Stands for the hash of what has no content. */
export const noDigest = Buffer.alloc(32);

/** Largest plain content of a frame. A reader may have to keep several in memory. */
export const largestFrame = 64 * 1024 * 1024;

/** A segment that is empty, `.` or `..`. */
const unsafeSegment = /(^|\/)\.{0,2}(\/|$)/;

/** What no UTF-8 text can hold, and a quick way to see that a text has nothing of it. */
const loneSurrogate = /\p{Surrogate}/u;
const surrogate = /[\ud800-\udfff]/;

/** True for a relative path of plain segments of valid text: it cannot lead out of the folder that it is put below. */
export function isSafePath(path: string): boolean {
  if (path.includes("\0") || (surrogate.test(path) && loneSurrogate.test(path))) return false;
  // Most paths have none of these, and a reader looks at hundreds of thousands.
  const isPlain = !(path.includes("/.") || path.includes("//") || path.startsWith(".") || path.startsWith("/"));
  return (isPlain && path !== "" && !path.endsWith("/")) || !unsafeSegment.test(path);
}
