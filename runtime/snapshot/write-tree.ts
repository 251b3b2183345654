import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  futimesSync,
  mkdirSync,
  openSync,
  statfsSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { formatSize } from "../format";
import type { ObjectStore } from "../store";
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
  makeFolders(manifest, folder);
  const files = manifest.entries.filter((entry) => entry.type === "file");
  await writeFiles(manifest, store, folder, files, watch);
  // Last, so that nothing can be written through a link whatever the checks before have missed.
  for (const entry of manifest.entries) if (entry.type === "link") symlinkSync(entry.target, `${folder}/${entry.path}`);
}

/** Writes files of a manifest, none of which is there yet, while their folders are. Fetches and verifies only the frames that they need. */
export async function writeFiles(
  manifest: Manifest,
  store: ObjectStore,
  folder: string,
  files: readonly FileRecord[],
  watch: Partial<Watch>,
): Promise<void> {
  const pace = new Pace(watch);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const describe = () => `restored ${formatSize(done)} of ${formatSize(total)}`;
  requireSpace(folder, total);
  const writer = new FileWriter(folder);
  for (const file of files) {
    if (file.size === 0) writer.writeWhole(file, Buffer.alloc(0));
    if (pace.due) await pace.rest(describe);
  }
  const slices = slicesByFrame(files);
  for await (const { number, content } of readFrames(store, manifest, framesInOrder(slices))) {
    for (const slice of slices.get(number) ?? []) {
      const piece = content.subarray(slice.frameOffset, slice.frameOffset + slice.length);
      if (slice.length === slice.file.size) writer.writeWhole(slice.file, piece);
      else writer.writePiece(slice, piece);
      done += slice.length;
      if (pace.due) await pace.rest(describe);
    }
  }
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

function slicesByFrame(files: readonly FileRecord[]): ReadonlyMap<number, readonly Slice[]> {
  const slices = new Map<number, Slice[]>();
  for (const file of files) {
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

/** Writes files below a folder; each gets its permissions and time with its last piece. */
class FileWriter {
  readonly #folder: string;
  /** Bytes that are still to come of files that come in pieces. */
  readonly #missing = new Map<FileRecord, number>();
  /** Whether a new file gets these permissions as they are asked for, which the process's mask decides. */
  readonly #given = new Map<string, boolean>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  writeWhole(file: FileRecord, content: Buffer): void {
    const mode = Number.parseInt(file.mode, 8);
    const descriptor = openSync(`${this.#folder}/${file.path}`, "wx", mode);
    try {
      writeAll(descriptor, content, 0);
      if (!this.#isGiven(descriptor, file.mode, mode)) fchmodSync(descriptor, mode);
      const time = timeOf(file.mtime);
      futimesSync(descriptor, time, time);
    } finally {
      closeSync(descriptor);
    }
  }

  writePiece({ file, length, fileOffset }: Slice, piece: Buffer): void {
    const left = this.#missing.get(file);
    const flags =
      constants.O_WRONLY | constants.O_NOFOLLOW | (left === undefined ? constants.O_CREAT | constants.O_EXCL : 0);
    const descriptor = openSync(`${this.#folder}/${file.path}`, flags, 0o600);
    try {
      writeAll(descriptor, piece, fileOffset);
      const remaining = (left ?? file.size) - length;
      this.#missing.set(file, remaining);
      if (remaining > 0) return;
      this.#missing.delete(file);
      fchmodSync(descriptor, Number.parseInt(file.mode, 8));
      const time = timeOf(file.mtime);
      futimesSync(descriptor, time, time);
    } finally {
      closeSync(descriptor);
    }
  }

  #isGiven(descriptor: number, text: string, mode: number): boolean {
    let given = this.#given.get(text);
    if (given === undefined) {
      given = (fstatSync(descriptor).mode & 0o7777) === mode;
      this.#given.set(text, given);
    }
    return given;
  }
}

function writeAll(descriptor: number, content: Buffer, position: number): void {
  let written = 0;
  while (written < content.length) {
    written += writeSync(descriptor, content, written, content.length - written, position + written);
  }
}
