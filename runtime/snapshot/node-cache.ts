import { rmSync, statfsSync, statSync } from "node:fs";
import { formatSize } from "../format";
import { explainFullDisk, isFullDisk, NoRoomError } from "../full-disk";
import { removeTree } from "../remove-tree";
import { type ObjectStore, S3Error } from "../store";
import { type Watch, waitFor } from "../waiting";
import { digestSize } from "./digest-table";
import type { Manifest } from "./manifest-file";
import type { SnapshotFile } from "./manifest-table";
import { NodeCacheFolder } from "./node-cache-folder";
import { formatCount, Pace } from "./pace";
import { ownBuffers, RestoreWorkers, type ThreadChoice } from "./restore-workers";
import { copyFields } from "./threads/copy-files";
import type { NodeCache } from "./types";
import { timeOf } from "./write-plan";
import { writeFiles, writeTree } from "./write-tree";

/** Milliseconds for which a restore waits while another one, which lives, makes what both need. */
const longestWait = 900_000;
/**
 * Part of a file system that stays free when a restore is kept: below that, kubelets evict pods by default (`nodefs.available<10%`), and
 * what is only there to save time must not do that.
 */
const usualReserve = 0.1;
/** Bytes of a file system that an entry takes besides its content, at most: its last block and its name. */
const perEntry = 4096;
/** Files of one task, and bytes from which on no further one is added. */
const filesAtOnce = 512;
const bytesAtOnce = 16 * 1024 * 1024;
/** What one thread takes, roughly: milliseconds for a file, and bytes that it reads, hashes and writes in a millisecond. */
const perFile = 0.04;
const bytesPerMillisecond = 400_000;

export interface NodeCachedRestore {
  readonly manifest: Manifest;
  readonly digest: string;
  readonly store: ObjectStore;
  readonly cache: NodeCache;
}

/** Names of errors that are of the snapshot or of its store, whatever is done with the cache. */
const ofStore = new Set(["DamagedSnapshotError", "DamagedObjectError", "ObjectNotFoundError", "SnapshotNotFoundError"]);

/**
 * Writes files of a manifest as {@link writeFiles} does, as copies of those of a complete restore on the same node, which is made first where there is
 * none. Whatever is wrong with that is no failure: what it does not give is read from the store. Returns remarks for a person.
 */
export async function writeFilesFromNodeCache(
  request: NodeCachedRestore,
  folder: string,
  files: readonly SnapshotFile[],
  watch: Partial<Watch> & ThreadChoice,
): Promise<readonly string[]> {
  if (files.length === 0) return [];
  const { manifest, store, cache } = request;
  const remarks: string[] = [];
  let left: readonly SnapshotFile[];
  try {
    left = await copyFromCache(request, folder, files, watch, (remark) => remarks.push(remark));
  } catch (error) {
    watch.signal?.throwIfAborted();
    if (isOfStore(error)) throw error;
    remarks.push(
      `the node's cache of restores (${cache.folder}) could not be used, so everything was read from the store: ${(error as Error).message}`,
    );
    // It is not known how far it got.
    for (const { path } of files) rmSync(`${folder}/${path}`, { force: true });
    left = files;
  }
  if (left.length > 0) await writeFiles(manifest, store, folder, left, watch);
  return remarks;
}

/** Returns the files that the cache did not give. */
async function copyFromCache(
  request: NodeCachedRestore,
  folder: string,
  files: readonly SnapshotFile[],
  watch: Partial<Watch> & ThreadChoice,
  remark: (text: string) => void,
): Promise<readonly SnapshotFile[]> {
  const { digest, cache } = request;
  const name = `the node's cache of restores (${cache.folder})`;
  const shared = new NodeCacheFolder(cache.folder, digest);
  try {
    const wasThere = await provide(request, shared, folder, watch);
    const needed = files.reduce((sum, { size }) => sum + size, 0);
    if (isOnOneDisk(cache.folder, folder)) await shared.giveWay(() => freeOf(folder) >= needed);
    // What goes takes a while, and is not waited for to begin.
    const tidied = shared
      .tidy(cache.keep)
      .catch((error: unknown) => remark(`${name} could not be tidied: ${(error as Error).message}`));
    let unusable: readonly SnapshotFile[];
    try {
      unusable = await copyAll(shared.entry, folder, files, watch);
    } catch (error) {
      await tidied;
      // Others have filled the disk meanwhile: what is there to save time goes first.
      if (isFullDisk(error) && isOnOneDisk(cache.folder, folder)) await shared.giveWay(() => false);
      throw error;
    }
    await tidied;
    const [first] = unusable;
    if (first === undefined) {
      remark(wasThere ? `restored from ${name}, without the store` : `restored into ${name} first`);
      return [];
    }
    const what = `${formatCount(unusable.length, unusable.length === 1 ? "file was" : "files were")} read from the store`;
    if (!shared.has()) remark(`${name} had to make room meanwhile, so that ${what}`);
    else {
      remark(
        `${name} is damaged: ${first.path} is not as it was restored there. ${what}, and the next restore of this snapshot makes it anew`,
      );
      await shared.discard();
    }
    return unusable;
  } finally {
    shared.leave();
  }
}

