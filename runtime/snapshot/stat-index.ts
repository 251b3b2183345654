import { hash } from "node:crypto";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { userCacheFolder } from "./cache-files";
import type { ContentPlace, FileContent } from "./content";
import type { ContentTable } from "./contents";
import { EntryTable, newEntryOf } from "./entry-table";
import { PathCursor } from "./path-cursor";
import { compareBytes } from "./paths";
import {
  type IndexHead,
  type KeptTree,
  nothingKept,
  readIndexBody,
  readIndexHead,
  writeIndex,
} from "./stat-index-file";
import type { Identified } from "./summary";
import { ctimeInMilliseconds, ctimeOf, type Stamp, sameStamp, type TreeEntry } from "./tree-entry";
import type { ModelsMode } from "./types";
import type { Tree } from "./walk";

/**
 * Milliseconds. Linux stamps files with a clock that moves every 1–10 ms: what is written within one such step after a read
 * leaves the stamp as it was. So content is trusted only when it was read later than its stamp by more than that.
 */
const clockStep = 20;
/** The same for file systems that keep whole seconds, or two of them. */
const coarseClockStep = 2_000;

const billion = 1_000_000_000n;

/** Entries and, for each, the row of its content, or -1 where that is not known. */
interface Known {
  readonly entries: EntryTable;
  readonly rows: Int32Array;
}

/** The tree that is being looked through. */
interface Followed extends Known {
  readonly cursor: PathCursor;
}

/**
 * Remembers what a tree looked like and what it held, so that a scan reads only what changed, and recognises a tree in which nothing
 * did. It is a cache: a missing or damaged file costs a full read.
 */
export class StatIndex {
  readonly #file: string;
  readonly #place: string;
  readonly #head: IndexHead | null;
  /** Read when it is first wanted: a tree in which nothing changed is recognised without. */
  #read: KeptTree | undefined;
  /** The tree that is being looked through, and its models. */
  #tree: Followed | undefined;
  #models: Followed | undefined;
  #modelFiles: readonly TreeEntry[] | undefined;
  /** What was read of files that are not, or not so, in the tree. */
  readonly #others = new Map<string, { readonly row: number; readonly stamp: Stamp }>();
  #changed = false;

  private constructor(file: string, place: string) {
    this.#file = file;
    this.#place = place;
    this.#head = readIndexHead(file, place);
  }

  /** What is noted of a file depends on where the environment and its parts are, so an index holds for those only. */
  static load(file: string, { root, parts }: ContentPlace): StatIndex {
    return new StatIndex(file, hash("sha256", JSON.stringify([root, parts])));
  }

  /** The contents that were noted or found. */
  get table(): ContentTable {
    return this.#kept.table;
  }

  /** Entries that the tree had when it was last seen; 0 where it is not known. */
  get size(): number {
    return this.#head?.sizes.entries.count ?? 0;
  }

  /** What the whole tree is, if nothing of it has been touched since all of it was read. */
  identified({ entries, models }: Tree, mode: ModelsMode): Identified | null {
    const head = this.#head;
    if (head === null || head.identified?.mode !== mode || head.entries !== entries.fingerprint()) return null;
    if (mode === "locked" && head.models !== tableOf(models).fingerprint()) return null;
    return head.identified.as;
  }

  /**
   * Turns to a tree: what is known of its files is found by its entries from now on. Waits, some milliseconds at most, until what
   * was just written can be read so that its stamp can be trusted.
   */
  async begin(tree: Tree): Promise<void> {
    this.#turnTo(tree);
    let newest = 0;
    for (let row = 0; row < tree.entries.length; row++) newest = Math.max(newest, tree.entries.ctime(row));
    for (const { stamp } of tree.models) newest = Math.max(newest, ctimeInMilliseconds(stamp));
    const wait = Math.floor(newest) + clockStep + 1 - Date.now();
    if (wait > 0 && wait <= clockStep + 1) await delay(wait);
  }

