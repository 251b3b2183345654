import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { replaceFile, userCacheFolder } from "./cache-files";
import type { ContentPlace, FileContent } from "./content";
import { type ContentExtras, ContentTable } from "./contents";
import { DigestTable, digestSize } from "./digest-table";
import { ctimeInMilliseconds, ctimeOf, type Stamp, sameStamp, type TreeEntry } from "./tree-entry";

/** Grows whenever an older index would be read wrongly. */
const format = 2;
/**
 * Milliseconds. Linux stamps files with a clock that moves every 1–10 ms: what is written within one such step after a read
 * leaves the stamp as it was. So content is trusted only when it was read later than its stamp by more than that.
 */
const clockStep = 20;
/** The same for file systems that keep whole seconds, or two of them. */
const coarseClockStep = 2_000;

const billion = 1_000_000_000n;

/** Columns of what was noted before, a row a file, as they lie in the index's file. */
interface Columns {
  readonly sizes: Float64Array;
  readonly inodes: Float64Array;
  readonly times: Int32Array;
}

/** Upper and lower half of a file's mtime and ctime. */
const timesPerRow = 4;

/**
 * Remembers the hash of each file with what its inode looked like, so that a scan reads only what changed. It is a cache: a
 * missing or damaged file costs a full read.
 */
export class StatIndex {
  /** The contents that were noted or found. */
  readonly table: ContentTable;
  readonly #file: string;
  readonly #place: string;
  /** Path → row of the table. */
  readonly #known: Map<string, number>;
  /** Of the rows that were read from the file. */
  readonly #columns: Columns;
  /** Of the rows after those. */
  readonly #stamps: Stamp[] = [];
  readonly #kept: number;
  readonly #used = new Set<number>();
  #changed = false;

  private constructor(file: string, place: string, { table, known, columns }: Kept) {
    this.#file = file;
    this.#place = place;
    this.table = table;
    this.#kept = table.count;
    this.#known = known;
    this.#columns = columns;
  }

  /** What is noted of a file depends on where the environment and its parts are, so an index holds for those only. */
  static load(file: string, { root, parts }: ContentPlace): StatIndex {
    const place = hash("sha256", JSON.stringify([root, parts]));
    return new StatIndex(file, place, read(file, place) ?? nothingKept());
  }

