import { createHash } from "node:crypto";
import type { Contents } from "./contents";
import type { EntryTable } from "./entry-table";
import { relocateTarget, rootMark } from "./known-places";
import { foldersAbove } from "./paths";
import { isExecutable } from "./tree-entry";
import type { CountedEntry } from "./types";

/** Characters that are hashed at a time. */
const batchSize = 64 * 1024;

/** SHA-256 over counted entries, which are sorted by path. Each is its path, type, executable bit and content, each ended by a NUL. */
export class IdentityHash {
  readonly #hash = createHash("sha256");
  #batch = "";

  add({ path, type, executable, content }: CountedEntry): void {
    this.#batch += `${path}\0${type}\0${executable ? 1 : 0}\0${content}\0`;
    if (this.#batch.length < batchSize) return;
    this.#hash.update(this.#batch);
    this.#batch = "";
  }

  /** Ends it: 64 hex digits. */
  digest(): string {
    return this.#hash.update(this.#batch).digest("hex");
  }
}

export function identityOf(entries: Iterable<CountedEntry>): string {
  const hash = new IdentityHash();
  for (const entry of entries) hash.add(entry);
  return hash.digest();
}

/** What counts of the entries that travel, in their order. */
export function* countedEntries(entries: EntryTable, contents: Contents, root: string): Generator<CountedEntry> {
  const folders = countedFolders(entries);
  for (const [row, path] of entries.paths.entries()) {
    const type = entries.type(row);
    if (type === "directory") {
      if (folders.has(path)) yield { path, type, executable: false, content: "" };
      continue;
    }
    if (!entries.counts(row)) continue;
    if (type === "link") {
      const target = entries.target(row);
      yield { path, type, executable: false, content: relocateTarget(target, root, rootMark) ?? target };
    } else {
      const content = contents.rowOf(entries, row);
      if (content === undefined) throw new Error(`${path} was not read`);
      yield { path, type, executable: isExecutable(entries.mode(row)), content: contents.table.identity(content) };
    }
  }
}

/** Tells which of the entries that travel count, by their rows. */
export function countingOf(entries: EntryTable): (row: number) => boolean {
  const folders = countedFolders(entries);
  return (row) => (entries.type(row) === "directory" ? folders.has(entries.path(row)) : entries.counts(row));
}

/** A tree is asked for its identity, and then entry by entry. */
const countedFoldersOf = new WeakMap<EntryTable, ReadonlySet<string>>();

/**
 * A folder counts when something in it does, or when it is empty. One that only holds what does not count, such as byte
 * code or a log, comes and goes with that.
 */
function countedFolders(entries: EntryTable): ReadonlySet<string> {
  const known = countedFoldersOf.get(entries);
  if (known !== undefined) return known;
  const counted = new Set<string>();
  countedFoldersOf.set(entries, counted);
  let last = "";
  for (const [row, path] of entries.paths.entries()) {
    const isFolder = entries.type(row) === "directory";
    if (!entries.counts(row) || (isFolder && !entries.empty(row))) continue;
    if (isFolder) counted.add(path);
    // What lies beside the one before has the same folders above it.
    const end = path.lastIndexOf("/");
    if (end === last.length && path.startsWith(last)) continue;
    last = path.slice(0, Math.max(end, 0));
    for (const folder of foldersAbove(path)) {
      if (counted.has(folder)) break;
      counted.add(folder);
    }
  }
  return counted;
}
