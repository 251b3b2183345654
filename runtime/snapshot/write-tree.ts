import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  futimesSync,
  mkdirSync,
  openSync,
  statfsSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { ObjectStore } from "../store";
import { formatSize } from "../units";
import type { Watch } from "../waiting";
import { readFrames } from "./frame-reader";
import type { Manifest } from "./manifest-file";
import type { DirectoryRecord, FileRecord, ManifestEntry } from "./manifest-records";
import { Pace } from "./pace";

/** A piece of a file that comes out of a frame. */
interface Slice {
  readonly file: FileRecord;
  readonly frameOffset: number;
  readonly length: number;
  readonly fileOffset: number;
}

/**
 * Writes a manifest's entries into an empty folder. Every frame is verified before anything of it is written. Folders stay
 * writable until {@link finishFolders}.
 */
export async function writeTree(
  manifest: Manifest,
  store: ObjectStore,
  folder: string,
  watch: Partial<Watch>,
): Promise<void> {
  const pace = new Pace(watch);
  const total = manifest.entries.reduce((sum, entry) => sum + (entry.type === "file" ? entry.size : 0), 0);
  let done = 0;
  const describe = () => `restored ${formatSize(done)} of ${formatSize(total)}`;
  requireSpace(folder, total);
  makeFolders(manifest, folder);
  for (const entry of manifest.entries) {
    if (entry.type === "file" && entry.size === 0) writeWhole(entry, Buffer.alloc(0), folder);
    if (pace.due) await pace.rest(describe);
  }
  const slices = slicesByFrame(manifest.entries);
  const missing = new Map<FileRecord, number>();
  for await (const { number, content } of readFrames(store, manifest, framesInOrder(slices))) {
    for (const slice of slices.get(number) ?? []) {
      const piece = content.subarray(slice.frameOffset, slice.frameOffset + slice.length);
      if (slice.length === slice.file.size) writeWhole(slice.file, piece, folder);
      else writePiece(slice, piece, folder, missing);
      done += slice.length;
      if (pace.due) await pace.rest(describe);
    }
  }
  // Last, so that nothing can be written through a link whatever the checks before have missed.
  for (const entry of manifest.entries) if (entry.type === "link") symlinkSync(entry.target, join(folder, entry.path));
}

/** Makes the folders of a manifest, writable for now, and an empty one for models that do not travel. */
export function makeFolders({ head, entries, partial }: Manifest, folder: string): void {
  for (const entry of entries) if (entry.type === "directory") mkdirSync(join(folder, entry.path), 0o700);
  if (partial) return;
  // While there are no links yet: it cannot be made through one.
  mkdirSync(join(folder, head.layout.models), { recursive: true });
}

/** Gives folders their permissions, the innermost first. */
export function finishFolders(entries: readonly ManifestEntry[], folder: string): void {
  const folders = entries.filter((entry): entry is DirectoryRecord => entry.type === "directory");
  for (const { path, mode } of folders.toReversed()) chmodSync(join(folder, path), Number.parseInt(mode, 8));
}

function requireSpace(folder: string, needed: number): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= needed) return;
  throw new Error(
    `${folder} has ${formatSize(bavail * bsize)} free, but the snapshot takes ${formatSize(needed)}; make room, or restore elsewhere`,
  );
}

/** A manifest's time in seconds, as close as a double gets and never in another second: byte code names whole seconds. */
export function timeOf(mtime: string): number {
  // Node.js takes a negative time for the present.
  if (mtime.startsWith("-")) return 0;
  const [seconds = "0", nanoseconds = "0"] = mtime.split(".");
  const time = Number(seconds) + Number(nanoseconds) / 1e9;
  return time < Number(seconds) + 1 ? time : Number(seconds) + 0.999999;
}

function slicesByFrame(entries: readonly ManifestEntry[]): ReadonlyMap<number, readonly Slice[]> {
  const slices = new Map<number, Slice[]>();
  for (const file of entries) {
    if (file.type !== "file") continue;
    let fileOffset = 0;
    for (const [frame, frameOffset, length] of file.parts) {
      const slice = { file, frameOffset, length, fileOffset };
      const known = slices.get(frame);
      if (known === undefined) slices.set(frame, [slice]);
      else known.push(slice);
      fileOffset += length;
    }
  }
  return slices;
}

/** Frames are numbered by pack and offset, so that each pack is read from its beginning to its end. */
function framesInOrder(slices: ReadonlyMap<number, unknown>): readonly number[] {
  return [...slices.keys()].sort((a, b) => a - b);
}

function writeWhole(file: FileRecord, content: Buffer, folder: string): void {
  const descriptor = openSync(join(folder, file.path), "wx", 0o600);
  try {
    writeAll(descriptor, content, 0);
    finishFile(descriptor, file);
  } finally {
    closeSync(descriptor);
  }
}

function writePiece(slice: Slice, piece: Buffer, folder: string, missing: Map<FileRecord, number>): void {
  const { file } = slice;
  const left = missing.get(file);
  const flags =
    constants.O_WRONLY | constants.O_NOFOLLOW | (left === undefined ? constants.O_CREAT | constants.O_EXCL : 0);
  const descriptor = openSync(join(folder, file.path), flags, 0o600);
  try {
    writeAll(descriptor, piece, slice.fileOffset);
    const remaining = (left ?? file.size) - slice.length;
    missing.set(file, remaining);
    if (remaining === 0) finishFile(descriptor, file);
  } finally {
    closeSync(descriptor);
  }
}

function writeAll(descriptor: number, content: Buffer, position: number): void {
  let written = 0;
  while (written < content.length) {
    written += writeSync(descriptor, content, written, content.length - written, position + written);
  }
}

function finishFile(descriptor: number, { mode, mtime }: FileRecord): void {
  fchmodSync(descriptor, Number.parseInt(mode, 8));
  const time = timeOf(mtime);
  futimesSync(descriptor, time, time);
}
