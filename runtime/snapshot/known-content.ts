import type { ObjectStore } from "../store";
import { readManifest } from "./manifest-file";
import type { Frame, Part } from "./pack-writer";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

/** Content that a store has, as its manifests say. */
export class KnownContent {
  /** Packs of the store that may be used: hash → bytes. */
  readonly packs: ReadonlyMap<string, number>;
  readonly #files = new Map<string, readonly Part[]>();
  readonly #chunks = new Map<string, Frame>();
  readonly #frames = new Map<string, Frame>();

  private constructor(packs: ReadonlyMap<string, number>) {
    this.packs = packs;
  }

  /**
   * Reads every manifest, the oldest first: content that is in several packs is then found in the same one each time, and a
   * tree that is packed again gives the same manifest. Packs in `marked`, missing ones and ones of a wrong size do not exist.
   * `skipped` gets to know damaged manifests.
   */
  static async load(
    store: ObjectStore,
    marked: ReadonlySet<string>,
    skipped: (problem: string) => void,
  ): Promise<KnownContent> {
    const packs = new Map<string, number>();
    for await (const { key, size } of store.list("packs/")) {
      const name = key.slice(key.lastIndexOf("/") + 1);
      if (!marked.has(name)) packs.set(name, size);
    }
    const known = new KnownContent(packs);
    const manifests = [];
    for await (const { key, storedAt } of store.list("snapshots/")) manifests.push({ key, at: storedAt.getTime() });
    manifests.sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));
    for (const { key } of manifests) {
      try {
        await known.#add(store, key.slice(key.lastIndexOf("/") + 1));
      } catch (error) {
        if (!(error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError)) throw error;
        skipped(error.message);
      }
    }
    return known;
  }

  /** Where a file's content is, by its SHA-256. */
  file(sha256: string): readonly Part[] | undefined {
    return this.#files.get(sha256);
  }

  /** The frame with this plain content, by its SHA-256. */
  chunk(sha256: string): Frame | undefined {
    return this.#chunks.get(sha256);
  }

  async #add(store: ObjectStore, digest: string): Promise<void> {
    const manifest = await readManifest(store, digest);
    const frames = manifest.frames.map(({ pack: number, offset, length, size, sha256 }) => {
      const pack = manifest.packs[number];
      if (pack === undefined || this.packs.get(pack.sha256) !== pack.size) return undefined;
      const key = `${pack.sha256}:${offset}`;
      const frame = this.#frames.get(key) ?? { pack: pack.sha256, offset, length, size, sha256 };
      this.#frames.set(key, frame);
      if (!this.#chunks.has(sha256)) this.#chunks.set(sha256, frame);
      return frame;
    });
    for (const entry of manifest.entries) {
      if (entry.type !== "file" || this.#files.has(entry.sha256)) continue;
      const parts = entry.parts.flatMap(([number, offset, length]): Part[] => {
        const frame = frames[number];
        return frame === undefined ? [] : [{ frame, offset, length }];
      });
      if (parts.length === entry.parts.length) this.#files.set(entry.sha256, parts);
    }
  }
}
