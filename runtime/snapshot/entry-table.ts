import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { freeMemory } from "./free-memory";
import { compareBytes } from "./paths";
import { ctimeOf, high, low, mtimeOf, type Stamp, sameStamp, type TreeEntry } from "./tree-entry";

/** Bytes of an entry's record: size and inode, mtime and ctime in nanoseconds, 8 each; then mode and length of the path, 2 each; flags. */
export const recordSize = 40;
const [doubles, integers, shorts, longs] = [recordSize / 8, recordSize / 4, recordSize / 2, recordSize / 8];
/** Where things are in a record, in units of their own size. */
const at = { size: 0, ino: 1, mtime: 2, ctime: 3, mode: 16, pathBytes: 17, flags: 36 };

const types = ["file", "directory", "link"] as const satisfies readonly TreeEntry["type"][];
const flag = { type: 3, counts: 4, followed: 8, empty: 16 };

/** A table as it passes between threads and is kept in a file. */
export interface TableData {
  readonly count: number;
  /** {@link recordSize} bytes for each entry, at a multiple of 8 in their memory. */
  readonly records: Uint8Array<ArrayBuffer>;
  /** The paths in UTF-8, each ended by a NUL. */
  readonly text: Uint8Array<ArrayBuffer>;
  /** Where the links lead, in their order. */
  readonly targets: readonly string[];
}

/** What is to be noted of an entry. `found` is null for folders and links, whose stamps say nothing. */
export interface NewEntry extends Pick<TreeEntry, "path" | "type" | "target" | "counts" | "followed" | "empty"> {
  readonly mode: number;
  readonly found: Pick<BigIntStats, "size" | "ino" | "mtimeNs" | "ctimeNs"> | null;
}

export function newEntryOf({ stamp, ...entry }: TreeEntry): NewEntry {
  if (entry.type !== "file") return { ...entry, found: null };
  const found = { size: BigInt(stamp.size), ino: BigInt(stamp.ino), mtimeNs: mtimeOf(stamp), ctimeNs: ctimeOf(stamp) };
  return { ...entry, found };
}

/**
 * Entries of a tree, sorted by path, in a few buffers instead of an object each: a tree has hundreds of thousands. Objects are made
 * where they are asked for. Two tables of the same tree have the same bytes.
 */
export class EntryTable implements Iterable<TreeEntry> {
  readonly length: number;
  readonly records: Buffer<ArrayBuffer>;
  readonly text: Buffer<ArrayBuffer>;
  readonly targets: readonly string[];
  readonly #doubles: Float64Array;
  readonly #longs: BigInt64Array;
  readonly #integers: Int32Array;
  readonly #shorts: Uint16Array;
  #offsets: Int32Array | undefined;
  #paths: readonly string[] | undefined;
  #links: ReadonlyMap<number, string> | undefined;

  constructor({ count, records, text, targets }: TableData) {
    this.length = count;
    const { buffer, byteOffset, length } = records;
    this.records = Buffer.from(buffer, byteOffset, length);
    this.text = Buffer.from(text.buffer, text.byteOffset, text.length);
    this.targets = targets;
    this.#doubles = new Float64Array(buffer, byteOffset, length / 8);
    this.#longs = new BigInt64Array(buffer, byteOffset, length / 8);
    this.#integers = new Int32Array(buffer, byteOffset, length / 4);
    this.#shorts = new Uint16Array(buffer, byteOffset, length / 2);
  }

  static of(entries: Iterable<NewEntry>): EntryTable {
    const builder = new EntryTableBuilder();
    for (const entry of entries) builder.add(entry);
    return new EntryTable(builder.data());
  }

  /** True where everything is the same. */
  equals(other: EntryTable): boolean {
    return (
      this.length === other.length &&
      this.records.equals(other.records) &&
      this.text.equals(other.text) &&
      this.targets.length === other.targets.length &&
      this.targets.every((target, number) => target === other.targets[number])
    );
  }

