import { dirname, join, resolve } from "node:path";
import { InvalidInputError } from "../problems";
import { isFolder } from "./common-options";

/** Name of the local platform's folder where a program leaves it open. */
const defaultName = ".comfyui";

/**
 * The local platform's folder: the one that was given, else the nearest `.comfyui` in the current folder and those
 * above it, else null.
 */
export function findDirectory(given: string | undefined, cwd: string, option = "--directory"): string | null {
  if (given !== undefined) {
    const directory = resolve(cwd, given);
    if (isFolder(directory)) return directory;
    throw new InvalidInputError([
      { path: option, reason: `${directory} is not a folder; give the one that local({ directory }) names` },
    ]);
  }
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    const directory = join(folder, defaultName);
    if (isFolder(directory)) return directory;
    if (folder === dirname(folder)) return null;
  }
}

/** As {@link findDirectory}, for commands that have nothing to say where there is none. */
export function requireDirectory(given: string | undefined, cwd: string, option = "--directory"): string {
  const directory = findDirectory(given, cwd, option);
  if (directory !== null) return directory;
  throw new InvalidInputError([
    { path: option, reason: `no folder ${defaultName} in ${resolve(cwd)} or above it; give the platform's folder` },
  ]);
}

export const directoryDescription = `the local platform's folder (default: ${defaultName}, here or in a folder above)`;
