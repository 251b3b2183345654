import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ObjectStore } from "../store";
import { hashOf, replaceFile } from "./cache-files";
import { DigestTable, digestSize } from "./digest-table";
import { type EntryView, viewOf } from "./entry-view";
import { freeMemory } from "./free-memory";
import { ManifestReading } from "./manifest-reading";
import type { FrameRecord, PackRecord } from "./manifest-records";
import type { PackedEntries } from "./packed-entries";
import { compareBytes } from "./paths";

/** Grows whenever an older file would be read wrongly. */
const format = 2;

/** Which manifest it is, and what it lists in the store. */
export interface BaseHead {
  readonly store: string;
  readonly digest: string;
  /** Bytes of the manifest in the store. */
  readonly size: number;
  readonly packs: readonly PackRecord[];
}

/**
 * What is not as the base says, in the order of paths: the number of an entry that differs or is new, or the path of one that is
 * not there any more.
 */
export type Change = number | string;

/** All that a manifest without a base says, in columns: so many small objects would take longer to read than a tree to walk. */
export class BaseEntries {
  readonly #head: BaseHead;
  readonly #columns: Columns;
  #frameNumbers: Map<string, number> | null = null;

  constructor(head: BaseHead, columns: Columns) {
    this.#head = head;
    this.#columns = columns;
  }

  get digest(): string {
    return this.#head.digest;
  }

  get size(): number {
    return this.#head.size;
  }

  get packs(): readonly PackRecord[] {
    return this.#head.packs;
  }

  /** Entries. */
  get count(): number {
    return this.#columns.paths.length;
  }

  /** Frames. */
  get frameCount(): number {
    return this.#columns.framePacks.length;
  }

  /** Number of the frame that begins in a pack at an offset, or undefined when the base does not list it. */
  frameAt(pack: string, offset: number): number | undefined {
    if (this.#frameNumbers === null) {
      const { framePacks, frameOffsets } = this.#columns;
      this.#frameNumbers = new Map();
      for (let number = 0; number < framePacks.length; number++) {
        const { sha256 } = this.#head.packs[framePacks[number] ?? -1] ?? {};
        this.#frameNumbers.set(`${sha256}:${frameOffsets[number]}`, number);
      }
    }
    return this.#frameNumbers.get(`${pack}:${offset}`);
  }