  /** SHA-256 of all of it, 64 hex digits: tables are equal when theirs are. */
  fingerprint(): string {
    const sizes = [this.records.length, this.text.length];
    const rest = JSON.stringify([sizes, this.targets]);
    return createHash("sha256").update(rest).update(this.records).update(this.text).digest("hex");
  }

  /** All paths, in order. */
  get paths(): readonly string[] {
    this.#paths ??= this.length === 0 ? [] : this.text.toString("utf8", 0, this.text.length - 1).split("\0");
    return this.#paths;
  }

  path(row: number): string {
    const known = this.#paths?.[row];
    if (known !== undefined) return known;
    const offset = this.textOffset(row);
    return this.text.toString("utf8", offset, offset + this.pathBytes(row));
  }

  /** Where a row's path begins in {@link text}; for the number of rows, its end. */
  textOffset(row: number): number {
    if (this.#offsets === undefined) {
      this.#offsets = new Int32Array(this.length + 1);
      let end = 0;
      for (let next = 0; next < this.length; next++) {
        end += this.pathBytes(next) + 1;
        this.#offsets[next + 1] = end;
      }
    }
    return this.#offsets[row] ?? 0;
  }

  pathBytes(row: number): number {
    return this.#shorts[row * shorts + at.pathBytes] ?? 0;
  }

  type(row: number): TreeEntry["type"] {
    return types[this.flags(row) & flag.type] ?? "file";
  }

  isFile(row: number): boolean {
    return (this.flags(row) & flag.type) === 0;
  }

  counts(row: number): boolean {
    return (this.flags(row) & flag.counts) !== 0;
  }

  empty(row: number): boolean {
    return (this.flags(row) & flag.empty) !== 0;
  }

  mode(row: number): number {
    return this.#shorts[row * shorts + at.mode] ?? 0;
  }

  /** Bytes of a file. */
  size(row: number): number {
    return this.#doubles[row * doubles + at.size] ?? 0;
  }

  target(row: number): string {
    if (this.#links === undefined) {
      const links = new Map<number, string>();
      for (let next = 0; links.size < this.targets.length && next < this.length; next++) {
        if (this.type(next) === "link") links.set(next, this.targets[links.size] ?? "");
      }
      this.#links = links;
    }
    return this.#links.get(row) ?? "";
  }

  /** Nanoseconds since 1970. */
  mtime(row: number): bigint {
    return this.#longs[row * longs + at.mtime] ?? 0n;
  }

