import { hash } from "node:crypto";
import type { ObjectStore } from "../store";
import type { Watch } from "../waiting";
import { BaseEntries } from "./base-entries";
import { baseFile, fingerprintOf, keepNote, type Needs, type PackedNote, readNote } from "./last-packed";
import { BuiltManifest, headOf, type Packed } from "./manifest-build";
import { manifestKey } from "./manifest-keys";
import { encodeLines } from "./manifest-lines";
import { refuseLate, refuseMarked } from "./marks";
import { nonce } from "./nonce";
import { PackedEntries } from "./packed-entries";
import { smallestBase } from "./prune-wait";
import { formatReference } from "./reference";
import {
  type Compared,
  closestBase,
  everything,
  isUsable,
  needsOf,
  sameInStore,
  type Usable,
} from "./stored-manifests";
import type { ManifestHead } from "./types";

/** A manifest says only what differs from its base as long as that takes at most one of so many parts of what the base takes. */
const smallestShare = 4;

export interface SnapshotPlace extends Pick<Partial<Watch>, "signal"> {
  readonly store: ObjectStore;
  /** Packs and manifests that had a mark when the run began. */
  readonly marked: ReadonlySet<string>;
  /** The index file of the root; what was packed is noted beside it. */
  readonly index: string;
  /** Milliseconds since the run began. */
  readonly elapsed: () => number;
}

/** What is noted of a comparison with a base. */
type Noted = Pick<Compared, "changes"> & { readonly base: Pick<BaseEntries, "digest" | "keep"> | null };

export interface StoredSnapshot {
  readonly digest: string;
  readonly remarks: readonly string[];
}

/** A manifest, with its base, as it will be stored. */
interface Encoded {
  readonly manifest: BuiltManifest;
  readonly base: BaseEntries | null;
  readonly pieces: Buffer[];
}

/**
 * Makes a snapshot of what was packed, or finds the one that the store has of exactly this. Until {@link store} is called nothing
 * is written, and what was packed may turn out to be no longer so.
 */
export class SnapshotToStore {
  readonly head: ManifestHead;
  readonly #packed: Packed;
  readonly #place: SnapshotPlace;
  readonly #headText: string;
  readonly #entries: PackedEntries;
  readonly #usable: Usable;
  /** What was last packed to this store, and the base that it was compared with. */
  #note: PackedNote | null = null;
  #kept: BaseEntries | null = null;
  #compared: Compared;
  #encoded: Encoded | null = null;

