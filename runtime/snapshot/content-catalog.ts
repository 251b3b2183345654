import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { replaceFile } from "./cache-files";
import type { Manifest } from "./manifest-file";
import type { FrameRecord, PackRecord, PartRecord } from "./manifest-records";

/** Grows whenever an older catalog would be read wrongly. */
const format = 1;

/** A file's content and where it is, its frames numbered as in the catalog. */
export interface CatalogFile {
  readonly sha256: string;
  readonly parts: readonly PartRecord[];
}

/**
 * All content that some manifests name, each place once, in the order of the manifests. Kept beside the stat index, so
 * that a pack reads only manifests that are new. It is a cache: without it every manifest is read.
 */
export class ContentCatalog {
  readonly digests: string[] = [];
  readonly packs: PackRecord[] = [];
  readonly frames: FrameRecord[] = [];
  readonly files: CatalogFile[] = [];
  readonly #packNumbers = new Map<string, number>();
  readonly #frameNumbers = new Map<string, number>();
  readonly #places = new Map<string, string>();

  add(digest: string, manifest: Manifest): void {
    this.digests.push(digest);
    const packs = manifest.packs.map((pack) => this.#pack(pack));
    const frames = manifest.frames.map((frame) => this.#frame({ ...frame, pack: packs[frame.pack] ?? -1 }));
    for (const entry of manifest.entries) {
      if (entry.type !== "file") continue;
      const parts = entry.parts.map(([frame, offset, length]): PartRecord => [frames[frame] ?? -1, offset, length]);
      this.#file({ sha256: entry.sha256, parts });
    }
  }

  /** The catalog that was kept in a file, if it is of this store and of manifests that come first in `present`. */
  static read(file: string, location: string, present: readonly string[]): ContentCatalog {
    const catalog = new ContentCatalog();
    const kept = readKept(file, location);
    if (kept === null || kept.digests.some((digest, position) => present[position] !== digest)) return catalog;
    catalog.digests.push(...kept.digests);
    for (const pack of kept.packs) catalog.#pack(pack);
    for (const frame of kept.frames) catalog.#frame(frame);
    for (const content of kept.files) catalog.#file(content);
    return catalog;
  }

  /** Keeps the catalog for the next pack. Throws where that cannot be written. */
  keep(file: string, location: string): void {
    const { digests, packs, frames, files } = this;
    const body = JSON.stringify({ location, digests, packs, frames, files });
    replaceFile(file, `${JSON.stringify({ format, sha256: hash("sha256", body) })}\n${body}`);
  }

  #pack(pack: PackRecord): number {
    return numbered(this.#packNumbers, `${pack.sha256}:${pack.size}`, this.packs, pack);
  }

  #frame(frame: FrameRecord): number {
    return numbered(this.#frameNumbers, `${frame.pack}:${frame.offset}`, this.frames, frame);
  }

  #file(file: CatalogFile): void {
    const place = JSON.stringify(file.parts);
    // The same content elsewhere is kept too: the first place may be gone.
    if (this.#places.get(file.sha256) === place) return;
    this.#places.set(file.sha256, place);
    this.files.push(file);
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
  readonly location: string;
  readonly digests: readonly string[];
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly files: readonly CatalogFile[];
}

function readKept(file: string, location: string): Kept | null {
  try {
    const text = readFileSync(file, "utf8");
    const end = text.indexOf("\n");
    const head = JSON.parse(text.slice(0, end)) as { format?: unknown; sha256?: unknown };
    const body = text.slice(end + 1);
    if (head.format !== format || head.sha256 !== hash("sha256", body)) return null;
    const kept = JSON.parse(body) as Kept;
    return kept.location === location ? kept : null;
  } catch {
    return null; // Missing or damaged: it only saves time.
  }
}
