import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  statfsSync,
  symlinkSync,
} from "node:fs";
import { formatSize } from "../format";
import { NoRoomError } from "../full-disk";
import type { ObjectStore } from "../store";
import type { Watch } from "../waiting";
import { fetchRange } from "./frame-reader";
import type { Manifest } from "./manifest-file";
import type { ManifestEntry } from "./manifest-records";
import type { SnapshotFile } from "./manifest-table";
import { Pace } from "./pace";
import { ownBuffers, RestoreWorkers, type ThreadChoice } from "./restore-workers";
import type { PackRange } from "./threads/frames";
import { type PlannedWrite, timeOf, WritePlan } from "./write-plan";

/** Ranges that are fetched, or wait to be written, at the same time. */
const concurrentRanges = 8;
/** What one thread takes, roughly: milliseconds for a file, and bytes of frames that it verifies and writes in a millisecond. */
const perSlice = 0.03;
const bytesPerMillisecond = 300_000;

/** Writes files below a folder, none of which is there yet, while their folders are. */
export type FileWriter = (
  folder: string,
  files: readonly SnapshotFile[],
  watch: Partial<Watch> & ThreadChoice,
) => Promise<void>;

/**
 * Writes a manifest's entries into an empty folder. Every frame is verified before anything of it is written. Folders stay
 * writable until {@link finishFolders}.
 */
export function writeTree(
  manifest: Manifest,
  store: ObjectStore,
  folder: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<void> {
  return fillTree(manifest, (...files) => writeFiles(manifest, store, ...files), folder, watch);
}

/** As {@link writeTree}, with files that somebody else writes. */
export async function fillTree(
  manifest: Manifest,
  write: FileWriter,
  folder: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<void> {
  makeFolders(manifest, folder);
  const files = manifest.entries.filter((entry) => entry.type === "file");
  await write(folder, files, watch);
  // Last, so that nothing can be written through a link whatever the checks before have missed.
  for (const entry of manifest.entries) if (entry.type === "link") symlinkSync(entry.target, `${folder}/${entry.path}`);
}

/** Writes files of a manifest, none of which is there yet, while their folders are. Fetches and verifies only the frames that they need. */
export async function writeFiles(
  manifest: Manifest,
  store: ObjectStore,
  folder: string,
  files: readonly SnapshotFile[],
  watch: Partial<Watch> & ThreadChoice,
): Promise<void> {
  const plan = new WritePlan(manifest, files);
  requireSpace(folder, plan.bytes);
  const workers = new RestoreWorkers(plan.slices * perSlice + plan.frameBytes / bytesPerMillisecond, watch);
  const pace = new Pace(watch);
  const pieces = new Pieces(folder, plan.inPieces);
  let done = 0;
  const describe = () => `restored ${formatSize(done)} of ${formatSize(plan.bytes)}`;
  await workers.workThrough(plan.writes(), Math.max(concurrentRanges, 2 * workers.size), async (write) => {
    const range = write.range === null ? null : await rangeOf(store, write.range);
    const { frames, paths, slices } = write;
    await workers.run("write-frames", { folder, range, frames, paths, slices }, ownBuffers(range?.source, slices));
    pieces.written(write);
    done += write.bytes;
    pace.check(describe);
    if (pace.due) await pace.rest(describe);
  });
}

/** Makes the folders of a manifest, writable for now, and an empty one for models that do not travel. */
export function makeFolders({ head, entries, partial }: Manifest, folder: string): void {
  for (const entry of entries) {
    if (entry.type === "directory") mkdirSync(`${folder}/${entry.path}`, whileWritten(entry.mode));
  }
  if (partial) return;
  // While there are no links yet: it cannot be made through one.
  mkdirSync(`${folder}/${head.layout.models}`, { recursive: true });
}

/** Gives folders that {@link makeFolders} made their permissions, the innermost first. */
export function finishFolders(entries: readonly ManifestEntry[], folder: string): void {
  /** Whether a folder got these permissions when it was made, which the process's mask and the file system decide for all alike. */
  const given = new Map<string, boolean>();
  for (let index = entries.length - 1; index >= 0; index--) {
    const entry = entries[index];
    if (entry?.type !== "directory") continue;
    const mode = Number.parseInt(entry.mode, 8);
    const path = `${folder}/${entry.path}`;
    let isGiven = given.get(entry.mode);
    if (isGiven === undefined) {
      isGiven = (lstatSync(path).mode & 0o7777) === mode;
      given.set(entry.mode, isGiven);
    }
    if (!isGiven) chmodSync(path, mode);
  }
}

/** Permissions of a folder that is filled: its own, and those to write to it. */
function whileWritten(mode: string): number {
  return Number.parseInt(mode, 8) | 0o700;
}

function requireSpace(folder: string, needed: number): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= needed) return;
  throw new NoRoomError(
    `${folder} has ${formatSize(bavail * bsize)} free, but the snapshot takes ${formatSize(needed)}; make room, or restore elsewhere`,
  );
}

/** Where the bytes of a range are: in the store's own file, which threads read themselves, or fetched. */
async function rangeOf(store: ObjectStore, range: NonNullable<PlannedWrite["range"]>): Promise<PackRange> {
  const { key, offset, length } = range;
  const source = store.fileOf?.(key) ?? (await fetchRange(store, range));
  return { name: `${store.location}/${key}`, offset, length, source };
}

/** Files that come in pieces: made empty, for their owner alone, and given their permissions and time with the last piece. */
class Pieces {
  readonly #folder: string;
  /** Bytes that are still to come. */
  readonly #missing = new Map<SnapshotFile, number>();

  constructor(folder: string, files: readonly SnapshotFile[]) {
    this.#folder = folder;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    for (const file of files) {
      closeSync(openSync(`${folder}/${file.path}`, flags, 0o600));
      this.#missing.set(file, file.size);
    }
  }

  written({ pieces }: PlannedWrite): void {
    for (const [file, bytes] of pieces) {
      const left = (this.#missing.get(file) ?? 0) - bytes;
      this.#missing.set(file, left);
      if (left === 0) this.#finish(file);
    }
  }

  #finish({ path, mode, mtime }: SnapshotFile): void {
    const descriptor = openSync(`${this.#folder}/${path}`, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      fchmodSync(descriptor, Number.parseInt(mode, 8));
      const time = timeOf(mtime);
      futimesSync(descriptor, time, time);
    } finally {
      closeSync(descriptor);
    }
  }
}
