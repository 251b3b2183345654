import { ObjectNotFoundError, type ObjectStore } from "../store";
import type { CataloguedContent } from "./content-catalog";
import { manifestKey, nameOfManifest } from "./manifest-keys";
import { ManifestBuilder } from "./manifest-merge";
import { ManifestReading } from "./manifest-reading";
import type { FileRecord, FrameRecord, PackRecord, StoredRecord } from "./manifest-records";
import type { SnapshotEntry } from "./manifest-table";
import type { Frame, Part } from "./pack-writer";
import { DamagedSnapshotError, type ManifestHead, SnapshotNotFoundError } from "./types";

export { manifestKey, packKey } from "./manifest-keys";

/** A manifest as if it had no base: with the packs and frames that its entries use, and all its entries. */
export interface Manifest {
  readonly head: ManifestHead;
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly entries: readonly SnapshotEntry[];
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
  await reading.each((record) => builder.add(record), builder.scan);
  const base = builder.base;
  if (base !== null) {
    const ofBase = new ManifestReading(store, base);
    builder.startBase();
    await requireBase(reading.name, store, base, () =>
      ofBase.each((record) => builder.addOfBase(record, ofBase), builder.scanOfBase),
    );
    builder.endBase();
  }
  return builder.build();
}

/**
 * Calls back with the content of each file that a manifest names itself, without what only its base does, and a function that gives
 * the bytes of a pack. Verified are the digest, and each record by itself.
 */
export async function readManifestContents(
  store: ObjectStore,
  digest: string,
  take: (content: CataloguedContent, sizeOf: (pack: string) => number) => void,
): Promise<void> {
  const reading = new ManifestReading(store, digest);
  const places = new Places();
  const { base } = await reading.readNeeds();
  if (base !== null) {
    const ofBase = new ManifestReading(store, base);
    await requireBase(reading.name, store, base, () => ofBase.each((record) => places.add(record, ofBase)));
  }
  await reading.each((record) => {
    if (places.add(record, reading) || record.type !== "file") return true;
    take({ sha256: Buffer.from(record.sha256, "hex"), parts: places.partsOf(record, reading) }, places.sizeOf);
    return true;
  });
}

/** The packs and frames that a manifest lists before its entries, after those of its base. */
class Places {
  readonly #sizes = new Map<string, number>();
  readonly #packs: string[] = [];
  readonly #frames: Frame[] = [];

  /** Returns false for an entry. */
  add(record: StoredRecord, reading: ManifestReading): boolean {
    if (record.type === "pack") {
      this.#sizes.set(record.sha256, record.size);
      this.#packs.push(record.sha256);
    } else if (record.type === "frame") {
      const { pack: number, offset, length, size, sha256 } = record;
      const pack = this.#packs[number];
      if (pack === undefined) throw reading.wrong(`names pack ${number}, which is not listed before it`);
      this.#frames.push({ pack, offset, length, size, sha256 });
    } else return record.type === "base";
    return true;
  }

  readonly sizeOf = (pack: string): number => this.#sizes.get(pack) ?? -1;

  partsOf({ path, size, parts }: FileRecord, reading: ManifestReading): readonly Part[] {
    let sum = 0;
    const found = parts.map(([number, offset, length]): Part => {
      const frame = this.#frames[number];
      if (frame === undefined || length === 0 || offset + length > frame.size) {
        throw reading.wrong(`(${JSON.stringify(path)}) has a part that lies outside of its frame`);
      }
      sum += length;
      return { frame, offset, length };
    });
    if (sum === size) return found;
    throw reading.wrong(`(${JSON.stringify(path)}) has ${size} bytes, but parts of ${sum}`);
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
