import type { FileContent } from "./content";
import type { Slot } from "./threads/pack-memory";
import type { FilesRead, FilesToRead } from "./threads/pack-tasks";
import { ctimeInMilliseconds, type TreeEntry } from "./tree-entry";

/** Asks for small files to be read into a place, one after the other. */
export function filesRequest(files: readonly TreeEntry[], slot: Slot): FilesToRead {
  return {
    at: slot.at,
    paths: files.map(({ path }) => path),
    sizes: Float64Array.from(files, ({ stamp }) => stamp.size),
    ctimes: Float64Array.from(files, ({ stamp }) => ctimeInMilliseconds(stamp)),
    followed: Uint8Array.from(files, ({ followed }) => (followed ? 1 : 0)),
  };
}

interface SmallFile {
  readonly entry: TreeEntry;
  /** Null where the file is no longer as the walk found it. */
  readonly content: FileContent | null;
  /** Where its bytes begin in the place. */
  readonly start: number;
}

/** What was read of each of them. */
export function* filesWith(files: readonly TreeEntry[], { sha256, extras }: FilesRead): Generator<SmallFile> {
  const known = new Map(extras.map(([file, identity, fact]) => [file, { identity, fact }]));
  let start = 0;
  for (const [file, entry] of files.entries()) {
    const hash = sha256[file] ?? null;
    const { identity, fact } = known.get(file) ?? { identity: hash ?? "", fact: null };
    yield { entry, content: hash === null ? null : { sha256: hash, identity, fact }, start };
    start += entry.stamp.size;
  }
}
