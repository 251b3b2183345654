import { existsSync, lstatSync, mkdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { formatSize } from "../format";
import { explainFullDisk } from "../full-disk";
import { removeTree } from "../remove-tree";
import { type ObjectStore, stateOfProcess, uniqueToken } from "../store";
import { type Watch, waitFor } from "../waiting";
import type { Manifest } from "./manifest-file";
import type { FileRecord } from "./manifest-records";
import { Pace } from "./pace";
import { makePartialFolder } from "./partial-folder";
import { type Parts, partOf, partsOf } from "./parts";
import { ownBuffers, RestoreWorkers, type ThreadChoice } from "./restore-workers";
import { placeFields } from "./threads/place-files";
import { timeOf } from "./write-plan";
import { finishFolders, makeFolders, writeTree } from "./write-tree";

/** Milliseconds for which one process waits while another restores the same snapshot. */
const lockDeadline = 3_600_000;
/** Milliseconds after which a lock of an unknown process, perhaps of another machine, is taken over. */
const abandonedAfter = 24 * 3_600_000;
/** Times that a cached restore which something has written to is made anew. */
const attempts = 3;
/** Files of one task. */
const filesAtOnce = 1024;
/** Milliseconds of one thread for a file that is linked. */
const perFile = 0.015;

export interface CachedRestore {
  readonly manifest: Manifest;
  readonly digest: string;
  readonly store: ObjectStore;
  /** Folder of complete restores by digest. */
  readonly cache: string;
}

/** Writes a manifest's entries into an empty folder by way of a complete restore in the cache, made first where it is missing. */
export async function writeTreeFromCache(
  request: CachedRestore,
  folder: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<void> {
  const entry = join(request.cache, request.digest);
  for (let attempt = 1; ; attempt++) {
    await provide(request, entry, watch);
    try {
      await cloneTree(request.manifest, entry, folder, watch);
      return;
    } catch (error) {
      if (!(error instanceof CacheDamagedError) || attempt === attempts) throw error;
      watch.progress?.(`${error.message}; restoring it again`);
      await discard(entry);
      await removeTree(folder);
      mkdirSync(folder);
    }
  }
}

/** A cached file is not as it was restored. Instances share it by hard links, so one of them may have written to it. */
class CacheDamagedError extends Error {
  override readonly name = "CacheDamagedError";
}

async function provide(request: CachedRestore, entry: string, watch: Partial<Watch> & ThreadChoice): Promise<void> {
  mkdirSync(request.cache, { recursive: true });
  const lock = `${entry}.lock`;
  while (!existsSync(entry)) {
    const token = uniqueToken();
    if (takeLock(lock, token)) {
      try {
        if (!existsSync(entry)) await make(request, entry, watch);
      } finally {
        releaseLock(lock, token);
      }
      return;
    }
    await waitFor({
      ...watch,
      what: `another process to restore ${request.digest.slice(0, 12)} into ${request.cache}`,
      deadline: lockDeadline,
      look: () => existsSync(entry) || !isHeld(lock) || undefined,
    });
  }
}

async function make(request: CachedRestore, entry: string, watch: Partial<Watch> & ThreadChoice): Promise<void> {
  const { manifest, store } = request;
  const partial = await makePartialFolder(entry);
  try {
    await writeTree(manifest, store, partial, watch);
    finishFolders(manifest.entries, partial);
    await rename(partial, entry);
  } catch (error) {
    await removeTree(partial);
    // Another process took the lock of one that seemed dead, and was quicker. Its restore is as good.
    if (!isTaken(error))
      throw explainFullDisk(error, request.cache, "the snapshot could not be restored into the cache");
  }
}

async function discard(entry: string): Promise<void> {
  // By the name of a partial folder, so that it is removed even when this process is killed now.
  const aside = await makePartialFolder(entry);
  try {
    await rename(entry, join(aside, "damaged"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  await removeTree(aside);
}

async function cloneTree(
  manifest: Manifest,
  entry: string,
  folder: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<void> {
  const pace = new Pace(watch);
  const files = manifest.entries.filter((record) => record.type === "file");
  const workers = new RestoreWorkers(files.length * perFile, watch);
  const total = manifest.head.summary.bytes;
  let done = 0;
  let links = true;
  const describe = () => `placed ${formatSize(done)} of ${formatSize(total)}`;
  makeFolders(manifest, folder);
  const batches = filesInBatches(files, partsOf(manifest.head.layout));
  await workers.workThrough(batches, 2 * workers.size, async ({ paths, numbers, bytes }) => {
    const request = { from: entry, to: folder, paths, files: numbers, links };
    const placed = await workers.run("place-files", request, ownBuffers(numbers));
    if (placed.damaged !== null)
      throw new CacheDamagedError(`${placed.damaged} in the cache is not as it was restored`);
    links &&= placed.links;
    done += bytes;
    pace.check(describe);
    if (pace.due) await pace.rest(describe);
  });
  for (const record of manifest.entries) {
    if (record.type === "link") symlinkSync(record.target, `${folder}/${record.path}`);
  }
}

function* filesInBatches(files: readonly FileRecord[], parts: Parts) {
  for (let from = 0; from < files.length; from += filesAtOnce) {
    const batch = files.slice(from, from + filesAtOnce);
    const numbers = new Float64Array(batch.length * placeFields);
    let bytes = 0;
    for (const [index, { path, size, mode, mtime }] of batch.entries()) {
      const at = index * placeFields;
      numbers[at] = size;
      numbers[at + 1] = Number.parseInt(mode, 8);
      numbers[at + 2] = timeOf(mtime);
      numbers[at + 3] = isShared(path, parts) ? 1 : 0;
      bytes += size;
    }
    yield { paths: batch.map(({ path }) => path).join("\0"), numbers, bytes };
  }
}

/** Plugins and caches write into their own folders; the virtual environment and ComfyUI's source are only read. */
function isShared(path: string, parts: Parts): boolean {
  const part = partOf(path, parts);
  return part === "dependencies" || part === "comfyui";
}

/** A link that leads nowhere: made in one step with its content, the owner's token, and only where there is none. */
function takeLock(lock: string, token: string): boolean {
  try {
    symlinkSync(token, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

function releaseLock(lock: string, token: string): void {
  if (ownerOf(lock) === token) rmSync(lock, { force: true });
}

/** Removes the lock of a dead process. Should that hit a fresh lock, two processes restore, and the first to finish counts. */
function isHeld(lock: string): boolean {
  const owner = ownerOf(lock);
  if (owner === null) return false;
  const state = stateOfProcess(owner);
  const found = lstatSync(lock, { throwIfNoEntry: false });
  const old = state === "unknown" && found !== undefined && Date.now() - found.mtimeMs > abandonedAfter;
  if (state !== "dead" && !old) return true;
  rmSync(lock, { force: true });
  return false;
}

function ownerOf(lock: string): string | null {
  try {
    return readlinkSync(lock);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function isTaken(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOTEMPTY" || code === "EEXIST";
}
