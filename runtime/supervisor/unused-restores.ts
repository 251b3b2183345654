import { randomBytes } from "node:crypto";
import { renameSync } from "node:fs";
import { join } from "node:path";
import { isMissing, namesIn, removeTree } from "./files";
import { type Journal, reasonOf } from "./journal";

const asideSuffix = ".unused";
const digest = /^[0-9a-f]{64}$/;

/** Removes complete restores of snapshots that nothing can start from any more. What is needed is asked at the last moment. */
export async function removeUnusedRestores(
  cache: string,
  needed: () => ReadonlySet<string>,
  journal: Journal,
): Promise<void> {
  for (const name of await namesIn(cache)) if (digest.test(name) && !needed().has(name)) setAside(join(cache, name));
  await removeNamed(cache, (name) => name.endsWith(asideSuffix), journal);
}

/**
 * Removes all but complete restores that are needed: also those that were interrupted, and what locked them. Only before anything
 * restores.
 */
export async function removeInterruptedRestores(
  cache: string,
  needed: ReadonlySet<string>,
  journal: Journal,
): Promise<void> {
  await removeNamed(cache, (name) => !needed.has(name), journal);
}

async function removeNamed(cache: string, unwanted: (name: string) => boolean, journal: Journal): Promise<void> {
  for (const name of await namesIn(cache)) {
    if (!unwanted(name)) continue;
    try {
      await removeTree(join(cache, name));
    } catch (error) {
      journal(`${join(cache, name)} could not be removed, and stays: ${reasonOf(error)}`);
    }
  }
}

/** Renamed first: a release of the same snapshot that comes meanwhile must not find a part of it. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.${randomBytes(4).toString("hex")}${asideSuffix}`);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}
