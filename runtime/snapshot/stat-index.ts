import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { replaceFile, userCacheFolder } from "./cache-files";
import type { ContentPlace, FileContent } from "./content";
import { type ContentExtras, Contents, ContentTable } from "./contents";
import { DigestTable, digestSize } from "./digest-table";
import { EntryTable, newEntryOf, recordSize } from "./entry-table";
import type { Identified } from "./summary";
import { ctimeInMilliseconds, ctimeOf, type Stamp, sameStamp, type TreeEntry } from "./tree-entry";
import type { ModelsMode } from "./types";
import type { Tree } from "./walk";

/** Grows whenever an older index would be read wrongly. */
const format = 3;
/**
 * Milliseconds. Linux stamps files with a clock that moves every 1–10 ms: what is written within one such step after a read
 * leaves the stamp as it was. So content is trusted only when it was read later than its stamp by more than that.
 */
const clockStep = 20;
/** The same for file systems that keep whole seconds, or two of them. */
const coarseClockStep = 2_000;

const billion = 1_000_000_000n;

/** A tree as it was last seen, with what its files hold. */
interface Kept {
  readonly entries: EntryTable;
  readonly models: EntryTable;
  /** Row of the contents for each entry and each model file, or -1 where the content is not known. */
  readonly rows: Int32Array;
  readonly modelRows: Int32Array;
  /** What the whole tree is, where all of it was read. */
  readonly identified: { readonly mode: ModelsMode; readonly as: Identified } | null;
}

/**
 * Remembers what a tree looked like and what it held, so that a scan reads only what changed, and recognises a tree in which nothing
 * did. It is a cache: a missing or damaged file costs a full read.
 */
export class StatIndex {
  /** The contents that were noted or found. */
  readonly table: ContentTable;
  readonly #file: string;
  readonly #place: string;
  readonly #kept: Kept;
  /** Where the last entry was found among those that were kept: they are mostly asked for in their order. */
  #cursor = 0;
  /** What was read by this run and can be trusted: path → row. */
  readonly #noted = new Map<string, { readonly row: number; readonly stamp: Stamp }>();
  /** Rows of what was read by this run too soon after it was written. */
  readonly #untrusted = new Set<number>();
  #changed = false;

  private constructor(file: string, place: string, table: ContentTable, kept: Kept) {
    this.#file = file;
    this.#place = place;
    this.table = table;
    this.#kept = kept;
  }

  /** What is noted of a file depends on where the environment and its parts are, so an index holds for those only. */
  static load(file: string, { root, parts }: ContentPlace): StatIndex {
    const place = hash("sha256", JSON.stringify([root, parts]));
    const { table, kept } = read(file, place) ?? nothingKept();
    return new StatIndex(file, place, table, kept);
  }

