import { createHash } from "node:crypto";
import {
  at,
  doubles,
  flag,
  integers,
  longs,
  type NewEntry,
  recordSize,
  shorts,
  type TableData,
  type TablePlace,
  types,
} from "./entry-record";
import { EntryTableBuilder } from "./entry-table-builder";
import { freeMemory } from "./free-memory";
import { compareBytes } from "./paths";
import { ctimeOf, high, low, mtimeOf, type Stamp, sameStamp, type TreeEntry } from "./tree-entry";

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
  #fingerprint: string | undefined;
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
    if (this.#fingerprint === undefined) {
      const sizes = [this.records.length, this.text.length];
      const rest = JSON.stringify([sizes, this.targets]);
      this.#fingerprint = createHash("sha256").update(rest).update(this.records).update(this.text).digest("hex");
    }
    return this.#fingerprint;
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

  isLink(row: number): boolean {
    return (this.flags(row) & flag.type) === types.indexOf("link");
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

  /** Bytes of all files. */
  bytes(): number {
    let bytes = 0;
    for (let row = 0; row < this.length; row++) bytes += this.size(row);
    return bytes;
  }

  target(row: number): string {
    if (this.#links === undefined) {
      const links = new Map<number, string>();
      for (let next = 0; links.size < this.targets.length && next < this.length; next++) {
        if (this.isLink(next)) links.set(next, this.targets[links.size] ?? "");
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

  /** True where rows from one place to another are those of another table from a place on. */
  hasRowsOf(from: TablePlace, to: TablePlace, other: EntryTable, place: TablePlace): boolean {
    const [bytes, there] = [(to.row - from.row) * recordSize, place.row * recordSize];
    const end = place.text + to.text - from.text;
    if (there + bytes > other.records.length || end > other.text.length) return false;
    for (let link = from.link; link < to.link; link++) {
      if (this.targets[link] !== other.targets[place.link + link - from.link]) return false;
    }
    return (
      this.records.compare(other.records, there, there + bytes, from.row * recordSize, to.row * recordSize) === 0 &&
      this.text.compare(other.text, place.text, end, from.text, to.text) === 0
    );
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

  /** Frees its memory, instead of leaving it to the collector, which may wait long. It must not be used any more. */
  release(): void {
    for (const memory of [this.records, this.text]) freeMemory(memory);
  }

  private flags(row: number): number {
    return this.records[row * recordSize + at.flags] ?? 0;
  }
}