  /** Row of what the file held when it was last read, if nothing has touched it since. */
  find({ path, stamp }: TreeEntry): number | undefined {
    const row = this.#known.get(path);
    if (row === undefined || !this.#isStamp(row, stamp)) return undefined;
    this.#used.add(row);
    return row;
  }

  /**
   * Remembers content that was read, beginning at `readAt` in milliseconds since 1970, while the stamp stayed as it is. Returns its
   * row, which holds for this run in any case.
   */
  note({ path, stamp }: TreeEntry, content: FileContent, readAt: number): number {
    this.#changed = true;
    const row = this.table.add(content);
    this.#stamps.push(stamp);
    const step = ctimeOf(stamp) % billion === 0n ? coarseClockStep : clockStep;
    if (ctimeOf(stamp) / 1_000_000n > readAt - step) {
      this.#known.delete(path);
      return row;
    }
    this.#known.set(path, row);
    this.#used.add(row);
    return row;
  }

  /** Waits, some milliseconds at most, until what was just written can be read so that its stamp can be trusted. */
  async settle(entries: readonly TreeEntry[]): Promise<void> {
    let newest = 0;
    for (const { stamp } of entries) newest = Math.max(newest, ctimeInMilliseconds(stamp));
    const wait = Math.floor(newest) + clockStep + 1 - Date.now();
    if (wait > 0 && wait <= clockStep + 1) await delay(wait);
  }

  /** Replaces the index file as a whole. Forgets files that are gone, save those that `keep` names. */
  save(keep: (path: string) => boolean): void {
    for (const [path, row] of this.#known) {
      if (this.#used.has(row) || keep(path)) continue;
      this.#known.delete(path);
      this.#changed = true;
    }
    if (this.#changed) replaceFile(this.#file, this.#encode());
  }

  #isStamp(row: number, stamp: Stamp): boolean {
    const later = this.#stamps[row - this.#kept];
    if (later !== undefined) return sameStamp(later, stamp);
    const { sizes, inodes, times } = this.#columns;
    const at = row * timesPerRow;
    return (
      sizes[row] === stamp.size &&
      times[at] === stamp.ctimeLow &&
      times[at + 1] === stamp.ctimeHigh &&
      times[at + 2] === stamp.mtimeLow &&
      times[at + 3] === stamp.mtimeHigh &&
      inodes[row] === stamp.ino
    );
  }

  /** One line that says how much follows and what it hashes to, the columns, and a text of the rest. */
  #encode(): Buffer {
    const rows = this.#known.size;
    const numbers = new Float64Array(rows * 2);
    const times = new Int32Array(rows * timesPerRow);
    const digests = Buffer.allocUnsafe(rows * digestSize);
    const paths: string[] = [];
    const extras: ContentExtras[] = [];
    for (const [path, row] of this.#known) {
      const to = paths.push(path) - 1;
      const later = this.#stamps[row - this.#kept];
      numbers[to] = later?.size ?? this.#columns.sizes[row] ?? 0;
      numbers[rows + to] = later?.ino ?? this.#columns.inodes[row] ?? 0;
      if (later === undefined) {
        times.set(this.#columns.times.subarray(row * timesPerRow, (row + 1) * timesPerRow), to * timesPerRow);
      } else {
        times.set([later.ctimeLow, later.ctimeHigh, later.mtimeLow, later.mtimeHigh], to * timesPerRow);
      }
      digests.set(this.table.digest(row), to * digestSize);
      const extra = this.table.extras(row);
      if (extra !== null) extras.push([to, ...extra]);
    }
    const text = Buffer.from(`${JSON.stringify(extras)}\0${paths.join("\0")}`);
    const body = Buffer.concat([Buffer.from(numbers.buffer), Buffer.from(times.buffer), digests, text]);
    const head = JSON.stringify({ format, place: this.#place, rows, sha256: hash("sha256", body) });
    return Buffer.concat([Buffer.from(`${head}\n`), body]);
  }
}

/** Where the index of a root is unless a request says otherwise. */
export function defaultIndexFile(root: string): string {
  return join(userCacheFolder(), "scan", hash("sha256", root).slice(0, 32));
}

interface Kept {
  readonly table: ContentTable;
  readonly known: Map<string, number>;
  readonly columns: Columns;
}

function nothingKept(): Kept {
  const columns = { sizes: new Float64Array(), inodes: new Float64Array(), times: new Int32Array() };
  return { table: new ContentTable(), known: new Map(), columns };
}

function read(file: string, place: string): Kept | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch {
    return null; // The index may be missing or unreadable: it only saves time.
  }
  const end = bytes.indexOf(10);
  const body = bytes.subarray(end + 1);
  let rows: number;
  try {
    const head = JSON.parse(bytes.toString("utf8", 0, Math.max(end, 0))) as Record<string, unknown>;
    if (head.format !== format || head.place !== place || head.sha256 !== hash("sha256", body)) return null;
    rows = head.rows as number;
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
  const columns = {
    sizes: new Float64Array(take(rows * 8)),
    inodes: new Float64Array(take(rows * 8)),
    times: new Int32Array(take(rows * timesPerRow * 4)),
  };
  const digests = new DigestTable(Buffer.from(take(rows * digestSize)));
  const [extras = "[]", ...paths] = body.toString("utf8", at).split("\0");
  const known = new Map<string, number>();
  if (rows > 0) for (const [row, path] of paths.entries()) known.set(path, row);
  return { table: new ContentTable(digests, JSON.parse(extras) as ContentExtras[]), known, columns };
}
