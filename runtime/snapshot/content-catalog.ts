import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hashOf, replaceFile } from "./cache-files";
import { DigestTable, digestSize } from "./digest-table";
import { freeMemory } from "./free-memory";
import type { FrameRecord, PackRecord } from "./manifest-records";
import type { Frame, Part } from "./pack-writer";

/** Grows whenever an older catalog would be read wrongly. */
const format = 4;

/** A file's content that a manifest names. */
export interface CataloguedContent {
  /** 32 bytes. */
  readonly sha256: Uint8Array;
  readonly parts: readonly Part[];
}

/**
 * All content that some manifests name, each place once, in the order of the manifests. Kept beside the stat index, so
 * that a pack reads only manifests that are new. It is a cache: without it every manifest is read.
 */
export class ContentCatalog {
  /** Of the manifests all of whose content was added, in that order. */
  readonly digests: string[] = [];
  readonly packs: PackRecord[] = [];
  readonly frames: FrameRecord[] = [];
  /** Contents of files by their SHA-256; one that is in several places has several rows. */
  contents = new DigestTable();
  /** Number of frame, offset in its plain content and bytes of each part of each row. */
  #parts = new Integers();
  /** Where a row's parts begin among those numbers; they end where the next row's begin. */
  #starts = new Integers();
  readonly #packNumbers = new Map<string, number>();
  readonly #frameNumbers = new Map<string, number>();
  /** The same of frames that were added by this run. */
  readonly #numbers = new WeakMap<Frame, number>();

  /** Adds a content that a manifest names. `sizeOf` gives the bytes of a pack. */
  add({ sha256, parts }: CataloguedContent, sizeOf: (pack: string) => number): void {
    const row: number[] = [];
    for (const { frame, offset, length } of parts) {
      let number = this.#numbers.get(frame);
      if (number === undefined) {
        number = this.#add(frame, sizeOf);
        this.#numbers.set(frame, number);
      }
      row.push(number, offset, length);
    }
    // The same content elsewhere is kept too: the first place may be gone.
    if (this.contents.find(sha256, (known) => this.#isAt(known, row)) >= 0) return;
    this.contents.add(sha256);
    this.#starts.push(this.#parts.length);
    for (const number of row) this.#parts.push(number);
  }

  /** Calls back with each part of a row: number of the frame, offset in its plain content, bytes. */
  eachPart(row: number, call: (frame: number, offset: number, length: number) => void): void {
    const end = this.#endOf(row);
    for (let at = this.#starts.at(row); at < end; at += 3) {
      call(this.#parts.at(at), this.#parts.at(at + 1), this.#parts.at(at + 2));
    }
  }

  /** The catalog that was kept in a file, if it is of this store and of manifests that come first in `present`. */
  static read(file: string, location: string, present: readonly string[]): ContentCatalog {
    const catalog = new ContentCatalog();
    const kept = readKept(file);
    if (kept === null || kept.head.location !== location) return catalog;
    if (kept.head.digests.some((digest, position) => present[position] !== digest)) return catalog;
    catalog.digests.push(...kept.head.digests);
    for (const pack of kept.head.packs) catalog.#pack(pack);
    for (const frame of kept.head.frames) catalog.#frame(frame);
    catalog.contents = new DigestTable(kept.contents);
    catalog.#starts = new Integers(kept.starts);
    catalog.#parts = new Integers(kept.parts);
    return catalog;
  }

  /** Keeps the catalog for the next pack. Throws where that cannot be written. */
  keep(file: string, location: string): void {
    const { digests, packs, frames } = this;
    const head = Buffer.from(JSON.stringify({ location, digests, packs, frames }));
    const body = [head, this.contents.bytes, this.#starts.bytes, this.#parts.bytes];
    const first = { format, sha256: hashOf(body), head: head.length, rows: this.contents.count };
    replaceFile(file, [Buffer.from(`${JSON.stringify(first)}\n`), ...body]);
  }

  #pack(pack: PackRecord): number {
    return numbered(this.#packNumbers, `${pack.sha256}:${pack.size}`, this.packs, pack);
  }

  #frame(frame: FrameRecord): number {
    return numbered(this.#frameNumbers, `${frame.pack}:${frame.offset}`, this.frames, frame);
  }

  #add({ pack, offset, length, size, sha256 }: Frame, sizeOf: (pack: string) => number): number {
    const number = this.#pack({ type: "pack", sha256: pack, size: sizeOf(pack) });
    return this.#frame({ type: "frame", pack: number, offset, length, size, sha256 });
  }

  #isAt(row: number, parts: readonly number[]): boolean {
    const start = this.#starts.at(row);
    return (
      this.#endOf(row) - start === parts.length && parts.every((number, at) => this.#parts.at(start + at) === number)
    );
  }

  #endOf(row: number): number {
    return row + 1 < this.#starts.length ? this.#starts.at(row + 1) : this.#parts.length;
  }
}

/** Integers of 32 bits, as many as come. */
class Integers {
  #values: Int32Array;
  /** Whether the memory is for these alone: what was read is for several. */
  #isOwn = false;
  length: number;

  constructor(values: Int32Array = new Int32Array()) {
    this.#values = values;
    this.length = values.length;
  }

  get bytes(): Buffer {
    return Buffer.from(this.#values.buffer, this.#values.byteOffset, this.length * 4);
  }

  at(position: number): number {
    return this.#values[position] ?? -1;
  }

  push(value: number): void {
    if (this.length === this.#values.length) {
      const wider = new Int32Array(Math.max(1024, this.length * 2));
      wider.set(this.#values);
      if (this.#isOwn) freeMemory(this.#values);
      this.#values = wider;
      this.#isOwn = true;
    }
    this.#values[this.length++] = value;
  }
}

function numbered<T>(numbers: Map<string, number>, key: string, list: T[], value: T): number {
  const known = numbers.get(key);
  if (known !== undefined) return known;
  numbers.set(key, list.length);
  list.push(value);
  return list.length - 1;
}

interface Kept {
  readonly head: {
    readonly location: string;
    readonly digests: readonly string[];
    readonly packs: readonly PackRecord[];
    readonly frames: readonly FrameRecord[];
  };
  readonly contents: Buffer;
  readonly starts: Int32Array;
  readonly parts: Int32Array;
}

function readKept(file: string): Kept | null {
  try {
    const bytes = readFileSync(file);
    const end = bytes.indexOf(10);
    const first = JSON.parse(bytes.toString("utf8", 0, end)) as Record<string, unknown>;
    const body = bytes.subarray(end + 1);
    if (first.format !== format || first.sha256 !== hash("sha256", body)) return null;
    const [length, rows] = [first.head as number, first.rows as number];
    const contents = Buffer.from(body.subarray(length, length + rows * digestSize));
    // Copied: where a number lies has to be a multiple of its size.
    const rest = new Uint8Array(body.subarray(length + rows * digestSize));
    const numbers = new Int32Array(rest.buffer);
    return {
      head: JSON.parse(body.toString("utf8", 0, length)) as Kept["head"],
      contents,
      starts: numbers.subarray(0, rows),
      parts: numbers.subarray(rows),
    };
  } catch {
    return null; // Missing or damaged: it only saves time.
  }
}
