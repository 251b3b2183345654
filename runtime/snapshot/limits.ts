import type { Manifest } from "./manifest-file";
import { foldersAbove } from "./paths";
import { RestoreRefusedError } from "./types";

/**
 * How much a snapshot may make of what is stored. Real environments are far below; a manifest that is made to fill a disk or
 * exhaust memory is not.
 */
export interface RestoreLimits {
  /** Files, folders and links. An environment has up to 120,000. @default 1,000,000 */
  readonly entries: number;
  /** Bytes of all files. Environments have 2 to 10 GB, included models up to some hundred. @default 4 TiB */
  readonly bytes: number;
  /**
   * Bytes of all files to bytes in the store. Environments have about 3; only very repetitive content has more than some hundred.
   * Not looked at up to 4 GiB. @default 1,000
   */
  readonly ratio: number;
  /** Folders within one another. @default 256 */
  readonly depth: number;
}

export const usualLimits: RestoreLimits = { entries: 1_000_000, bytes: 4 * 2 ** 40, ratio: 1000, depth: 256 };

/** Bytes up to which the ratio is of no interest: a disk has room for that. */
const ratioCounts = 4 * 2 ** 30;
/** Bytes of one name in a folder, and of a path with its ending, that Linux and most file systems take. */
const longestName = 255;
const longestPath = 4095;

/** Throws a `RestoreRefusedError` where a snapshot exceeds a limit; it names the first entry that does. */
export function requireWithin(manifest: Manifest, limits: RestoreLimits): void {
  const { entries, frames } = manifest;
  if (entries.length > limits.entries) throw exceeded("entries", limits.entries, `it has ${entries.length}`);
  let bytes = 0;
  const used = new Uint8Array(frames.length);
  for (const entry of entries) {
    const depth = depthOf(entry.path);
    if (depth > limits.depth) {
      throw exceeded("depth", limits.depth, `${shorten(entry.path)} lies ${depth} folders deep`);
    }
    if (entry.type !== "file") continue;
    bytes += entry.size;
    if (bytes > limits.bytes) throw exceeded("bytes", limits.bytes, `up to ${shorten(entry.path)} it has ${bytes}`);
    entry.eachPart((frame) => {
      used[frame] = 1;
    });
  }
  let stored = 0;
  for (const [number, { length }] of frames.entries()) if (used[number] === 1) stored += length;
  if (bytes > ratioCounts && bytes / Math.max(stored, 1) > limits.ratio) {
    throw exceeded("ratio", limits.ratio, `${bytes} bytes would be made of ${stored} that are stored`);
  }
}

/**
 * Throws a `RestoreRefusedError` for a path or a link that the file system would not take below a folder, and for an entry in place
 * of the models' folder or of one above it, which is made in any case: that could be made elsewhere, through a link.
 */
export function requirePaths({ head, entries }: Manifest, folder: string): void {
  const above = Buffer.byteLength(folder) + 1;
  const models = new Set([head.layout.models, ...foldersAbove(head.layout.models)]);
  for (const entry of entries) {
    const { path } = entry;
    if (entry.type !== "directory" && models.has(path)) {
      throw new RestoreRefusedError(
        `${shorten(path)} is a ${entry.type}, but the layout has the models' folder there: ${shorten(head.layout.models)}`,
      );
    }
    if (entry.type === "link" && Buffer.byteLength(entry.target) > longestPath) {
      throw new RestoreRefusedError(
        `${shorten(path)} leads to a path of ${Buffer.byteLength(entry.target)} bytes, and a link may have ${longestPath}`,
      );
    }
    // A character is three bytes of UTF-8 at most for each unit of the text.
    if (path.length * 3 + above > longestPath) {
      const length = Buffer.byteLength(path) + above;
      if (length > longestPath) {
        throw new RestoreRefusedError(
          `${shorten(path)} is too long: below ${folder} it has ${length} bytes, and a path may have ${longestPath}; ` +
            "restore to a place with a shorter name",
        );
      }
    }
    const start = path.lastIndexOf("/") + 1;
    if ((path.length - start) * 3 > longestName) {
      const length = Buffer.byteLength(path.slice(start));
      if (length <= longestName) continue;
      throw new RestoreRefusedError(
        `${shorten(path)} is too long: its last part has ${length} bytes, and a name may have ${longestName}`,
      );
    }
  }
}

/** Segments of a path; without a list of them, since there are very many paths. */
function depthOf(path: string): number {
  let depth = 1;
  for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) depth += 1;
  return depth;
}

function exceeded(limit: keyof RestoreLimits, value: number, what: string): RestoreRefusedError {
  return new RestoreRefusedError(
    `the snapshot exceeds the limit of ${limit}, ${value.toLocaleString("en-US")}: ${what}; if that is as it should be, ` +
      "restore it with a higher limit",
  );
}

function shorten(path: string): string {
  return path.length <= 200 ? path : `${path.slice(0, 120)}…${path.slice(-60)}`;
}
