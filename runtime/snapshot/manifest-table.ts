import { digestSize } from "./digest-table";
import { isDerived, kindOf, modeOf, typeOf } from "./entry-view";
import { freeMemory } from "./free-memory";
import type { DirectoryRecord, FileRecord, LinkRecord, ManifestEntry, PartRecord } from "./manifest-records";
import { decodeDigest, type ScannedEntry } from "./manifest-scan";

/** What a manifest says of each row, save its path. */
interface Columns {
  /** As {@link kindOf} has them. */
  readonly kinds: Uint16Array;
  readonly sizes: Float64Array;
  /** Of a time: the seconds without a sign, and the nanoseconds after them, all their bits inverted where the time is negative. */
  readonly seconds: Float64Array;
  readonly nanoseconds: Int32Array;
  readonly digests: Buffer;
  /** Where a row's parts begin among those of all; they end where the next row's begin. */
  readonly starts: Uint32Array;
  /** Frame, offset and length of each part. */
  readonly parts: Uint32Array;
  /** Where a link leads; a file's identity where it names one. */
  readonly extras: ReadonlyMap<number, string>;
}

/** An entry of a snapshot: a record of a manifest, each field of which is made when it is asked for. */
export type SnapshotEntry = SnapshotFile | SnapshotDirectory | SnapshotLink;

class SnapshotRow {
  readonly path: string;
  protected readonly columns: Columns;
  protected readonly row: number;

  constructor(columns: Columns, row: number, path: string) {
    this.path = path;
    this.columns = columns;
    this.row = row;
  }

  /** Writes the 32 bytes of a file's hash; zeros for others. */
  copyDigest(to: Buffer, at: number): void {
    const from = this.row * digestSize;
    this.columns.digests.copy(to, at, from, from + digestSize);
  }

  get counts(): false | undefined {
    return isDerived(this.columns.kinds[this.row] ?? 0) ? false : undefined;
  }

  get mode(): string {
    return this.permissions.toString(8);
  }

  /** The mode as a number. */
  get permissions(): number {
    return modeOf(this.columns.kinds[this.row] ?? 0);
  }

  protected get extra(): string | undefined {
    return this.columns.extras.get(this.row);
  }
}

class SnapshotDirectory extends SnapshotRow implements DirectoryRecord {
  get type(): "directory" {
    return "directory";
  }
}

class SnapshotLink extends SnapshotRow implements LinkRecord {
  get type(): "link" {
    return "link";
  }

  get target(): string {
    return this.extra ?? "";
  }
}

export class SnapshotFile extends SnapshotRow implements FileRecord {
  get type(): "file" {
    return "file";
  }

  get mtime(): string {
    const [seconds, nanoseconds] = [this.columns.seconds[this.row] ?? 0, this.columns.nanoseconds[this.row] ?? 0];
    const fraction = `${nanoseconds < 0 ? ~nanoseconds : nanoseconds}`.padStart(9, "0");
    return `${nanoseconds < 0 ? "-" : ""}${seconds}.${fraction}`;
  }

  /** The same in milliseconds, to less than a microsecond. */
  get mtimeMs(): number {
    const [seconds, nanoseconds] = [this.columns.seconds[this.row] ?? 0, this.columns.nanoseconds[this.row] ?? 0];
    return nanoseconds < 0 ? -(seconds * 1000 + ~nanoseconds / 1e6) : seconds * 1000 + nanoseconds / 1e6;
  }

  get size(): number {
    return this.columns.sizes[this.row] ?? 0;
  }

  get sha256(): string {
    return this.columns.digests.toString("hex", this.row * digestSize, (this.row + 1) * digestSize);
  }

  /** Whether these are, from an offset on, the bytes of its hash. */
  hasDigest(digests: Uint8Array, at: number): boolean {
    const from = this.row * digestSize;
    for (let index = 0; index < digestSize; index++) {
      if (this.columns.digests[from + index] !== digests[at + index]) return false;
    }
    return true;
  }

  get identity(): string | undefined {
    return this.extra;
  }

