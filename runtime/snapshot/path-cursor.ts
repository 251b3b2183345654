import type { EntryTable } from "./entry-table";

/** Between two files there are folders and links, which are not asked for. */
const ahead = 4;

/** Finds rows of a table by their paths, which are mostly asked for in their order. */
export class PathCursor {
  readonly #entries: EntryTable;
  /** Where the last one was found. */
  #row = 0;

  constructor(entries: EntryTable) {
    this.#entries = entries;
  }

  /** The row with this path, or -1. */
  rowOf(path: string): number {
    const entries = this.#entries;
    const end = Math.min(this.#row + ahead, entries.length);
    for (let row = this.#row; row < end; row++) {
      // Each unit of a text is one byte at least: most that differ are told apart without making a text.
      if (entries.pathBytes(row) < path.length || entries.path(row) !== path) continue;
      this.#row = row;
      return row;
    }
    const row = entries.rowOf(path);
    if (row >= 0) this.#row = row;
    return row;
  }
}
