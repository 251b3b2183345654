import {
  at,
  doubles,
  flag,
  longs,
  type NewEntry,
  recordSize,
  shorts,
  type TableData,
  type TablePlace,
  types,
} from "./entry-record";
import { freeMemory } from "./free-memory";

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
  addRows(
    { records, text, targets }: Pick<TableData, "records" | "text" | "targets">,
    from: TablePlace,
    to: TablePlace,
  ): void {
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

  /** The table, after which nothing can be added. */
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
    freeMemory(this.#text);
    this.#text = wider;
  }

  #grow(needed: number): void {
    // Frees what it was in, instead of leaving it to the collector.
    const wider = this.#records.transfer(Math.max(needed, this.#records.byteLength * 2));
    this.#records = wider;
    this.#doubles = new Float64Array(wider);
    this.#longs = new BigInt64Array(wider);
    this.#shorts = new Uint16Array(wider);
    this.#bytes = new Uint8Array(wider);
  }
}

/** The first bytes, in memory of their own; the rest is freed. */
function firstOf(memory: Uint8Array<ArrayBuffer>, bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(memory.length === bytes ? memory.buffer : memory.buffer.transfer(bytes));
}
