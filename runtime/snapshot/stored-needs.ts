import type { ObjectStore } from "../store";
import { inParallel } from "./in-parallel";
import { manifestKey } from "./manifest-keys";
import { ManifestReading, type NamedInStore } from "./manifest-reading";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

/** What the manifests of a store need, each read once: they never change. */
export class StoredNeeds {
  readonly #store: ObjectStore;
  readonly #tell: () => void;
  readonly #needsOf = new Map<string, NamedInStore>();

  /** `tell` is called before a manifest is read. */
  constructor(store: ObjectStore, tell: () => void) {
    this.#store = store;
    this.#tell = tell;
  }

  /** Digest of the base of a manifest that was read, or null. */
  baseOf(digest: string): string | null {
    return this.#needsOf.get(digest)?.base ?? null;
  }

  /** Packs that some manifests name. Throws a `DamagedSnapshotError` where one of them cannot be read. */
  async packsOf(digests: readonly string[]): Promise<ReadonlySet<string>> {
    await this.read(digests);
    return new Set(digests.flatMap((digest) => this.#needsOf.get(digest)?.packs.map(({ sha256 }) => sha256) ?? []));
  }

  /** Reads those that were not read yet. Throws as {@link packsOf} does. */
  async read(digests: readonly string[]): Promise<void> {
    const unread = digests.filter((digest) => !this.#needsOf.has(digest));
    await inParallel(unread, async (digest) => {
      this.#tell();
      const needs = await this.find(digest).catch((error) => {
        if (!(error instanceof DamagedSnapshotError)) throw error;
        throw this.unknown(digest, error.message, error);
      });
      // Another prune removed it since it was listed: it needs nothing.
      this.#needsOf.set(digest, needs ?? { base: null, packs: [] });
    });
  }

  /** Of one manifest; null where it is not there any more. */
  async find(digest: string): Promise<NamedInStore | null> {
    try {
      return await new ManifestReading(this.#store, digest).readNeeds();
    } catch (error) {
      if (error instanceof SnapshotNotFoundError) return null;
      throw error;
    }
  }

  /** Why nothing can be pruned. */
  unknown(digest: string, why: string, cause?: unknown): DamagedSnapshotError {
    const path = `${this.#store.location}/${manifestKey(digest)}`;
    return new DamagedSnapshotError(
      `${why}. What ${path} needs is not known, so nothing can be pruned: put a good copy in its place, or move ${path} away`,
      { cause },
    );
  }
}