  /** Calls back with each part, without making records of them. */
  eachPart(call: (frame: number, offset: number, length: number) => void): void {
    const { starts, parts } = this.columns;
    const end = starts[this.row + 1] ?? 0;
    for (let at = starts[this.row] ?? 0; at < end; at += 3)
      call(parts[at] ?? 0, parts[at + 1] ?? 0, parts[at + 2] ?? 0);
  }

  /** How many parts it has. */
  get partCount(): number {
    return ((this.columns.starts[this.row + 1] ?? 0) - (this.columns.starts[this.row] ?? 0)) / 3;
  }

  get parts(): readonly PartRecord[] {
    const found: PartRecord[] = [];
    this.eachPart((...part) => found.push(part));
    return found;
  }
}

/** Entries that a table is begun with room for at most, whatever is said of how many there will be. */
const mostRoom = 250_000;
/** Bytes of a path, and parts of a file, of which there are about so many. */
const usualPath = 100;
const usualParts = 1.2;

/**
 * Takes the entries of a manifest in the order of their paths, and keeps them in columns: a hundred thousand objects with what is in them would take
 * far longer to collect than to read, and five times the memory.
 */
export class ManifestTable {
  #rows = 0;
  #kinds: Uint16Array<ArrayBuffer>;
  #sizes: Float64Array<ArrayBuffer>;
  #seconds: Float64Array<ArrayBuffer>;
  #nanoseconds: Int32Array<ArrayBuffer>;
  #digests: Uint8Array<ArrayBuffer>;
  #starts: Uint32Array<ArrayBuffer>;
  #parts: Uint32Array<ArrayBuffer>;
  #partNumbers = 0;
  /** Paths, each with a NUL after it. */
  #text: Buffer<ArrayBuffer>;
  #textBytes = 0;
  readonly #extras = new Map<number, string>();

  /** `expected`: about how many entries there will be. */
  constructor(expected: number) {
    const rows = Math.max(256, Math.min(expected, mostRoom));
    this.#kinds = new Uint16Array(rows);
    this.#sizes = new Float64Array(rows);
    this.#seconds = new Float64Array(rows);
    this.#nanoseconds = new Int32Array(rows);
    this.#digests = new Uint8Array(rows * digestSize);
    this.#starts = new Uint32Array(rows + 1);
    this.#parts = new Uint32Array(Math.ceil(rows * usualParts) * 3);
    this.#text = Buffer.allocUnsafeSlow(rows * usualPath);
  }

  get count(): number {
    return this.#rows;
  }

  /** Where paths are, and where they end: the last one ends one byte before, with a NUL. Moves when there are more. */
  get text(): Buffer {
    return this.#text;
  }

  get textBytes(): number {
    return this.#textBytes;
  }