/** Makes sure of a complete restore; false where it had to be made. */
async function provide(
  request: NodeCachedRestore,
  shared: NodeCacheFolder,
  target: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<boolean> {
  while (!shared.use()) {
    if (shared.takeLock()) {
      try {
        if (shared.use()) return true;
        await make(request, shared, target, watch);
        shared.use();
        return false;
      } finally {
        shared.releaseLock();
      }
    }
    await waitFor({
      ...watch,
      what: `another pod of this node to restore ${request.digest.slice(0, 12)} into ${shared.path}`,
      deadline: longestWait,
      look: () => shared.has() || !shared.isBeingMade() || undefined,
    });
  }
  return true;
}

async function make(
  { manifest, store, cache }: NodeCachedRestore,
  shared: NodeCacheFolder,
  target: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<void> {
  const once = manifest.head.summary.bytes + manifest.entries.length * perEntry;
  const needed = isOnOneDisk(cache.folder, target) ? 2 * once : once;
  const { blocks, bsize } = statfsSync(cache.folder);
  const reserve = Math.ceil((cache.reserve ?? usualReserve) * blocks * bsize);
  if (!(await shared.giveWay(() => freeOf(cache.folder) >= needed + reserve))) {
    throw new NoRoomError(
      `${formatSize(freeOf(cache.folder))} are free there, and ${formatSize(needed)} are needed besides the ${formatSize(reserve)} that stay free`,
    );
  }
  const partial = shared.makePartial();
  try {
    const { progress } = watch;
    await writeTree(manifest, store, partial, {
      ...watch,
      ...(progress === undefined
        ? {}
        : { progress: (message: string) => progress(`${message} into the node's cache of restores`) }),
    });
    await shared.complete(partial);
  } catch (error) {
    await removeTree(partial);
    throw explainFullDisk(error, cache.folder, "the snapshot could not be restored into the node's cache");
  }
}

/** Copies files of a complete restore into a folder that has none of them. Returns those that it does not have as they must be. */
async function copyAll(
  from: string,
  to: string,
  files: readonly SnapshotFile[],
  watch: Partial<Watch> & ThreadChoice,
): Promise<readonly SnapshotFile[]> {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const pace = new Pace(watch);
  const workers = new RestoreWorkers(files.length * perFile + total / bytesPerMillisecond, watch);
  const unusable: SnapshotFile[] = [];
  let done = 0;
  let reflinks = true;
  const describe = () => `copied ${formatSize(done)} of ${formatSize(total)} from the node's cache of restores`;
  await workers.workThrough(inBatches(files), 2 * workers.size, async (batch) => {
    const { paths, numbers, digests, bytes } = requestOf(batch);
    const copied = await workers.run(
      "copy-files",
      { from, to, paths, files: numbers, digests, reflinks },
      ownBuffers(numbers, digests),
    );
    for (const index of copied.unusable) {
      const file = batch[index];
      if (file !== undefined) unusable.push(file);
    }
    reflinks &&= copied.reflinks;
    done += bytes;
    pace.check(describe);
    if (pace.due) await pace.rest(describe);
  });
  return unusable;
}

function* inBatches(files: readonly SnapshotFile[]): Generator<readonly SnapshotFile[]> {
  let batch: SnapshotFile[] = [];
  let bytes = 0;
  for (const file of files) {
    batch.push(file);
    bytes += file.size;
    if (batch.length < filesAtOnce && bytes < bytesAtOnce) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

function requestOf(batch: readonly SnapshotFile[]) {
  const numbers = new Float64Array(batch.length * copyFields);
  const digests = Buffer.alloc(batch.length * digestSize);
  let bytes = 0;
  for (const [index, file] of batch.entries()) {
    const at = index * copyFields;
    numbers[at] = file.size;
    numbers[at + 1] = file.permissions;
    numbers[at + 2] = timeOf(file.mtime);
    file.copyDigest(digests, index * digestSize);
    bytes += file.size;
  }
  return { paths: batch.map(({ path }) => path).join("\0"), numbers, digests, bytes };
}

function isOnOneDisk(cache: string, target: string): boolean {
  return statSync(cache).dev === statSync(target).dev;
}

function freeOf(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

function isOfStore(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof S3Error || ofStore.has(at.name)) return true;
  }
  return false;
}