  private constructor(packed: Packed, place: SnapshotPlace) {
    this.#packed = packed;
    this.#place = place;
    this.head = headOf(packed);
    this.#headText = JSON.stringify(this.head);
    this.#entries = new PackedEntries(packed.tree.entries, packed.packer);
    this.#compared = { entries: this.#entries, base: null, changes: [] };
    const { packs, manifests } = packed.known;
    const unmarked = manifests.filter(({ digest }) => !place.marked.has(digest)).reverse();
    this.#usable = {
      store: place.store,
      packs,
      manifests: new Map(unmarked.map(({ digest, size }) => [digest, size])),
    };
  }

  /** Finds out how what was packed differs from what the store has. */
  static async compare(packed: Packed, place: SnapshotPlace): Promise<SnapshotToStore> {
    const snapshot = new SnapshotToStore(packed, place);
    await snapshot.#compare();
    return snapshot;
  }

  /** Makes the manifest, where {@link store} will need one; it does so itself otherwise. Only after the writer has finished. */
  async encode(): Promise<void> {
    if (this.#note?.fingerprint === this.#fingerprint(this.#compared)) return;
    this.#encoded = await this.#encode(this.#compared);
  }

  /** Only after the writer has finished. */
  async store(): Promise<StoredSnapshot> {
    const compared = this.#compared;
    const [note, kept] = [this.#note, this.#kept];
    if (note !== null && note.fingerprint === this.#fingerprint(compared) && (await this.#reuse(note.digest, note))) {
      return {
        digest: note.digest,
        remarks: compared.base === kept ? [] : this.#keep(note.digest, note, compared),
      };
    }
    const same = await sameInStore(this.#usable, this.head.summary.id, this.#headText, compared);
    if (same !== null && (await this.#reuse(same.digest, same.needs))) {
      return { digest: same.digest, remarks: this.#keep(same.digest, same.needs, compared) };
    }
    return this.#write(compared);
  }

  async #compare(): Promise<void> {
    const { store, index } = this.#place;
    const found = readNote(index);
    this.#note = found?.store === store.location ? found : null;
    this.#kept = this.#note === null ? null : BaseEntries.read(baseFile(index), store.location, this.#note.base);
    const kept = this.#kept;
    this.#compared =
      kept !== null && isUsable(this.#usable, needsOf(kept))
        ? { entries: this.#entries, base: kept, changes: kept.changesTo(this.#entries) }
        : await closestBase(this.#usable, this.#entries);
  }

  /** Says where nothing changed since it was noted; it is of no use without a base. */
  #fingerprint({ base, changes }: Noted): string | null {
    return base === null ? null : fingerprintOf(this.#headText, base.digest, this.#entries, changes);
  }

  /** Takes a snapshot that the store has, unless it has not all of it any more. */
  async #reuse(digest: string, needs: Needs): Promise<boolean> {
    if (!isUsable(this.#usable, needs)) return false;
    const { store, elapsed, signal } = this.#place;
    await refuseMarked(store, namesIn(needs), elapsed());
    signal?.throwIfAborted();
    const entry = this.#entryKey(digest);
    await store.create(entry, []);
    for (const [name, size] of Object.entries(needs.manifests)) {
      if ((await store.find(manifestKey(name)))?.size !== size) return false;
    }
    await store.create(entry, []);
    refuseLate(elapsed());
    return true;
  }

  async #write(compared: Compared): Promise<StoredSnapshot> {
    const { store, marked, elapsed, signal } = this.#place;
    const { manifest, base, pieces } = this.#encoded ?? (await this.#encode(compared));
    let digest = hash("sha256", Buffer.concat(pieces));
    while (marked.has(digest)) {
      pieces.push(nonce());
      digest = hash("sha256", Buffer.concat(pieces));
    }
    const size = pieces.reduce((sum, { length }) => sum + length, 0);
    const needs: Needs = {
      manifests: { [digest]: size, ...(base === null ? {} : { [base.digest]: base.size }) },
      packs: [...(base?.packs ?? []), ...manifest.packs],
    };
    await refuseMarked(store, namesIn(needs), elapsed());
    signal?.throwIfAborted();
    await this.#store(digest, pieces);
    refuseLate(elapsed());

    this.#packed.known.remember(digest, manifest.contents(), this.#sizeOf);
    if (base !== null) return { digest, remarks: this.#keep(digest, needs, compared) };
    const itself = manifest.asBase({ store: store.location, digest, size });
    return { digest, remarks: this.#keep(digest, needs, { base: itself, changes: [] }) };
  }

  /** The smaller of what differs from a base, and all; what differs only where that is far less. */
  async #encode({ base, changes }: Compared): Promise<Encoded> {
    if (base !== null && base.size >= smallestBase && changes.length * smallestShare <= base.count) {
      const manifest = new BuiltManifest(this.#headText, this.#entries, base, changes, this.#sizeOf);
      const pieces = await encodeLines(manifest.lines());
      const size = pieces.reduce((sum, { length }) => sum + length, 0);
      if (size * smallestShare <= base.size) return { manifest, base, pieces };
    }
    const manifest = new BuiltManifest(this.#headText, this.#entries, null, everything(this.#entries), this.#sizeOf);
    return { manifest, base: null, pieces: await encodeLines(manifest.lines()) };
  }

  /**
   * The identity's entry and then the manifest. Both may be there, of a snapshot that had expired and that a prune is removing
   * right now: the manifest first.
   */
  async #store(digest: string, pieces: readonly Buffer[]): Promise<void> {
    const { store } = this.#place;
    const entry = this.#entryKey(digest);
    do {
      await store.create(entry, []);
    } while (!(await store.create(manifestKey(digest), pieces)) && (await store.find(manifestKey(digest))) === null);
    await store.create(entry, []);
  }

  /** Notes what was packed for the next time; a failure is a remark. */
  #keep(digest: string, needs: Needs, compared: Noted): readonly string[] {
    const { store, index } = this.#place;
    const { base } = compared;
    const fingerprint = this.#fingerprint(compared);
    if (base === null || fingerprint === null) return [];
    const reference = formatReference({ store: store.location, digest });
    const note: PackedNote = {
      reference,
      store: store.location,
      digest,
      base: base.digest,
      fingerprint,
      manifests: needs.manifests,
      packs: needs.packs.map(({ sha256, size }) => ({ sha256, size })),
    };
    try {
      if (base !== this.#kept) base.keep(baseFile(index));
      keepNote(index, note);
      return [];
    } catch (error) {
      return [`what was packed could not be noted for the next time: ${(error as Error).message}`];
    }
  }

  #entryKey(digest: string): string {
    return `ids/${this.head.summary.id}/${digest}`;
  }

  readonly #sizeOf = (pack: string): number => {
    const size = this.#packed.writer.sizes.get(pack) ?? this.#packed.known.packs.get(pack);
    if (size === undefined) throw new Error(`pack ${pack} has no known size`);
    return size;
  };
}

function namesIn({ manifests, packs }: Needs): ReadonlySet<string> {
  return new Set([...Object.keys(manifests), ...packs.map(({ sha256 }) => sha256)]);
}
