import { chmodSync, constants, copyFileSync, linkSync, lstatSync, utimesSync } from "node:fs";

/** Files that get into a new folder from a complete restore. */
export interface PlaceFiles {
  /** Absolute paths of the folders that paths are below. */
  readonly from: string;
  readonly to: string;
  /** Joined by NUL. */
  readonly paths: string;
  /** For each path {@link placeFields} numbers: bytes, mode and time as they must be there, and 1 for one that is a hard link where that can be. */
  readonly files: Float64Array;
  /** Whether links can be made at all. */
  readonly links: boolean;
}

export interface PlacedFiles {
  /** The first one that is not as it must be, with which the work ended; or null. */
  readonly damaged: string | null;
  readonly links: boolean;
}

export const placeFields = 4;

/** What `link` answers where a hard link cannot be made. */
const withoutHardLink = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/** Links or copies files whose size, permissions and time are still what they were. */
export function placeFiles({ from, to, paths, files, links: mayLink }: PlaceFiles): PlacedFiles {
  let links = mayLink;
  for (const [index, path] of paths.split("\0").entries()) {
    const at = index * placeFields;
    const [size = 0, mode = 0, time = 0] = [files[at], files[at + 1], files[at + 2]];
    const source = `${from}/${path}`;
    const target = `${to}/${path}`;
    if (!isIntact(source, size, mode, time)) return { damaged: source, links };
    if (files[at + 3] === 1 && links) {
      const reason = link(source, target);
      if (reason === null) continue;
      // A file can have too many links; the other reasons hold for all files.
      links = reason === "EMLINK";
    }
    copyFileSync(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    chmodSync(target, mode);
    utimesSync(target, time, time);
  }
  return { damaged: null, links };
}

/** The reason why no link can be made, or null for one that was. */
function link(source: string, target: string): string | null {
  try {
    linkSync(source, target);
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || !withoutHardLink.has(code)) throw error;
    return code;
  }
}

/** To the second, which every file system keeps; a file that was written to has a time far from that. */
function isIntact(path: string, size: number, mode: number, time: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return (
    found?.isFile() === true &&
    found.size === size &&
    (found.mode & 0o777) === mode &&
    Math.floor(found.mtimeMs / 1000) === Math.floor(time)
  );
}