  /** How a tree differs from it. Everything is compared, so that no change means that the base says all of the tree. */
  changesTo(entries: PackedEntries): readonly Change[] {
    const { paths } = this.#columns;
    const changes: Change[] = [];
    let row = 0;
    for (let number = 0; number < entries.count; number++) {
      const path = entries.path(number);
      let known = paths[row];
      while (known !== undefined && known !== path && compareBytes(known, path) < 0) {
        changes.push(known);
        row += 1;
        known = paths[row];
      }
      if (known !== path) changes.push(number);
      else if (!this.#columns.isSame(row++, entries.at(number))) changes.push(number);
    }
    changes.push(...paths.slice(row));
    return changes;
  }

  /** Keeps it for the next pack. Throws where that cannot be written. */
  keep(file: string): void {
    writeColumns(file, this.#head, this.#columns.encode());
  }

  /** What a file holds, where that is the manifest with this digest in this store. */
  static read(file: string, store: string, digest: string): BaseEntries | null {
    try {
      const bytes = readFileSync(file);
      const end = bytes.indexOf(10) + 1;
      const first = JSON.parse(bytes.toString("utf8", 0, end)) as Record<string, unknown>;
      if (first.format !== format) return null;
      const start = end + (first.head as number);
      const [text, body] = [bytes.subarray(end, start), bytes.subarray(start)];
      if (first.sha256 !== hash("sha256", bytes.subarray(end))) return null;
      const head = JSON.parse(text.toString("utf8")) as BaseHead & ColumnSizes;
      if (head.store !== store || head.digest !== digest) return null;
      return new BaseEntries(head, Columns.decode(body, head));
    } catch {
      return null; // Missing or damaged: it only saves time.
    }
  }

  /** Of a manifest without a base, or null where it has one. Throws as `readManifest` does. */
  static async fetch(store: ObjectStore, digest: string, size: number): Promise<BaseEntries | null> {
    const packs: PackRecord[] = [];
    const columns = new ColumnsToFill();
    let hasBase = false;
    await new ManifestReading(store, digest).each((record) => {
      if (record.type === "base" || record.type === "removed") hasBase = true;
      else if (record.type === "pack") packs.push(record);
      else if (record.type === "frame") columns.addFrame(record);
      else columns.add(viewOf(record));
      return !hasBase;
    });
    return hasBase ? null : new BaseEntries({ store: store.location, digest, size, packs }, columns.filled());
  }
}

/** What was packed, as the base of later manifests: kept from where it lies, since it is as much as the tree itself. */
export class PackedBase {
  readonly #head: BaseHead;
  readonly #frames: readonly FrameRecord[];
  readonly #entries: PackedEntries;

  /** `frames`: of a manifest without a base that says all of the entries. */
  constructor(head: BaseHead, frames: readonly FrameRecord[], entries: PackedEntries) {
    this.#head = head;
    this.#frames = frames;
    this.#entries = entries;
  }

  get digest(): string {
    return this.#head.digest;
  }

  /** As {@link BaseEntries.keep} does. */
  keep(file: string): void {
    const entries = this.#entries;
    const rows = entries.count;
    const kinds = new Uint16Array(rows);
    const sizes = new Float64Array(rows);
    const mtimes = new BigInt64Array(rows);
    const digests = Buffer.allocUnsafeSlow(rows * digestSize);
    const extras: [row: number, extra: string][] = [];
    for (let row = 0; row < rows; row++) {
      const view = entries.at(row);
      kinds[row] = view.kind;
      sizes[row] = view.size;
      mtimes[row] = view.mtime;
      view.digests.copy(digests, row * digestSize, view.digestAt, view.digestAt + digestSize);
      if (view.extra !== "") extras.push([row, view.extra]);
    }
    const framePacks = Uint32Array.from(this.#frames, ({ pack }) => pack);
    const frameOffsets = Float64Array.from(this.#frames, ({ offset }) => offset);
    const columns = { kinds, sizes, mtimes, digests, extras, framePacks, frameOffsets, paths: entries.text };
    writeColumns(file, this.#head, columns);
    for (const memory of [kinds, sizes, mtimes, digests]) freeMemory(memory);
  }
}

/** Columns as a file has them. */
interface EncodedColumns {
  readonly kinds: Uint16Array;
  readonly sizes: Float64Array;
  readonly mtimes: BigInt64Array;
  readonly digests: Buffer;
  readonly extras: readonly (readonly [row: number, extra: string])[];
  readonly framePacks: Uint32Array;
  readonly frameOffsets: Float64Array;
  /** Joined by NUL. */
  readonly paths: Buffer;
}

function writeColumns(file: string, base: BaseHead, columns: EncodedColumns): void {
  const { kinds, sizes, mtimes, frameOffsets, framePacks, digests, extras, paths } = columns;
  const lengths: ColumnSizes = { rows: kinds.length, frames: framePacks.length };
  const head = Buffer.from(JSON.stringify({ ...base, ...lengths }));
  const numbers = [sizes, mtimes, frameOffsets, framePacks, kinds];
  const bytes = numbers.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength));
  const body = [head, ...bytes, digests, Buffer.from(`${JSON.stringify(extras)}\0`), paths];
  const first = { format, sha256: hashOf(body), head: head.length };
  replaceFile(file, [Buffer.from(`${JSON.stringify(first)}\n`), ...body]);
}

interface ColumnSizes {
  readonly rows: number;
  readonly frames: number;
}

/** Fills columns row by row, in the order of paths. */
class ColumnsToFill {
  readonly #paths: string[] = [];
  readonly #digests = new DigestTable();
  readonly #extras: [row: number, extra: string][] = [];
  readonly #framePacks: number[] = [];
  readonly #frameOffsets: number[] = [];
  #kinds = new Uint16Array(1024);
  #sizes = new Float64Array(1024);
  #mtimes = new BigInt64Array(1024);

  add({ path, kind, mtime, size, digests, digestAt, extra }: EntryView): void {
    const row = this.#paths.push(path) - 1;
    if (row === this.#kinds.length) this.#widen();
    this.#kinds[row] = kind;
    this.#sizes[row] = size;
    this.#mtimes[row] = mtime;
    this.#digests.add(digests.subarray(digestAt, digestAt + digestSize));
    if (extra !== "") this.#extras.push([row, extra]);
  }

  addFrame({ pack, offset }: Pick<FrameRecord, "pack" | "offset">): void {
    this.#framePacks.push(pack);
    this.#frameOffsets.push(offset);
  }

  filled(): Columns {
    const rows = this.#paths.length;
    return new Columns(
      this.#paths,
      this.#kinds.subarray(0, rows),
      this.#sizes.subarray(0, rows),
      this.#mtimes.subarray(0, rows),
      this.#digests.bytes,
      new Map(this.#extras),
      Uint32Array.from(this.#framePacks),
      Float64Array.from(this.#frameOffsets),
    );
  }

  #widen(): void {
    const size = this.#kinds.length * 2;
    const { ...before } = { kinds: this.#kinds, sizes: this.#sizes, mtimes: this.#mtimes };
    this.#kinds = new Uint16Array(size);
    this.#sizes = new Float64Array(size);
    this.#mtimes = new BigInt64Array(size);
    this.#kinds.set(before.kinds);
    this.#sizes.set(before.sizes);
    this.#mtimes.set(before.mtimes);
  }
}

class Columns {
  constructor(
    readonly paths: readonly string[],
    private readonly kinds: Uint16Array,
    private readonly sizes: Float64Array,
    private readonly mtimes: BigInt64Array,
    private readonly digests: Buffer,
    private readonly extras: ReadonlyMap<number, string>,
    readonly framePacks: Uint32Array,
    readonly frameOffsets: Float64Array,
  ) {}

  isSame(row: number, { kind, size, mtime, digests, digestAt, extra }: EntryView): boolean {
    const at = row * digestSize;
    return (
      this.kinds[row] === kind &&
      this.sizes[row] === size &&
      this.mtimes[row] === mtime &&
      this.digests.compare(digests, digestAt, digestAt + digestSize, at, at + digestSize) === 0 &&
      (this.extras.get(row) ?? "") === extra
    );
  }

  encode(): EncodedColumns {
    const { kinds, sizes, mtimes, digests, framePacks, frameOffsets } = this;
    const paths = Buffer.from(this.paths.join("\0"));
    return { kinds, sizes, mtimes, digests, extras: [...this.extras], framePacks, frameOffsets, paths };
  }

  static decode(body: Buffer, { rows, frames }: ColumnSizes): Columns {
    let at = 0;
    // Copied: where a number lies has to be a multiple of its size.
    const take = (length: number) => {
      const start = body.byteOffset + at;
      at += length;
      return body.buffer.slice(start, start + length) as ArrayBuffer;
    };
    const sizes = new Float64Array(take(rows * 8));
    const mtimes = new BigInt64Array(take(rows * 8));
    const frameOffsets = new Float64Array(take(frames * 8));
    const framePacks = new Uint32Array(take(frames * 4));
    const kinds = new Uint16Array(take(rows * 2));
    const digests = Buffer.from(body.subarray(at, at + rows * digestSize));
    const [extras = "[]", ...paths] = body.toString("utf8", at + rows * digestSize).split("\0");
    const known = new Map(JSON.parse(extras) as [number, string][]);
    return new Columns(rows === 0 ? [] : paths, kinds, sizes, mtimes, digests, known, framePacks, frameOffsets);
  }
}
