import { createHash } from "node:crypto";
import type { FileContent } from "./content";
import { relocateTarget, rootMark } from "./known-places";
import { foldersAbove } from "./paths";
import { isExecutable, type TreeEntry } from "./tree-entry";
import type { CountedEntry } from "./types";

/** SHA-256 over counted entries, which are sorted by path. Each is its path, type, executable bit and content, each ended by a NUL. */
export function identityOf(entries: readonly CountedEntry[]): string {
  const hash = createHash("sha256");
  for (const { path, type, executable, content } of entries) {
    hash.update(`${path}\0${type}\0${executable ? 1 : 0}\0${content}\0`);
  }
  return hash.digest("hex");
}

/** What counts of the entries that travel, in their order. */
export function countedEntries(
  entries: readonly TreeEntry[],
  contents: ReadonlyMap<string, FileContent>,
  root: string,
): CountedEntry[] {
  const folders = countedFolders(entries);
  return entries.flatMap((entry): CountedEntry[] => {
    const { path, type } = entry;
    if (type === "directory") return folders.has(path) ? [{ path, type, executable: false, content: "" }] : [];
    if (!entry.counts) return [];
    if (type === "link") {
      return [{ path, type, executable: false, content: relocateTarget(entry.target, root, rootMark) ?? entry.target }];
    }
    const content = contents.get(path);
    if (content === undefined) throw new Error(`${path} was not read`);
    return [{ path, type, executable: isExecutable(entry.mode), content: content.identity }];
  });
}

/**
 * A folder counts when something in it does, or when it is empty. One that only holds what does not count, such as byte
 * code or a log, comes and goes with that.
 */
function countedFolders(entries: readonly TreeEntry[]): ReadonlySet<string> {
  const counted = new Set<string>();
  for (const { path, type, counts, empty } of entries) {
    if (!counts || (type === "directory" && !empty)) continue;
    if (type === "directory") counted.add(path);
    for (const folder of foldersAbove(path)) {
      if (counted.has(folder)) break;
      counted.add(folder);
    }
  }
  return counted;
}
