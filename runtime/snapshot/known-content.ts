import type { ObjectStore } from "../store";
import { ContentCatalog } from "./content-catalog";
import { readManifest } from "./manifest-file";
import type { Frame, Part } from "./pack-writer";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

/** Content that a store has, as its manifests say. */
export class KnownContent {
  /** Packs of the store that may be used: hash → bytes. */
  readonly packs: ReadonlyMap<string, number>;
  readonly #files = new Map<string, readonly Part[]>();
  readonly #chunks = new Map<string, Frame>();

  private constructor(catalog: ContentCatalog, packs: ReadonlyMap<string, number>) {
    this.packs = packs;
    const frames = catalog.frames.map(({ pack: number, offset, length, size, sha256 }) => {
      const pack = catalog.packs[number];
      if (pack === undefined || packs.get(pack.sha256) !== pack.size) return undefined;
      const frame: Frame = { pack: pack.sha256, offset, length, size, sha256 };
      if (!this.#chunks.has(sha256)) this.#chunks.set(sha256, frame);
      return frame;
    });
    for (const file of catalog.files) {
      if (this.#files.has(file.sha256)) continue;
      const parts = file.parts.flatMap(([number, offset, length]): Part[] => {
        const frame = frames[number];
        return frame === undefined ? [] : [{ frame, offset, length }];
      });
      if (parts.length === file.parts.length) this.#files.set(file.sha256, parts);
    }
  }

  /**
   * Takes the manifests oldest first: content that is in several packs is then found in the same one each time, and a
   * tree that is packed again gives the same manifest. Packs in `marked`, missing ones and ones of a wrong size do not exist.
   * `catalogFile` is where the catalog is kept. `report` gets to know of damaged manifests, which are passed over.
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
    return new KnownContent(await catalogOf(store, catalogFile, report), packs);
  }

  /** Where a file's content is, by its SHA-256. */
  file(sha256: string): readonly Part[] | undefined {
    return this.#files.get(sha256);
  }

  /** The frame with this plain content, by its SHA-256. */
  chunk(sha256: string): Frame | undefined {
    return this.#chunks.get(sha256);
  }
}

async function catalogOf(store: ObjectStore, file: string, report: (problem: string) => void): Promise<ContentCatalog> {
  const manifests: { digest: string; at: number }[] = [];
  for await (const { key, storedAt } of store.list("snapshots/")) {
    manifests.push({ digest: key.slice(key.lastIndexOf("/") + 1), at: storedAt.getTime() });
  }
  manifests.sort((a, b) => a.at - b.at || (a.digest < b.digest ? -1 : 1));
  const present = manifests.map(({ digest }) => digest);
  const catalog = ContentCatalog.read(file, store.location, present);
  const known = catalog.digests.length;
  for (const digest of present.slice(known)) {
    try {
      catalog.add(digest, await readManifest(store, digest));
    } catch (error) {
      if (!(error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError)) throw error;
      report(`its content is not used: ${error.message}`);
    }
  }
  if (catalog.digests.length === known) return catalog;
  try {
    catalog.keep(file, store.location);
  } catch (error) {
    report(`what the store holds could not be noted for the next pack: ${(error as Error).message}`);
  }
  return catalog;
}