  addScanned(entry: ScannedEntry): void {
    const row = this.#begin();
    const { bytes, pathFrom, pathTo, isFile } = entry;
    const length = pathTo - pathFrom;
    this.#reserveText(length);
    for (let index = 0; index < length; index++) this.#text[this.#textBytes + index] = bytes[pathFrom + index] ?? 0;
    this.#endPath(length);
    this.#kinds[row] = kindOf(isFile ? "file" : "directory", entry.mode, entry.counts);
    if (isFile) {
      this.#sizes[row] = entry.size;
      this.#seconds[row] = entry.seconds;
      this.#nanoseconds[row] = entry.nanoseconds;
      decodeDigest(bytes, entry.digestAt, this.#digests, row * digestSize);
      if (entry.identityAt >= 0) {
        this.#extras.set(row, bytes.toString("latin1", entry.identityAt, entry.identityAt + digestSize * 2));
      }
      this.#reserveParts(entry.partNumbers);
      for (let index = 0; index < entry.partNumbers; index++) {
        this.#parts[this.#partNumbers + index] = entry.parts[index] ?? 0;
      }
      this.#partNumbers += entry.partNumbers;
    }
    this.#starts[row + 1] = this.#partNumbers;
  }

  add(entry: ManifestEntry): void {
    const row = this.#begin();
    // Three bytes at most for each unit of a text.
    this.#reserveText(entry.path.length * 3);
    this.#endPath(this.#text.write(entry.path, this.#textBytes));
    const mode = entry.type === "link" ? 0 : Number.parseInt(entry.mode, 8);
    this.#kinds[row] = kindOf(entry.type, mode, entry.counts !== false);
    if (entry.type === "link") this.#extras.set(row, entry.target);
    if (entry.type === "file") {
      const { mtime, parts } = entry;
      const isNegative = mtime.startsWith("-");
      const nanoseconds = Number(mtime.slice(-9));
      this.#sizes[row] = entry.size;
      this.#seconds[row] = Number(mtime.slice(isNegative ? 1 : 0, -10));
      this.#nanoseconds[row] = isNegative ? ~nanoseconds : nanoseconds;
      this.#digests.set(Buffer.from(entry.sha256, "hex"), row * digestSize);
      if (entry.identity !== undefined) this.#extras.set(row, entry.identity);
      this.#reserveParts(parts.length * 3);
      for (const part of parts) for (const number of part) this.#parts[this.#partNumbers++] = number;
    }
    this.#starts[row + 1] = this.#partNumbers;
  }

  /** Calls back with each frame that a part is in, once for each part. */
  eachFrame(call: (frame: number) => void): void {
    for (let at = 0; at < this.#partNumbers; at += 3) call(this.#parts[at] ?? 0);
  }

  /** Gives frames other numbers. */
  renumber(numbers: Uint32Array): void {
    for (let at = 0; at < this.#partNumbers; at += 3) this.#parts[at] = numbers[this.#parts[at] ?? 0] ?? 0;
  }

  /** What was added. Nothing can be added any more. */
  entries(): readonly SnapshotEntry[] {
    const columns: Columns = {
      kinds: this.#kinds,
      sizes: this.#sizes,
      seconds: this.#seconds,
      nanoseconds: this.#nanoseconds,
      digests: Buffer.from(this.#digests.buffer),
      starts: this.#starts,
      parts: this.#parts,
      extras: this.#extras,
    };
    // Names of all at once share their memory.
    const paths = this.#rows === 0 ? [] : this.#text.toString("utf8", 0, this.#textBytes - 1).split("\0");
    freeMemory(this.#text);
    return paths.map((path, row) => {
      const type = typeOf(columns.kinds[row] ?? 0);
      if (type === "file") return new SnapshotFile(columns, row, path);
      return type === "link" ? new SnapshotLink(columns, row, path) : new SnapshotDirectory(columns, row, path);
    });
  }

  #begin(): number {
    const row = this.#rows++;
    if (row === this.#kinds.length) this.#widen();
    return row;
  }

  #endPath(length: number): void {
    this.#textBytes += length;
    this.#text[this.#textBytes++] = 0;
  }

  /** Without the memory that it was in, which is freed at once. */
  #widen(): void {
    const rows = this.#kinds.length * 2;
    this.#kinds = new Uint16Array(this.#kinds.buffer.transfer(rows * 2));
    this.#sizes = new Float64Array(this.#sizes.buffer.transfer(rows * 8));
    this.#seconds = new Float64Array(this.#seconds.buffer.transfer(rows * 8));
    this.#nanoseconds = new Int32Array(this.#nanoseconds.buffer.transfer(rows * 4));
    this.#digests = new Uint8Array(this.#digests.buffer.transfer(rows * digestSize));
    this.#starts = new Uint32Array(this.#starts.buffer.transfer((rows + 1) * 4));
  }

  #reserveText(bytes: number): void {
    const needed = this.#textBytes + bytes + 1;
    if (needed <= this.#text.length) return;
    this.#text = Buffer.from(this.#text.buffer.transfer(Math.max(needed, this.#text.length * 2)));
  }

  #reserveParts(numbers: number): void {
    const needed = this.#partNumbers + numbers;
    if (needed <= this.#parts.length) return;
    this.#parts = new Uint32Array(this.#parts.buffer.transfer(Math.max(needed, this.#parts.length * 2) * 4));
  }
}