  /** Row of what the file held when it was last read, if nothing has touched it since. */
  find({ path, stamp }: TreeEntry): number | undefined {
    const other = this.#others.get(path);
    if (other !== undefined && sameStamp(other.stamp, stamp)) return other.row;
    for (const known of [this.#tree, this.#models]) {
      const row = known?.cursor.rowOf(path) ?? -1;
      const content = known?.rows[row] ?? -1;
      if (content >= 0 && known?.entries.hasStamp(row, stamp)) return content;
    }
    return undefined;
  }

  /** The same by the row of the tree that was turned to, or -1. */
  rowAt(row: number): number {
    return this.#tree?.rows[row] ?? -1;
  }

  /** Reads what was kept, which is otherwise done when it is first wanted. */
  preload(): void {
    void this.#kept;
  }

  /**
   * Remembers content that was read, beginning at `readAt` in milliseconds since 1970, while the stamp stayed as it is. Returns its
   * row, which holds for this run in any case.
   */
  note({ path, stamp }: TreeEntry, content: FileContent, readAt: number): number {
    this.#changed = true;
    const row = this.table.add(content);
    const step = ctimeOf(stamp) % billion === 0n ? coarseClockStep : clockStep;
    const trusted = ctimeOf(stamp) / 1_000_000n <= readAt - step;
    let noted = false;
    for (const known of [this.#tree, this.#models]) {
      const place = known?.cursor.rowOf(path) ?? -1;
      if (known === undefined || place < 0 || !known.entries.hasStamp(place, stamp)) continue;
      known.rows[place] = trusted ? row : -1;
      noted = true;
    }
    this.#others.delete(path);
    if (trusted && !noted) this.#others.set(path, { row, stamp });
    return row;
  }

  /**
   * Replaces the index file as a whole, by a tree as it is now. Of model files that were not read this time, it keeps what it knew.
   * `identified`: what the tree is, where all of it was read.
   */
  save(tree: Tree, mode: ModelsMode, identified: Identified | null): void {
    const { entries, rows, models, modelRows } = this.#turnTo(tree);
    const isWhole = isKnown(entries, rows) && (mode !== "locked" || isKnown(models, modelRows));
    const as = {
      entries: entries.fingerprint(),
      models: models.fingerprint(),
      identified: identified === null || !isWhole ? null : { mode, as: identified },
    };
    const same =
      !this.#changed &&
      as.entries === this.#head?.entries &&
      as.models === this.#head.models &&
      JSON.stringify(as.identified) === JSON.stringify(this.#head.identified);
    if (!same) writeIndex(this.#file, this.#place, { entries, rows, models, modelRows, table: this.table }, as);
  }

  get #kept(): KeptTree {
    this.#read ??= (this.#head === null ? null : readIndexBody(this.#file, this.#head)) ?? nothingKept();
    return this.#read;
  }

  /** Makes a tree the one that is looked through, with all that is known of it. */
  #turnTo({ entries, models }: Tree): Omit<KeptTree, "table"> {
    if (this.#tree?.entries === entries && this.#modelFiles === models && this.#models !== undefined) {
      return {
        entries,
        rows: this.#tree.rows,
        models: this.#models.entries,
        modelRows: this.#models.rows,
      };
    }
    const kept = this.#kept;
    const before = this.#tree ?? kept;
    const modelsBefore = this.#models ?? { entries: kept.models, rows: kept.modelRows };
    const rows = this.#carriedOver([before, modelsBefore], entries);
    const table = tableOf(models);
    const modelRows = this.#carriedOver([modelsBefore, before], table);
    this.#tree = { entries, rows, cursor: new PathCursor(entries) };
    this.#models = { entries: table, rows: modelRows, cursor: new PathCursor(table) };
    this.#modelFiles = models;
    return { entries, rows, models: table, modelRows };
  }

  /** What is known of the entries of a table by what was known of others. */
  #carriedOver(known: readonly Known[], to: EntryTable): Int32Array {
    const rows = new Int32Array(to.length).fill(-1);
    for (const from of known) carryOver(from, to, rows);
    for (const [path, { row, stamp }] of this.#others) {
      const place = to.rowOf(path);
      if (place >= 0 && to.hasStamp(place, stamp)) rows[place] = row;
    }
    return rows;
  }
}

/** Where the index of a root is unless a request says otherwise. */
export function defaultIndexFile(root: string): string {
  return join(userCacheFolder(), "scan", hash("sha256", root).slice(0, 32));
}

function tableOf(models: readonly TreeEntry[]): EntryTable {
  return EntryTable.of(models.map(newEntryOf));
}

function isKnown(entries: EntryTable, rows: Int32Array): boolean {
  return rows.every((content, row) => content >= 0 || !entries.isFile(row));
}

/** Notes in `rows` what is known of files that have the same path and stamp in another table. */
function carryOver({ entries: from, rows: known }: Known, to: EntryTable, rows: Int32Array): void {
  if (from.length === 0 || to.length === 0) return;
  const carry = (row: number, place: number) => {
    const content = known[row] ?? -1;
    if (content >= 0 && rows[place] === -1 && to.isFile(place) && from.hasStampOf(row, to, place))
      rows[place] = content;
  };
  if (from.text.equals(to.text)) {
    for (let row = 0; row < to.length; row++) carry(row, row);
    return;
  }
  const [before, after] = [from.paths, to.paths];
  for (let i = 0, j = 0; i < before.length && j < after.length; ) {
    const order = compareBytes(before[i] ?? "", after[j] ?? "");
    if (order === 0) carry(i, j);
    if (order <= 0) i += 1;
    if (order >= 0) j += 1;
  }
}
