import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { replaceFile } from "./cache-files";
import { DigestTable, digestSize } from "./digest-table";
import type { FrameRecord, ManifestEntry, PackRecord } from "./manifest-records";

/** Grows whenever an older catalog would be read wrongly. */
const format = 2;

/** What a catalog takes from a manifest. */
export interface CataloguedManifest {
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly entries: Iterable<ManifestEntry>;
}

/**
 * All content that some manifests name, each place once, in the order of the manifests. Kept beside the stat index, so
 * that a pack reads only manifests that are new. It is a cache: without it every manifest is read.
 */
export class ContentCatalog {
  readonly digests: string[] = [];
  readonly packs: PackRecord[] = [];
  readonly frames: FrameRecord[] = [];
  /** Contents of files by their SHA-256; one that is in several places has several rows. */
  contents = new DigestTable();
  /** Number of frame, offset in its plain content and bytes of each part of each row. */
  #parts: number[] = [];
  /** Where a row's parts begin among those numbers; they end where the next row's begin. */
  #starts: number[] = [];
  readonly #packNumbers = new Map<string, number>();
  readonly #frameNumbers = new Map<string, number>();

  add(digest: string, manifest: CataloguedManifest): void {
    this.digests.push(digest);
    const packs = manifest.packs.map((pack) => this.#pack(pack));
    const frames = manifest.frames.map((frame) => this.#frame({ ...frame, pack: packs[frame.pack] ?? -1 }));
    for (const entry of manifest.entries) {
      if (entry.type !== "file") continue;
      const parts = entry.parts.flatMap(([frame, offset, length]) => [frames[frame] ?? -1, offset, length]);
      const sha256 = Buffer.from(entry.sha256, "hex");
      // The same content elsewhere is kept too: the first place may be gone.
      if (this.contents.find(sha256, (row) => this.#isAt(row, parts)) >= 0) continue;
      this.contents.add(sha256);
      this.#starts.push(this.#parts.length);
      this.#parts.push(...parts);
    }
  }

  /** Calls back with each part of a row: number of the frame, offset in its plain content, bytes. */
  eachPart(row: number, call: (frame: number, offset: number, length: number) => void): void {
    const end = this.#starts[row + 1] ?? this.#parts.length;
    for (let at = this.#starts[row] ?? end; at < end; at += 3) {
      call(this.#parts[at] ?? -1, this.#parts[at + 1] ?? 0, this.#parts[at + 2] ?? 0);
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
    catalog.#starts = Array.from(kept.starts);
    catalog.#parts = Array.from(kept.parts);
    return catalog;
  }

  /** Keeps the catalog for the next pack. Throws where that cannot be written. */
  keep(file: string, location: string): void {
    const { digests, packs, frames } = this;
    const head = Buffer.from(JSON.stringify({ location, digests, packs, frames }));
    const numbers = Int32Array.from([...this.#starts, ...this.#parts]);
    const body = Buffer.concat([head, this.contents.bytes, Buffer.from(numbers.buffer)]);
    const first = { format, sha256: hash("sha256", body), head: head.length, rows: this.contents.count };
    replaceFile(file, Buffer.concat([Buffer.from(`${JSON.stringify(first)}\n`), body]));
  }

  #pack(pack: PackRecord): number {
    return numbered(this.#packNumbers, `${pack.sha256}:${pack.size}`, this.packs, pack);
  }

  #frame(frame: FrameRecord): number {
    return numbered(this.#frameNumbers, `${frame.pack}:${frame.offset}`, this.frames, frame);
  }

  #isAt(row: number, parts: readonly number[]): boolean {
    const start = this.#starts[row] ?? 0;
    const end = this.#starts[row + 1] ?? this.#parts.length;
    return end - start === parts.length && parts.every((number, at) => this.#parts[start + at] === number);
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
