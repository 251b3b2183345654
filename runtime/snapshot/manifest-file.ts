import { ObjectNotFoundError, type ObjectStore } from "../store";
import type { CataloguedContent } from "./content-catalog";
import { manifestKey, nameOfManifest } from "./manifest-keys";
import { ManifestBuilder } from "./manifest-merge";
import { ManifestReading } from "./manifest-reading";
import type { FileRecord, FrameRecord, ManifestEntry, PackRecord, StoredRecord } from "./manifest-records";
import type { Frame, Part } from "./pack-writer";
import { DamagedSnapshotError, type ManifestHead, SnapshotNotFoundError } from "./types";

export { manifestKey, packKey } from "./manifest-keys";

/** A manifest as if it had no base: with the packs and frames that its entries use, and all its entries. */
export interface Manifest {
  readonly head: ManifestHead;
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly entries: readonly ManifestEntry[];
  /** Set where entries were left out on purpose. */
  readonly partial?: true;
}

/** Records and parts of files that are kept in memory; a terabyte in frames of 1 MiB has a million of either. */
const mostRecords = 5_000_000;

/** Only the first record; the digest of the whole is verified. */
export async function readManifestHead(store: ObjectStore, digest: string): Promise<ManifestHead> {
  return new ManifestReading(store, digest).readHead();
}

/**
 * The whole manifest, verified: its digest, the form of each record, and that no path can lead out of the target; with a base, the
 * same of that and of both together. `entries` is how many are expected at most; one with very many more is refused before it fills
 * the memory.
 */
export async function readManifest(store: ObjectStore, digest: string, entries = mostRecords / 5): Promise<Manifest> {
  const reading = new ManifestReading(store, digest);
  const builder = new ManifestBuilder(reading, Math.max(mostRecords, 5 * entries));
  await reading.each((record) => builder.add(record));
  const base = builder.base;
  if (base !== null) {
    const ofBase = new ManifestReading(store, base);
    builder.startBase();
    await requireBase(reading.name, store, base, () => ofBase.each((record) => builder.addOfBase(record, ofBase)));
    builder.endBase();
  }
  return builder.build();
}

/**
 * The content of files that a manifest names itself, without what only its base does, and the bytes of each pack that it is in.
 * Verified are the digest, and each record by itself.
 */
export async function readManifestContents(
  store: ObjectStore,
  digest: string,
): Promise<{ readonly contents: readonly CataloguedContent[]; readonly sizes: ReadonlyMap<string, number> }> {
  const reading = new ManifestReading(store, digest);
  const own = new Places();
  const files: FileRecord[] = [];
  await reading.each((record) => {
    if (record.type === "file") files.push(record);
    else own.add(record);
    return true;
  });
  const places = new Places();
  const { base } = own;
  if (base !== null) {
    const ofBase = new ManifestReading(store, base);
    await requireBase(reading.name, store, base, () => ofBase.each((record) => places.add(record)));
  }
  const frames = places.followedBy(own, reading);
  const contents = files.map(({ path, size, sha256, parts }): CataloguedContent => {
    const found = parts.flatMap(([number, offset, length]): Part[] => {
      const frame = frames[number];
      return frame === undefined || offset + length > frame.size ? [] : [{ frame, offset, length }];
    });
    if (found.reduce((sum, { length }) => sum + length, 0) === size) {
      return { sha256: Buffer.from(sha256, "hex"), parts: found };
    }
    throw new DamagedSnapshotError(`${reading.name}: the parts of ${JSON.stringify(path)} are not its ${size} bytes`);
  });
  return { contents, sizes: new Map(places.packs.map(({ sha256, size }) => [sha256, size])) };
}

/** What comes before the entries of a manifest. */
class Places {
  base: string | null = null;
  readonly packs: PackRecord[] = [];
  readonly #frames: FrameRecord[] = [];

  /** Returns false for an entry. */
  add(record: StoredRecord): boolean {
    if (record.type === "base") this.base = record.sha256;
    else if (record.type === "pack") this.packs.push(record);
    else if (record.type === "frame") this.#frames.push(record);
    else return false;
    return true;
  }

  /** Adds what a manifest has whose base this is, or which has none. Returns its frames by number. */
  followedBy(own: Places, { name }: ManifestReading): readonly Frame[] {
    this.packs.push(...own.packs);
    return [...this.#frames, ...own.#frames].map(({ pack: number, offset, length, size, sha256 }, position) => {
      const pack = this.packs[number];
      if (pack === undefined)
        throw new DamagedSnapshotError(`${name}: frame ${position} is in a pack that is not listed`);
      return { pack: pack.sha256, offset, length, size, sha256 };
    });
  }
}

/** Reads a base for the manifest called `name`, of which it is damage when that is missing. */
async function requireBase(name: string, store: ObjectStore, base: string, read: () => Promise<void>): Promise<void> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof SnapshotNotFoundError || error instanceof ObjectNotFoundError)) throw error;
    throw new DamagedSnapshotError(
      `${name} is damaged: its base ${nameOfManifest(store, base)} is missing; put a copy of ${manifestKey(base)} there`,
      { cause: error },
    );
  }
}
