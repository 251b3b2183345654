import { z } from "zod";
import { isSafePath, largestFrame } from "./manifest-records";
import type { ManifestHead } from "./types";

/** What the records of a manifest have to be like. Loaded only where a manifest is read: the library takes as long to load as a scan. */

const hex = z.string().regex(/^[0-9a-f]{64}$/, "is not 64 hex digits");
const count = z.number().int().nonnegative();
const mode = z.string().regex(/^[0-7]{1,3}$/, "is not an octal mode");
const counts = z.literal(false).optional();

const baseSchema = z.object({ type: z.literal("base"), sha256: hex });
const packSchema = z.object({ type: z.literal("pack"), sha256: hex, size: count });

const frameSchema = z.object({
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

const removedSchema = z.object({ type: z.literal("removed"), path: z.string() });

export const recordSchema = z.discriminatedUnion("type", [
  baseSchema,
  packSchema,
  frameSchema,
  directorySchema,
  linkSchema,
  fileSchema,
  removedSchema,
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
  format: z.literal(2, "is a format that this version does not know; another one made it"),
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

export const explain = z.prettifyError;