  /** What the whole tree is, if nothing of it has been touched since all of it was read. */
  identified({ entries, models }: Tree, mode: ModelsMode): Identified | null {
    const { identified } = this.#kept;
    if (identified === null || identified.mode !== mode || !entries.equals(this.#kept.entries)) return null;
    if (mode === "locked" && !tableOf(models).equals(this.#kept.models)) return null;
    return identified.as;
  }

  /** Row of what the file held when it was last read, if nothing has touched it since. */
  find({ path, stamp }: TreeEntry): number | undefined {
    const noted = this.#noted.get(path);
    if (noted !== undefined) return sameStamp(noted.stamp, stamp) ? noted.row : undefined;
    const { entries, models, rows, modelRows } = this.#kept;
    const row = this.#rowOf(path);
    if (row >= 0 && entries.hasStamp(row, stamp)) return known(rows[row]);
    const model = models.length === 0 ? -1 : models.rowOf(path);
    return model >= 0 && models.hasStamp(model, stamp) ? known(modelRows[model]) : undefined;
  }

  /** What the files of a tree hold, as far as nothing has touched them since they were read. */
  contentsOf({ entries, models }: Tree): Contents {
    const contents = new Contents(this.table);
    for (const entry of [...entries, ...models]) {
      const row = entry.type === "file" ? this.find(entry) : undefined;
      if (row !== undefined) contents.set(entry.path, row);
    }
    return contents;
  }

  /**
   * Remembers content that was read, beginning at `readAt` in milliseconds since 1970, while the stamp stayed as it is. Returns its
   * row, which holds for this run in any case.
   */
  note({ path, stamp }: TreeEntry, content: FileContent, readAt: number): number {
    this.#changed = true;
    const row = this.table.add(content);
    const step = ctimeOf(stamp) % billion === 0n ? coarseClockStep : clockStep;
    if (ctimeOf(stamp) / 1_000_000n > readAt - step) {
      this.#noted.delete(path);
      this.#untrusted.add(row);
    } else this.#noted.set(path, { row, stamp });
    return row;
  }

  /** Waits, some milliseconds at most, until what was just written can be read so that its stamp can be trusted. */
  async settle({ entries, models }: Tree): Promise<void> {
    let newest = 0;
    for (let row = 0; row < entries.length; row++) newest = Math.max(newest, entries.ctime(row));
    for (const { stamp } of models) newest = Math.max(newest, ctimeInMilliseconds(stamp));
    const wait = Math.floor(newest) + clockStep + 1 - Date.now();
    if (wait > 0 && wait <= clockStep + 1) await delay(wait);
  }

  /**
   * Replaces the index file as a whole, by a tree as it is now. Of model files that were not read this time, it keeps what it knew.
   * `identified`: what the tree is, where all of it was read.
   */
  save(tree: Tree, mode: ModelsMode, identified: Identified | null): void {
    const models = tableOf(tree.models);
    const same =
      !this.#changed &&
      (identified === null) === (this.#kept.identified === null) &&
      this.#kept.identified?.mode === (identified === null ? undefined : mode) &&
      tree.entries.equals(this.#kept.entries) &&
      models.equals(this.#kept.models);
    if (!same) replaceFile(this.#file, this.#encode(tree.entries, models, mode, identified));
  }

  /** True where what was read of the whole tree can be trusted the next time. */
  get isTrusted(): boolean {
    return this.#untrusted.size === 0;
  }

  #rowOf(path: string): number {
    const { entries } = this.#kept;
    // Between two files there are folders and links, which are not asked for.
    for (let row = this.#cursor; row < Math.min(this.#cursor + 4, entries.length); row++) {
      if (entries.path(row) !== path) continue;
      this.#cursor = row + 1;
      return row;
    }
    const row = entries.rowOf(path);
    if (row >= 0) this.#cursor = row + 1;
    return row;
  }

  /** One line that says how much follows and what it hashes to, then the columns and a text of the rest. */
  #encode(entries: EntryTable, models: EntryTable, mode: ModelsMode, identified: Identified | null): Buffer {
    const digests = new DigestTable();
    const extras: ContentExtras[] = [];
    const rowsIn = (table: EntryTable) => {
      const rows = new Int32Array(table.length).fill(-1);
      for (let row = 0; row < table.length; row++) {
        const found = table.isFile(row) ? this.find(table.entry(row)) : undefined;
        if (found === undefined) continue;
        const to = digests.add(this.table.digest(found));
        rows[row] = to;
        const extra = this.table.extras(found);
        if (extra !== null) extras.push([to, ...extra]);
      }
      return Buffer.from(rows.buffer);
    };
    const [rows, modelRows] = [rowsIn(entries), rowsIn(models)];
    const rest: Rest = {
      targets: entries.targets,
      extras,
      identified: identified === null || !this.isTrusted ? null : { mode, as: identified },
    };
    const pieces = [entries.records, models.records, rows, modelRows, digests.bytes, entries.text, models.text];
    const body = Buffer.concat([...pieces, Buffer.from(JSON.stringify(rest))]);
    const head: Head = {
      format,
      place: this.#place,
      sha256: hash("sha256", body),
      entries: { count: entries.length, text: entries.text.length },
      models: { count: models.length, text: models.text.length },
      contents: digests.count,
    };
    return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), body]);
  }
}

/** Where the index of a root is unless a request says otherwise. */
export function defaultIndexFile(root: string): string {
  return join(userCacheFolder(), "scan", hash("sha256", root).slice(0, 32));
}

function tableOf(models: readonly TreeEntry[]): EntryTable {
  return EntryTable.of(models.map(newEntryOf));
}

function known(row: number | undefined): number | undefined {
  return row === undefined || row < 0 ? undefined : row;
}

interface Head {
  readonly format: number;
  readonly place: string;
  readonly sha256: string;
  readonly entries: { readonly count: number; readonly text: number };
  readonly models: { readonly count: number; readonly text: number };
  readonly contents: number;
}

interface Rest {
  readonly targets: readonly string[];
  readonly extras: readonly ContentExtras[];
  readonly identified: Kept["identified"];
}

function nothingKept(): { table: ContentTable; kept: Kept } {
  const kept: Kept = {
    entries: EntryTable.of([]),
    models: EntryTable.of([]),
    rows: new Int32Array(),
    modelRows: new Int32Array(),
    identified: null,
  };
  return { table: new ContentTable(), kept };
}

function read(file: string, place: string): { table: ContentTable; kept: Kept } | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch {
    return null; // The index may be missing or unreadable: it only saves time.
  }
  const end = bytes.indexOf(10);
  const body = bytes.subarray(end + 1);
  let head: Head;
  try {
    head = JSON.parse(bytes.toString("utf8", 0, Math.max(end, 0))) as Head;
    if (head.format !== format || head.place !== place || head.sha256 !== hash("sha256", body)) return null;
  } catch {
    return null; // Damaged; the hash above covers everything below.
  }
  let at = 0;
  // Copied: where a number lies has to be a multiple of its size.
  const take = (size: number) => {
    const start = body.byteOffset + at;
    at += size;
    return body.buffer.slice(start, start + size) as ArrayBuffer;
  };
  const { entries, models, contents } = head;
  const records = take(entries.count * recordSize);
  const modelRecords = take(models.count * recordSize);
  const rows = new Int32Array(take(entries.count * 4));
  const modelRows = new Int32Array(take(models.count * 4));
  const digests = new DigestTable(Buffer.from(take(contents * digestSize)));
  const text = take(entries.text);
  const modelText = take(models.text);
  const { targets, extras, identified } = JSON.parse(body.toString("utf8", at)) as Rest;
  const kept: Kept = {
    entries: new EntryTable({ count: entries.count, records, text, targets }),
    models: new EntryTable({ count: models.count, records: modelRecords, text: modelText, targets: [] }),
    rows,
    modelRows,
    identified,
  };
  return { table: new ContentTable(digests, extras), kept };
}
