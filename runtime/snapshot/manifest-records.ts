import { z } from "zod";
import type { ManifestHead } from "./types";

/** The records of a manifest, one JSON text a line. docs/store-format.md describes them for readers without this code. */

/** A pack that entries of the manifest need. Sorted by hash. */
export interface PackRecord {
  readonly type: "pack";
  readonly sha256: string;
  /** Bytes of the whole pack. */
  readonly size: number;
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
  readonly counts?: false;
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
  readonly identity?: string;
  /** In order; empty for an empty file. */
  readonly parts: readonly PartRecord[];
}

/** Something of the environment. Sorted by the bytes of its path, so that a folder comes before what it holds. */
export type ManifestEntry = DirectoryRecord | LinkRecord | FileRecord;

const hex = z.string().regex(/^[0-9a-f]{64}$/, "is not 64 hex digits");
const count = z.number().int().nonnegative();
const mode = z.string().regex(/^[0-7]{1,3}$/, "is not an octal mode");
const counts = z.literal(false).optional();
/** Largest plain content of a frame. A reader may have to keep several in memory. */
const largestFrame = 64 * 1024 * 1024;

export const packSchema = z.object({ type: z.literal("pack"), sha256: hex, size: count });

export const frameSchema = z.object({
  type: z.literal("frame"),
  pack: count,
  offset: count,
  length: count.max(2 * largestFrame),
  size: count.max(largestFrame),
  sha256: hex,
});

const directorySchema = z.object({ type: z.literal("directory"), path: z.string(), mode, counts });
const linkSchema = z.object({ type: z.literal("link"), path: z.string(), target: z.string().min(1), counts });
const fileSchema = z.object({
  type: z.literal("file"),
  path: z.string(),
  mode,
  mtime: z.string().regex(/^-?\d{1,12}\.\d{9}$/, "is not a time in seconds with nine decimals"),
  size: count,
  sha256: hex,
  identity: hex.optional(),
  counts,
  parts: z.array(z.tuple([count, count, count])),
});

export const recordSchema = z.discriminatedUnion("type", [
  packSchema,
  frameSchema,
  directorySchema,
  linkSchema,
  fileSchema,
]);

const record = z.record(z.string(), z.string());
const summarySchema = z.object({
  id: hex,
  plugins: record,
  distributions: record,
  python: z.string(),
  comfyui: z.string(),
  files: count,
  bytes: count,
});
const relativePath = z.string().refine(isSafePath, "is not a path below the root");
const baselineSchema = z.object({
  name: z.string(),
  contentHash: hex.nullable(),
  state: z.enum(["loaded", "failed"]),
  classes: z.array(z.string()),
});

export const headSchema = z.object({
  format: z.literal(1, "is a format that this version does not know; it was made by a newer one"),
  summary: summarySchema,
  layout: z.object({
    comfyui: z.union([relativePath, z.literal(".")]),
    plugins: relativePath,
    dependencies: relativePath,
    cache: relativePath,
    models: relativePath,
  }),
  root: z.string().startsWith("/"),
  interpreter: z.string(),
  platform: z.object({
    os: z.string(),
    arch: z.string(),
    glibc: z.string().nullable(),
    python: z.string(),
    abi: z.string(),
    cuda: z.string().nullable(),
  }),
  plugins: z.array(z.object({ name: z.string(), contentHash: hex, baseline: baselineSchema.nullable() })),
  models: z.object({
    mode: z.enum(["referenced", "locked", "included"]),
    root: z.string(),
    files: z.array(z.object({ path: relativePath, size: count, sha256: hex.exactOptional() })),
  }),
}) satisfies z.ZodType<ManifestHead>;

/** True for a relative path of plain segments of valid text: it cannot lead out of the folder that it is put below. */
export function isSafePath(path: string): boolean {
  if (path === "" || path.includes("\0") || path.startsWith("/") || /\p{Surrogate}/u.test(path)) return false;
  return path.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
}
