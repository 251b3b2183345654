import { setImmediate } from "node:timers/promises";
import type { ObjectStore } from "../store";
import { type CataloguedContent, ContentCatalog } from "./content-catalog";
import { readManifestContents } from "./manifest-file";
import type { Frame, Part } from "./pack-writer";
import type { StoredManifest } from "./retention";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

/** Content that a store has, as its manifests say. */
export class KnownContent {
  /** Packs of the store that may be used: hash → bytes. */
  readonly packs: ReadonlyMap<string, number>;
  /** Manifests of the store, the oldest first. */
  readonly manifests: readonly StoredManifest[];
  readonly #catalog: ContentCatalog;
  /** By their number in the catalog; undefined where the pack is gone. */
  readonly #frames: readonly (Frame | undefined)[];
  readonly #hasAllFrames: boolean;
  readonly #frameOf = new Map<string, Frame>();
  #largeSizes: ReadonlySet<number> | undefined;
  /** Digests of the manifests in the store that the catalog knows all of, or null where it cannot be continued. */
  readonly #keep: ((catalog: ContentCatalog) => void) | null;

  private constructor(
    catalog: ContentCatalog,
    packs: ReadonlyMap<string, number>,
    manifests: readonly StoredManifest[],
    keep: ((catalog: ContentCatalog) => void) | null,
  ) {
    this.packs = packs;
    this.manifests = manifests;
    this.#catalog = catalog;
    this.#keep = keep;
    this.#frames = catalog.frames.map(({ pack: number, offset, length, size, sha256 }) => {
      const pack = catalog.packs[number];
      if (pack === undefined || packs.get(pack.sha256) !== pack.size) return undefined;
      const frame: Frame = { pack: pack.sha256, offset, length, size, sha256 };
      if (!this.#frameOf.has(sha256)) this.#frameOf.set(sha256, frame);
      return frame;
    });
    this.#hasAllFrames = !this.#frames.includes(undefined);
  }

  /**
   * Takes the manifests oldest first: content that is in several packs is then found in the same one each time. Packs in `marked`,
   * missing ones and ones of a wrong size do not exist. `catalogFile` is where the catalog is kept. `report` gets to know of damaged
   * manifests, which are passed over.
   */
  static async load(
    store: ObjectStore,
    marked: ReadonlySet<string>,
    catalogFile: string,
    report: (problem: string) => void,
  ): Promise<KnownContent> {
    const packs = new Map<string, number>();
    for await (const { key, size } of store.list("packs/")) {
      const name = key.slice(key.lastIndexOf("/") + 1);
      if (!marked.has(name)) packs.set(name, size);
    }
    const manifests = await manifestsOf(store);
    const present = manifests.map(({ digest }) => digest);
    const catalog = ContentCatalog.read(catalogFile, store.location, present);
    await setImmediate(); // Threads may wait for this one meanwhile.
    const known = catalog.digests.length;
    for (const digest of present.slice(known)) {
      try {
        await readManifestContents(store, digest, (content, sizeOf) => catalog.add(content, sizeOf));
        catalog.digests.push(digest);
      } catch (error) {
        if (!(error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError)) throw error;
        report(`passed over: ${error.message}`);
      }
    }
    const keep = () => {
      try {
        catalog.keep(catalogFile, store.location);
      } catch (error) {
        report(`what the store holds could not be noted for the next pack: ${(error as Error).message}`);
      }
    };
    if (catalog.digests.length > known) keep();
    // With a damaged manifest among them, one that is added is not the one after those that the catalog knows.
    return new KnownContent(catalog, packs, manifests, catalog.digests.length === present.length ? keep : null);
  }

  /** True where the store has a file's content. */
  has(sha256: Uint8Array): boolean {
    return this.#find(sha256) >= 0;
  }

  /** True where the store has a content of so many bytes that is in several frames. */
  hasLarge(size: number): boolean {
    this.#largeSizes ??= new Set(this.#sizesOfLarge());
    return this.#largeSizes.has(size);
  }

  /** Where a file's content is, by the 32 bytes of its SHA-256. */
  file(sha256: Uint8Array): readonly Part[] | undefined {
    const row = this.#find(sha256);
    if (row < 0) return undefined;
    const parts: Part[] = [];
    this.#catalog.eachPart(row, (number, offset, length) => {
      const frame = this.#frames[number];
      if (frame !== undefined) parts.push({ frame, offset, length });
    });
    return parts;
  }

  /** The frame with this SHA-256. */
  frame(sha256: string): Frame | undefined {
    return this.#frameOf.get(sha256);
  }

  /**
   * Notes the content of a manifest that was just written, so that the next pack need not read it. Only as the last of all. `sizeOf`
   * gives the bytes of a pack.
   */
  remember(digest: string, contents: Iterable<CataloguedContent>, sizeOf: (pack: string) => number): void {
    if (this.#keep === null || this.#catalog.digests.includes(digest)) return;
    for (const content of contents) this.#catalog.add(content, sizeOf);
    this.#catalog.digests.push(digest);
    this.#keep(this.#catalog);
  }

  *#sizesOfLarge(): Generator<number> {
    for (let row = 0; row < this.#catalog.contents.count; row++) {
      let [parts, size] = [0, 0];
      this.#catalog.eachPart(row, (_, __, length) => {
        parts += 1;
        size += length;
      });
      if (parts > 1) yield size;
    }
  }

  #find(sha256: Uint8Array): number {
    if (this.#hasAllFrames) return this.#catalog.contents.find(sha256);
    return this.#catalog.contents.find(sha256, (row) => {
      let whole = true;
      this.#catalog.eachPart(row, (number) => {
        if (this.#frames[number] === undefined) whole = false;
      });
      return whole;
    });
  }
}

async function manifestsOf(store: ObjectStore): Promise<readonly StoredManifest[]> {
  const manifests: StoredManifest[] = [];
  for await (const { key, size, storedAt } of store.list("snapshots/")) {
    manifests.push({ digest: key.slice(key.lastIndexOf("/") + 1), size, storedAt });
  }
  return manifests.sort((a, b) => a.storedAt.getTime() - b.storedAt.getTime() || (a.digest < b.digest ? -1 : 1));
}