  /** Milliseconds since 1970, about. */
  ctime(row: number): number {
    const first = row * integers + at.ctime * 2;
    return ((this.#integers[first + high] ?? 0) * 2 ** 32 + ((this.#integers[first + low] ?? 0) >>> 0)) / 1e6;
  }

  stamp(row: number): Stamp {
    const [mtime, ctime] = [row * integers + at.mtime * 2, row * integers + at.ctime * 2];
    return {
      size: this.size(row),
      ino: this.#doubles[row * doubles + at.ino] ?? 0,
      mtimeHigh: this.#integers[mtime + high] ?? 0,
      mtimeLow: this.#integers[mtime + low] ?? 0,
      ctimeHigh: this.#integers[ctime + high] ?? 0,
      ctimeLow: this.#integers[ctime + low] ?? 0,
    };
  }

  hasStamp(row: number, stamp: Stamp): boolean {
    return sameStamp(this.stamp(row), stamp);
  }

  /** True where a row's stamp is that of a row of another table. */
  hasStampOf(row: number, other: EntryTable, otherRow: number): boolean {
    const [here, there] = [row * integers, otherRow * integers];
    for (let number = 0; number < at.mode / 2; number++) {
      if (this.#integers[here + number] !== other.#integers[there + number]) return false;
    }
    return true;
  }

  /** True where everything but the path and a link's target is that of a row of another table. */
  hasRecordOf(row: number, other: EntryTable, otherRow: number): boolean {
    const [here, there] = [row * recordSize, otherRow * recordSize];
    return this.records.compare(other.records, there, there + recordSize, here, here + recordSize) === 0;
  }

  entry(row: number): TreeEntry {
    const flags = this.flags(row);
    const type = this.type(row);
    return {
      path: this.path(row),
      type,
      mode: this.mode(row),
      stamp: this.stamp(row),
      target: type === "link" ? this.target(row) : "",
      counts: (flags & flag.counts) !== 0,
      followed: (flags & flag.followed) !== 0,
      empty: (flags & flag.empty) !== 0,
    };
  }

  *[Symbol.iterator](): Generator<TreeEntry> {
    // Names of all at once share their memory.
    void this.paths;
    for (let row = 0; row < this.length; row++) yield this.entry(row);
  }

  /** A table of the entries that are to stay. */
  filter(stays: (entry: TreeEntry) => boolean): EntryTable {
    const kept: NewEntry[] = [];
    for (const entry of this) if (stays(entry)) kept.push(newEntryOf(entry));
    return EntryTable.of(kept);
  }

  /** The first row whose path is not before this one. */
  lowerBound(path: string, from = 0): number {
    let [first, end] = [from, this.length];
    while (first < end) {
      const middle = (first + end) >>> 1;
      if (compareBytes(this.path(middle), path) < 0) first = middle + 1;
      else end = middle;
    }
    return first;
  }

  /** The row with this path, or -1. */
  rowOf(path: string): number {
    const row = this.lowerBound(path);
    return row < this.length && this.path(row) === path ? row : -1;
  }

  /** Frees its memory. It must not be used any more. */
  release(): void {
    release(dataOf(this));
  }

  private flags(row: number): number {
    return this.records[row * recordSize + at.flags] ?? 0;
  }
}

/** Builds a table out of entries in the order of their paths. */
export class EntryTableBuilder {
  #count = 0;
  #records: ArrayBuffer;
  #doubles: Float64Array;
  #longs: BigInt64Array;
  #shorts: Uint16Array;
  #bytes: Uint8Array<ArrayBuffer>;
  #text: Buffer<ArrayBuffer>;
  #textBytes = 0;
  readonly #targets: string[] = [];

  /** `room`: rows and bytes of text that are expected. With just those, nothing is copied in the end. */
  constructor(room: { readonly rows: number; readonly text: number } = { rows: 256, text: 16 * 1024 }) {
    this.#records = new ArrayBuffer(room.rows * recordSize);
    this.#doubles = new Float64Array(this.#records);
    this.#longs = new BigInt64Array(this.#records);
    this.#shorts = new Uint16Array(this.#records);
    this.#bytes = new Uint8Array(this.#records);
    this.#text = Buffer.allocUnsafeSlow(room.text);
  }

  /** Rows, bytes of text and links so far. */
  get place(): TablePlace {
    return { row: this.#count, text: this.#textBytes, link: this.#targets.length };
  }

  add({ path, type, mode, found, target, counts, followed, empty }: NewEntry): void {
    const row = this.#count;
    if ((row + 1) * recordSize > this.#records.byteLength) this.#grow((row + 1) * recordSize);
    if (found !== null) {
      this.#doubles[row * doubles + at.size] = Number(found.size);
      this.#doubles[row * doubles + at.ino] = Number(found.ino);
      this.#longs[row * longs + at.mtime] = found.mtimeNs;
      this.#longs[row * longs + at.ctime] = found.ctimeNs;
    }
    const pathBytes = this.#addText(path);
    this.#shorts[row * shorts + at.mode] = mode;
    this.#shorts[row * shorts + at.pathBytes] = pathBytes;
    this.#bytes[row * recordSize + at.flags] =
      types.indexOf(type) | (counts ? flag.counts : 0) | (followed ? flag.followed : 0) | (empty ? flag.empty : 0);
    if (type === "link") this.#targets.push(target);
    this.#count += 1;
  }

  /** Adds rows of another table, from one place in it to another. */
  addRows({ records, text, targets }: TableData, from: TablePlace, to: TablePlace): void {
    const bytes = (to.row - from.row) * recordSize;
    const end = this.#count * recordSize + bytes;
    if (end > this.#records.byteLength) this.#grow(end);
    this.#bytes.set(records.subarray(from.row * recordSize, from.row * recordSize + bytes), this.#count * recordSize);
    this.#reserve(to.text - from.text);
    this.#text.set(text.subarray(from.text, to.text), this.#textBytes);
    this.#textBytes += to.text - from.text;
    for (let link = from.link; link < to.link; link++) this.#targets.push(targets[link] ?? "");
    this.#count += to.row - from.row;
  }

  data(): TableData {
    return {
      count: this.#count,
      records: firstOf(this.#bytes, this.#count * recordSize),
      text: firstOf(this.#text, this.#textBytes),
      targets: this.#targets,
    };
  }

  #addText(path: string): number {
    // Three bytes at most for each unit of a text, and the NUL.
    this.#reserve(path.length * 3 + 1);
    const bytes = this.#text.write(path, this.#textBytes);
    this.#text[this.#textBytes + bytes] = 0;
    this.#textBytes += bytes + 1;
    return bytes;
  }

  #reserve(bytes: number): void {
    const needed = this.#textBytes + bytes;
    if (needed <= this.#text.length) return;
    const wider = Buffer.allocUnsafeSlow(Math.max(needed, this.#text.length * 2));
    this.#text.copy(wider, 0, 0, this.#textBytes);
    this.#text = wider;
  }

  #grow(needed: number): void {
    const wider = new ArrayBuffer(Math.max(needed, this.#records.byteLength * 2));
    new Uint8Array(wider).set(this.#bytes);
    this.#records = wider;
    this.#doubles = new Float64Array(wider);
    this.#longs = new BigInt64Array(wider);
    this.#shorts = new Uint16Array(wider);
    this.#bytes = new Uint8Array(wider);
  }
}

/** Frees the memory of a table that is not used any more, instead of leaving it to the collector, which may wait long. */
export function release({ records, text }: Pick<TableData, "records" | "text">): void {
  for (const memory of [records, text]) freeMemory(memory);
}

/** A place between two rows: how many rows, bytes of text and links are before it. */
export interface TablePlace {
  readonly row: number;
  readonly text: number;
  readonly link: number;
}

/** Joins tables none of whose paths are in another one, each sorted, into one that is. */
export function mergeTables(tables: readonly EntryTable[]): EntryTable {
  const sum = (sizeOf: (table: EntryTable) => number) => tables.reduce((total, table) => total + sizeOf(table), 0);
  const builder = new EntryTableBuilder({ rows: sum(({ length }) => length), text: sum(({ text }) => text.length) });
  const streams = tables
    .filter(({ length }) => length > 0)
    .map((table) => ({ table, place: start, path: table.path(0) }));
  for (;;) {
    streams.sort((a, b) => compareBytes(a.path, b.path));
    const [first, second] = streams;
    if (first === undefined) return new EntryTable(builder.data());
    const { table } = first;
    const row = second === undefined ? table.length : table.lowerBound(second.path, first.place.row);
    const place = placeOf(table, row, first.place);
    builder.addRows(dataOf(table), first.place, place);
    first.place = place;
    if (row === table.length) streams.shift();
    else first.path = table.path(row);
  }
}

const start: TablePlace = { row: 0, text: 0, link: 0 };

function placeOf(table: EntryTable, row: number, before: TablePlace): TablePlace {
  let { link } = before;
  if (row === table.length) link = table.targets.length;
  else for (let next = before.row; next < row; next++) if (table.type(next) === "link") link += 1;
  return { row, text: table.textOffset(row), link };
}

function dataOf({ length, records, text, targets }: EntryTable): TableData {
  return { count: length, records, text, targets };
}

/** The first bytes, in memory of their own. */
function firstOf(memory: Uint8Array<ArrayBuffer>, bytes: number): Uint8Array<ArrayBuffer> {
  return memory.length === bytes ? new Uint8Array(memory.buffer) : new Uint8Array(memory.buffer.slice(0, bytes));
}
