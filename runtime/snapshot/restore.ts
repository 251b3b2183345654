import { existsSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { rename } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { explainFullDisk, isFullDisk } from "../full-disk";
import { InvalidInputError } from "../problems";
import { removeTree } from "../remove-tree";
import { type ObjectStore, openStore } from "../store";
import type { Watch } from "../waiting";
import { refuseCollisions } from "./collisions";
import { selectEntries } from "./include";
import {
  giveUpMark,
  incompleteMarker,
  markIncomplete,
  removeMark,
  requireNoMarker,
  requireOwnMark,
} from "./incomplete";
import { relocateTarget } from "./known-places";
import { requirePaths, requireWithin, usualLimits } from "./limits";
import { type Manifest, readManifest } from "./manifest-file";
import { writeFilesFromNodeCache } from "./node-cache";
import { makePartialFolder } from "./partial-folder";
import { partsOf } from "./parts";
import { foldersAbove, joinPath } from "./paths";
import { parseReference } from "./reference";
import { relocateTree } from "./relocate-tree";
import { writeTreeFromCache } from "./restore-cache";
import { EarlierRestore, restoreOver } from "./restore-over";
import { type RecordedContents, recordContents, writeRecord } from "./restore-record";
import type { ThreadChoice } from "./restore-workers";
import type { ManifestHead, RestoredEnvironment, RestoreRequest } from "./types";
import { thisMachine } from "./virtual-environment";
import { type FileWriter, fillTree, finishFolders, writeFiles } from "./write-tree";

/**
 * Brings a snapshot's environment into a new folder, which gets its name only when everything is there and verified. May be
 * killed and run again at any time. Throws `SnapshotNotFoundError`, `DamagedSnapshotError`, `RestoreRefusedError` for what
 * exceeds a limit or the target's file system cannot hold, and an error that says what would be right where the target is in use, room is lacking, or the interpreter that the environment needs is not here.
 */
export function restore(request: RestoreRequest): Promise<RestoredEnvironment> {
  return restoreBy({}, request);
}

/** As {@link restore}, by chosen threads. */
export async function restoreBy(threads: ThreadChoice, request: RestoreRequest): Promise<RestoredEnvironment> {
  const target = resolve(request.target);
  if (!isAbsolute(request.target)) throw new Error(`${JSON.stringify(request.target)} is not an absolute path`);
  const { inPlace = false } = request;
  if (!isFilled(target, inPlace)) {
    return inPlace ? restoreInPlace(request, target, threads) : restoreNew(request, target, threads);
  }
  if (request.over !== true && !inPlace) return restoreNew(request, target, threads);
  if (request.include !== undefined) {
    const reason = "goes into a new folder only: over an earlier restore, everything else would be removed";
    throw new InvalidInputError([{ path: "include", reason }]);
  }
  const earlier = new EarlierRestore(target, threads);
  try {
    const asked = await readSnapshot(request, target);
    const { manifest, location } = asked;
    requirePaths(manifest, target);
    refuseCollisions(manifest, inPlace ? target : dirname(target));
    const { write, remarks } = writerOf(asked, request);
    const over = { manifest, write, reference: request.reference, target, location, alone: inPlace };
    const rewritten = await restoreOver(over, earlier, { ...watchOf(request), ...threads });
    return answerOf(asked, [...remarks, ...rewritten]);
  } catch (error) {
    throw inPlace ? await withoutRoom(error, target) : error;
  } finally {
    await earlier.close();
  }
}

async function restoreNew(
  request: RestoreRequest,
  target: string,
  threads: ThreadChoice,
): Promise<RestoredEnvironment> {
  requireFree(target);
  const asked = await readSnapshot(request, target);
  const { manifest, location } = asked;
  const watch = { ...watchOf(request), ...threads };
  const partial = await makePartialFolder(target);
  try {
    requirePaths(manifest, partial);
    refuseCollisions(manifest, partial);
    const { write, remarks: ofCache } = writerOf(asked, request);
    const contents = await fill(asked, request.cache, write, partial, watch);
    const rewritten = relocateTree(manifest, partial, location);
    finishFolders(manifest.entries, partial);
    watch.signal?.throwIfAborted();
    const remarks = contents === null ? [] : note(partial, { target, location, contents });
    await rename(partial, target);
    return answerOf(asked, [...ofCache, ...rewritten, ...remarks]);
  } catch (error) {
    await removeTree(partial);
    throw explainFullDisk(
      error,
      dirname(target),
      "the snapshot was not restored, and what there was of it was removed",
    );
  }
}

/**
 * Fills a folder that cannot get its name at the end, a mount point for example. It is marked as incomplete meanwhile, and a restore
 * that was killed or failed is gone on with by the next one, which compares what there is.
 */
async function restoreInPlace(
  request: RestoreRequest,
  target: string,
  threads: ThreadChoice,
): Promise<RestoredEnvironment> {
  requireFolder(target);
  const asked = await readSnapshot(request, target);
  const { manifest, location } = asked;
  const watch = { ...watchOf(request), ...threads };
  mkdirSync(target, { recursive: true });
  requirePaths(manifest, target);
  refuseCollisions(manifest, target);
  requireNoMarker(manifest);
  const { token } = markIncomplete(target, request.reference, true);
  try {
    const { write, remarks: ofCache } = writerOf(asked, request);
    await fill(asked, undefined, write, target, watch);
    const rewritten = relocateTree(manifest, target, location);
    finishFolders(manifest.entries, target);
    watch.signal?.throwIfAborted();
    requireOwnMark(target, token);
    // What else was there, of a restore that was killed or of the file system's own, was not looked for.
    const contents = recordContents(manifest.entries, () => false);
    const remarks = note(target, { target, location, contents });
    removeMark(target);
    return answerOf(asked, [...ofCache, ...rewritten, ...remarks]);
  } catch (error) {
    giveUpMark(target, token);
    throw await withoutRoom(error, target);
  }
}

/** Empties a folder that its file system has no room for: others need it, and the next attempt begins anew. Otherwise the error as it is. */
async function withoutRoom(error: unknown, target: string): Promise<unknown> {
  if (!isFullDisk(error)) return error;
  // The mark goes last: killed on the way, it is still known for what it is.
  const names = readdirSync(target).sort((a, b) => Number(a === incompleteMarker) - Number(b === incompleteMarker));
  for (const name of names) if (name !== "lost+found") await removeTree(join(target, name));
  return explainFullDisk(error, target, "the snapshot was not restored, and what there was of it was removed");
}

/** What is to be restored, found to be allowed and of use here. */
interface Asked {
  readonly store: ObjectStore;
  readonly digest: string;
  /** With what was asked for only. */
  readonly manifest: Manifest;
  /** Entries of the whole snapshot. */
  readonly of: number;
  readonly location: string;
  readonly usedElsewhere: boolean;
}

async function readSnapshot(request: RestoreRequest, target: string): Promise<Asked> {
  const { store: where, digest } = parseReference(request.reference);
  const store = openStore(where, request.settings, request);
  const limits = { ...usualLimits, ...request.limits };
  const whole = await readManifest(store, digest, limits.entries);
  const manifest = request.include === undefined ? whole : selectEntries(whole, request.include);
  requireWithin(manifest, limits);
  const location = resolve(request.location ?? target);
  if (request.usedElsewhere !== true) requireInterpreter(manifest, location);
  return { store, digest, manifest, of: whole.entries.length, location, usedElsewhere: request.usedElsewhere ?? false };
}

/** What writes files, and, once it has, what is to be said of how. */
function writerOf(
  { manifest, digest, store }: Asked,
  { nodeCache }: RestoreRequest,
): { readonly write: FileWriter; readonly remarks: readonly string[] } {
  const remarks: string[] = [];
  if (nodeCache === undefined || manifest.partial) {
    return { write: (...files) => writeFiles(manifest, store, ...files), remarks };
  }
  const cache = { ...nodeCache, folder: resolve(nodeCache.folder) };
  const write: FileWriter = async (...files) => {
    remarks.push(...(await writeFilesFromNodeCache({ manifest, digest, store, cache }, ...files)));
  };
  return { write, remarks };
}

/** Writes everything into an empty folder. Gives what a record of it says, which one by way of a cache does not have. */
async function fill(
  { manifest, digest, store }: Asked,
  cache: string | undefined,
  write: FileWriter,
  folder: string,
  watch: Partial<Watch> & ThreadChoice,
): Promise<RecordedContents | null> {
  if (cache !== undefined && !manifest.partial) {
    await writeTreeFromCache({ manifest, digest, store, cache: resolve(cache) }, folder, watch);
    return null;
  }
  const writing = fillTree(manifest, write, folder, watch);
  try {
    // While threads write.
    if (cache !== undefined) return null;
    // A folder for models is made where none travel.
    const above = new Set(foldersAbove(manifest.head.layout.models));
    return recordContents(manifest.entries, (path) => !above.has(path));
  } finally {
    await writing;
  }
}

function answerOf({ manifest, of, location, usedElsewhere }: Asked, remarks: readonly string[]): RestoredEnvironment {
  const { head, entries, partial } = manifest;
  return {
    head,
    location: { root: location, layout: head.layout },
    python: join(location, head.layout.dependencies, "bin", "python"),
    partial: partial ? { entries: entries.length, of } : null,
    remarks: [...remarks, ...(usedElsewhere ? [] : platformRemarks(head))],
  };
}

function watchOf({ progress, signal }: RestoreRequest): Partial<Watch> {
  return { ...(progress === undefined ? {} : { progress }), ...(signal === undefined ? {} : { signal }) };
}

/** Notes what the folder got, for a later restore over it; one from a cache is quickly made anew instead. */
function note(partial: string, restored: Parameters<typeof writeRecord>[1]): readonly string[] {
  try {
    writeRecord(partial, restored);
    return [];
  } catch (error) {
    return [`it could not be noted for a later restore over it: ${(error as Error).message}`];
  }
}

/** The root of a file system may have a folder of that system's own. */
function isFilled(target: string, isMount: boolean): boolean {
  if (lstatSync(target, { throwIfNoEntry: false })?.isDirectory() !== true) return false;
  return readdirSync(target).some((name) => !(isMount && name === "lost+found"));
}

function requireFree(target: string): void {
  requireFolder(target);
  if (isFilled(target, false)) {
    throw new Error(`${target} is not empty; give a folder that does not exist yet, or remove what is in it`);
  }
}

function requireFolder(target: string): void {
  const found = lstatSync(target, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isSymbolicLink()) throw new Error(`${target} is a link; give a folder that does not exist yet`);
  if (!found.isDirectory()) throw new Error(`${target} is a file; give a folder that does not exist yet`);
}

/** A virtual environment is of no use without the interpreter that it was made with. */
function requireInterpreter({ head, entries, partial }: Manifest, location: string): void {
  const bin = joinPath(partsOf(head.layout).dependencies, "bin/python");
  const interpreters = new Set([partial ? "" : head.interpreter]);
  for (const entry of entries) {
    if (entry.type === "link" && entry.path.startsWith(bin) && isAbsolute(entry.target)) interpreters.add(entry.target);
  }
  for (const interpreter of interpreters) {
    // One that travels with the environment is there once it is restored.
    if (interpreter === "" || relocateTarget(interpreter, head.root, location) !== null) continue;
    if (existsSync(interpreter)) continue;
    throw new Error(
      `the environment needs the interpreter ${interpreter} (Python ${head.platform.python}), which is not on this machine; ` +
        "install that Python there, then run again",
    );
  }
}

function platformRemarks({ platform }: ManifestHead): readonly string[] {
  const here = thisMachine();
  if (platform.os !== here.os || platform.arch !== here.arch) {
    return [
      `it was made on ${platform.os}/${platform.arch}, and this is ${here.os}/${here.arch}: its compiled packages will not load`,
    ];
  }
  const older =
    platform.glibc !== null &&
    here.glibc !== null &&
    platform.glibc.localeCompare(here.glibc, "en", { numeric: true }) > 0;
  return older
    ? [`it was made with glibc ${platform.glibc}, and this machine has ${here.glibc}: compiled packages may not load`]
    : [];
}
