import { existsSync, lstatSync, readdirSync } from "node:fs";
import { rename } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { explainFullDisk } from "../full-disk";
import { InvalidInputError } from "../problems";
import { openStore } from "../store";
import { refuseCollisions } from "./collisions";
import type { ThreadChoice } from "./frame-writers";
import { selectEntries } from "./include";
import { relocateTarget } from "./known-places";
import { requirePaths, requireWithin, usualLimits } from "./limits";
import { type Manifest, readManifest } from "./manifest-file";
import { makePartialFolder } from "./partial-folder";
import { partsOf } from "./parts";
import { joinPath } from "./paths";
import { parseReference } from "./reference";
import { relocateTree } from "./relocate-tree";
import { removeTree } from "./remove-tree";
import { writeTreeFromCache } from "./restore-cache";
import { restoreOver } from "./restore-over";
import { type RecordedContents, recordContents, writeRecord } from "./restore-record";
import type { ManifestHead, RestoredEnvironment, RestoreRequest } from "./types";
import { thisMachine } from "./virtual-environment";
import { finishFolders, writeTree } from "./write-tree";

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
  const { store: where, digest } = parseReference(request.reference);
  const target = resolve(request.target);
  if (!isAbsolute(request.target)) throw new Error(`${JSON.stringify(request.target)} is not an absolute path`);
  const location = resolve(request.location ?? target);
  const isOver = request.over === true && isFilled(target);
  if (!isOver) requireFree(target);
  if (isOver && request.include !== undefined) {
    const reason = "goes into a new folder only: over an earlier restore, everything else would be removed";
    throw new InvalidInputError([{ path: "include", reason }]);
  }
  const store = openStore(where, request.settings, request);
  const { progress, signal } = request;
  const watch = { ...(progress === undefined ? {} : { progress }), ...(signal === undefined ? {} : { signal }) };
  const limits = { ...usualLimits, ...request.limits };
  const whole = await readManifest(store, digest, limits.entries);
  const manifest = request.include === undefined ? whole : selectEntries(whole, request.include);
  requireWithin(manifest, limits);
  const { head } = manifest;
  requireInterpreter(manifest, location);
  const answer = (rewritten: readonly string[]): RestoredEnvironment => ({
    head,
    location: { root: location, layout: head.layout },
    python: join(location, head.layout.dependencies, "bin", "python"),
    partial: manifest.partial ? { entries: manifest.entries.length, of: whole.entries.length } : null,
    remarks: [...rewritten, ...platformRemarks(head)],
  });
  if (isOver) {
    requirePaths(manifest, target);
    refuseCollisions(manifest, dirname(target));
    const over = { manifest, store, reference: request.reference, target, location };
    return answer(await restoreOver(over, { ...watch, ...threads }));
  }
  const partial = await makePartialFolder(target);
  try {
    requirePaths(manifest, partial);
    refuseCollisions(manifest, partial);
    let contents: RecordedContents | null = null;
    if (request.cache === undefined || manifest.partial) {
      const writing = writeTree(manifest, store, partial, { ...watch, ...threads });
      try {
        if (request.cache === undefined) contents = recordContents(manifest.entries);
      } finally {
        await writing;
      }
    } else {
      const cached = { manifest, digest, store, cache: resolve(request.cache) };
      await writeTreeFromCache(cached, partial, { ...watch, ...threads });
    }
    const rewritten = relocateTree(manifest, partial, location);
    finishFolders(manifest.entries, partial);
    signal?.throwIfAborted();
    const remarks = contents === null ? [] : note(partial, { target, location, contents });
    await rename(partial, target);
    return answer([...rewritten, ...remarks]);
  } catch (error) {
    await removeTree(partial);
    throw explainFullDisk(
      error,
      dirname(target),
      "the snapshot was not restored, and what there was of it was removed",
    );
  }
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

function isFilled(target: string): boolean {
  return lstatSync(target, { throwIfNoEntry: false })?.isDirectory() === true && readdirSync(target).length > 0;
}

function requireFree(target: string): void {
  const found = lstatSync(target, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isSymbolicLink()) throw new Error(`${target} is a link; give a folder that does not exist yet`);
  if (!found.isDirectory()) throw new Error(`${target} is a file; give a folder that does not exist yet`);
  if (readdirSync(target).length > 0) {
    throw new Error(`${target} is not empty; give a folder that does not exist yet, or remove what is in it`);
  }
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
