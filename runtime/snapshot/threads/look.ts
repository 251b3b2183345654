import { lstatSync, readdirSync } from "node:fs";

/** What is to be looked at below a folder, an absolute path. */
export interface LookAtEntries {
  readonly folder: string;
  /** Joined by NUL. */
  readonly paths: string;
  /** A folder whose time of change is before this, in milliseconds, has the names that it had then: they are not counted. */
  readonly sameBefore: number;
}

/**
 * What is there, {@link lookFields} numbers for each path: `st_mode`, number of links, bytes, times of modification and of change in
 * milliseconds, and how many names a folder holds. The mode is {@link isAbsent} or {@link isUnknown} where there are none.
 */
export type Looks = Float64Array<ArrayBuffer>;

export const lookFields = 6;
/** Nothing is there. */
export const isAbsent = -1;
/** As many names as at a time before which nothing in the folder has changed. */
export const sameNames = -3;
/** It could not be looked at, or into. The folder above it may be none, or have no permissions for it. */
export const isUnknown = -2;

/** Looks at entries without following a link in place of one itself; one above it is followed. */
export function lookAt({ folder, paths, sameBefore }: LookAtEntries): Looks {
  const names = paths.split("\0");
  const looks = new Float64Array(names.length * lookFields);
  for (const [index, name] of names.entries()) look(`${folder}/${name}`, looks, index * lookFields, sameBefore);
  return looks;
}

function look(path: string, looks: Looks, at: number, sameBefore: number): void {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    looks[at] = found?.mode ?? isAbsent;
    if (found === undefined) return;
    looks[at + 1] = found.nlink;
    looks[at + 2] = found.size;
    looks[at + 3] = found.mtimeMs;
    looks[at + 4] = found.ctimeMs;
    if (found.isDirectory()) looks[at + 5] = found.ctimeMs < sameBefore ? sameNames : readdirSync(path).length;
  } catch {
    // Whoever needs to know looks again, and meets the error itself.
    looks[at] = isUnknown;
  }
}
