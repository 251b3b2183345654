import { randomBytes } from "node:crypto";
import { type AbandonedObjects, type ObjectStore, openStore, type StoredObject, type StoreSettings } from "../store";
import type { Watch } from "../waiting";
import { inParallel } from "./in-parallel";
import { manifestKey, packKey } from "./manifest-keys";
import { ManifestReading, type NamedInStore } from "./manifest-reading";
import { nameOf } from "./paths";
import { markKey, pruneWait, smallestBase } from "./prune-wait";
import { formatReference } from "./reference";
import { digestOf, type Judged, judge, type Protection, type Retention, requireRetention } from "./retention";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

export interface PruneRequest extends Partial<Watch> {
  /** The store as it stands in a reference. */
  readonly store: string;
  /** For a store in a bucket. @default what the AWS SDK finds */
  readonly settings?: StoreSettings;
  readonly keep: Retention;
  /** Snapshots that stay in any case. */
  readonly protect: readonly Protection[];
  /** Find out what there is to do and change nothing. Times are then by this machine's clock. */
  readonly dryRun: boolean;
  /**
   * Milliseconds, by the store's clock, between a mark and the removal of what is marked, and for which a pack that no snapshot needs
   * is left alone, since one that is being packed may. Less than the default is safe only while nothing packs to the store.
   * @default 24 hours
   */
  readonly wait?: number;
}

/** What a prune did; with `dryRun`, what it would have done. */
export interface Pruning {
  readonly store: string;
  readonly dryRun: boolean;
  /** The newest first. */
  readonly kept: readonly (PrunedSnapshot & { readonly reasons: readonly string[] })[];
  readonly removed: readonly PrunedSnapshot[];
  /** Expired as well, but one that is being packed may say only what differs from it: it is marked, and goes in a later run. */
  readonly expiring: readonly ExpiringSnapshot[];
  /** Packs that no snapshot needs any more and that were marked now. */
  readonly marked: Packs;
  /** Packs that carry a mark which is not old enough; `until` is when the last of them may go, ISO 8601, or null when there is none. */
  readonly waiting: Packs & { readonly until: string | null };
  /** Packs that no snapshot needs, but so new that one which is being packed may. */
  readonly young: Packs;
  /** Packs and snapshots whose mark was taken away, since they are needed again. */
  readonly unmarked: number;
  readonly freed: Packs & {
    /** What the removed manifests took. */
    readonly manifestBytes: number;
    /** What killed packers left half written. */
    readonly abandoned: AbandonedObjects;
  };
  /** Digests that were to be protected and are not in the store. */
  readonly missing: readonly string[];
}

export interface PrunedSnapshot {
  readonly reference: string;
  readonly digest: string;
  /** ISO 8601. */
  readonly storedAt: string;
}

export interface ExpiringSnapshot extends PrunedSnapshot {
  /** True where this run marked it. */
  readonly isNew: boolean;
  /** From when on a run removes it, ISO 8601. */
  readonly until: string;
}

export interface Packs {
  readonly packs: number;
  readonly bytes: number;
}

/**
 * Removes the snapshots that nothing keeps, and frees what only they needed, in two phases: packs that no manifest needs, and expired
 * manifests that one which is being packed may be based on, are marked, and a run that finds a mark older than `wait` reads the
 * manifests again and removes what is still not needed. May run beside
 * packs and restores, and be killed and run again at any time. Throws `InvalidInputError` without a rule of what stays, and
 * `DamagedSnapshotError`, before anything was changed, when a manifest that stays cannot be read: what it needs is not known then.
 */
export async function prune(request: PruneRequest): Promise<Pruning> {
  requireRetention(request.keep);
  const store = openStore(request.store, request.settings, request);
  // First, since writing anything to the store may remove them as well.
  const abandoned = await store.removeAbandoned?.({ look: request.dryRun });
  const now = await clockOf(store, request.dryRun);
  return new Prune(store, request).run(now, abandoned ?? { objects: 0, bytes: 0 });
}

class Prune {
  readonly #store: ObjectStore;
  readonly #request: PruneRequest;
  readonly #wait: number;
  /** By manifest, which never changes. */
  readonly #needsOf = new Map<string, NamedInStore>();

  constructor(store: ObjectStore, request: PruneRequest) {
    this.#store = store;
    this.#request = request;
    this.#wait = request.wait ?? pruneWait;
  }

  async run(now: Date, abandoned: AbandonedObjects): Promise<Pruning> {
    const { keep, protect, dryRun } = this.#request;
    // First of all: nothing may be touched while it is unknown what a kept manifest needs.
    const judged = await this.#withBases(judge(await this.#manifests(), keep, protect, now));
    const [kept, expired] = split(judged, isKept);
    const staying = new Set(kept.map(({ digest }) => digest));
    let needed = await this.#packsNeededBy([...staying]);
    const [possibleBases, removable] = await this.#partition(expired);
    if (!dryRun) await this.#removeManifests(removable, staying, now);

    const marks = await this.#objects("marks/");
    const expiring = await this.#expire(possibleBases, marks, staying, now);

    const packs = await this.#objects("packs/");
    const dead = [...packs.values()].filter(({ name }) => !needed.has(name));
    const [old, young] = split(dead, ({ storedAt }) => this.#isOver(storedAt, now));
    const fresh = old.filter(({ name }) => !marks.has(name));
    await this.#mark(fresh, marks, now);

    const [ripe, waiting] = split(
      dead.filter(({ name }) => marks.has(name)),
      ({ name }) => this.#isRipe(name, marks, now),
    );
    if (!dryRun && ripe.length > 0) {
      // A pack that began before the mark has written its manifest by now, or has given up.
      const present = (await this.#manifests()).map(({ digest }) => digest);
      needed = await this.#packsNeededBy(present);
    }
    const unneeded = ripe.filter(({ name }) => !needed.has(name));
    const freed = dryRun ? unneeded : await this.#removeMarked(unneeded, packKey, now);
    const unmarked = [...marks.keys()].filter((name) => needed.has(name) || staying.has(name));
    const present = new Set(judged.map(({ digest }) => digest));
    // One without what it marks is what a kill left, unless it is young: then it may tell another prune the time.
    const orphans = [...marks.keys()].filter(
      (name) => !packs.has(name) && !present.has(name) && this.#isRipe(name, marks, now),
    );
    if (!dryRun) await this.#removeMarks([...unmarked, ...orphans]);

    const gone = [...removable, ...expiring.gone];
    return {
      store: this.#store.location,
      dryRun,
      kept: kept.map((manifest) => ({ ...this.#describe(manifest), reasons: manifest.reasons })),
      removed: expired.filter((manifest) => gone.includes(manifest)).map((manifest) => this.#describe(manifest)),
      expiring: expiring.marked,
      marked: sum(fresh),
      waiting: { ...sum(waiting), until: this.#lastOf(waiting, marks, now) },
      young: sum(young.filter(({ name }) => !marks.has(name))),
      unmarked: unmarked.length,
      freed: {
        ...sum(freed),
        manifestBytes: gone.reduce((bytes, { size }) => bytes + size, 0),
        abandoned,
      },
      missing: [...new Set(protect.map(({ snapshot }) => digestOf(snapshot)))].filter((digest) => !present.has(digest)),
    };
  }

  /** What is kept needs its base: that is kept as well, and says so. */
  async #withBases(judged: readonly Judged[]): Promise<readonly Judged[]> {
    const dependants = new Map<string, number>();
    const kept = judged.filter(isKept).map(({ digest }) => digest);
    await this.#readNeeds(kept);
    for (const digest of kept) {
      const base = this.#needsOf.get(digest)?.base ?? null;
      if (base === null) continue;
      if (!judged.some((manifest) => manifest.digest === base)) {
        throw this.#unknown(digest, `its base ${base} is missing`);
      }
      dependants.set(base, (dependants.get(base) ?? 0) + 1);
    }
    return judged.map((manifest) => {
      const number = dependants.get(manifest.digest);
      if (number === undefined) return manifest;
      const reason = `base of ${number === 1 ? "1 snapshot" : `${number} snapshots`}`;
      return { ...manifest, reasons: [...manifest.reasons, reason] };
    });
  }

  /** Expired manifests that one which is being packed may be based on, and the others. */
  async #partition(expired: readonly Judged[]): Promise<[Judged[], Judged[]]> {
    const large = expired.filter(({ size }) => size >= smallestBase);
    const bases = new Set<string>();
    await inParallel(large, async ({ digest }) => {
      this.#tell("looking at expired snapshots");
      // Nothing can be based on one that is damaged, or that is not there any more.
      const named = await this.#read(digest).catch((error) => {
        if (error instanceof DamagedSnapshotError) return null;
        throw error;
      });
      if (named !== null && named.base === null) bases.add(digest);
    });
    return split(expired, ({ digest }) => bases.has(digest));
  }

  /** Marks expired manifests that have no mark, and removes those whose mark is old and on which nothing is based by now. */
  async #expire(
    possibleBases: readonly Judged[],
    marks: Map<string, Found>,
    staying: Set<string>,
    now: Date,
  ): Promise<{ readonly gone: readonly Judged[]; readonly marked: readonly ExpiringSnapshot[] }> {
    const { dryRun } = this.#request;
    const fresh = possibleBases.filter(({ digest }) => !marks.has(digest)).map(({ digest }) => digest);
    const before = new Set(marks.keys());
    await this.#mark(
      fresh.map((name) => ({ name })),
      marks,
      now,
    );
    const [ripe, waiting] = split(possibleBases, ({ digest }) => this.#isRipe(digest, marks, now));
    if (!dryRun && ripe.length > 0) {
      // As for packs: what was begun before the mark is there by now.
      const present = (await this.#manifests()).map(({ digest }) => digest);
      await this.#readNeeds(present);
      for (const digest of present) {
        const base = this.#needsOf.get(digest)?.base;
        if (base !== undefined && base !== null) staying.add(base);
      }
    }
    const unneeded = ripe.filter(({ digest }) => !staying.has(digest));
    const found = unneeded.map((manifest): Found & Judged => ({ ...manifest, name: manifest.digest }));
    const removed = new Set(
      (dryRun ? found : await this.#removeMarked(found, manifestKey, now)).map(({ name }) => name),
    );
    const gone = unneeded.filter(({ digest }) => removed.has(digest));
    if (!dryRun && gone.length > 0) await this.#removeEntries(new Set(gone.map(({ digest }) => digest)), staying, now);
    return {
      gone,
      marked: waiting.map((manifest) => ({
        ...this.#describe(manifest),
        isNew: !before.has(manifest.digest),
        until: this.#until(manifest.digest, marks, now).toISOString(),
      })),
    };
  }

  async #manifests() {
    const found = await this.#objects("snapshots/");
    return [...found.values()].map(({ name, size, storedAt }) => ({ digest: name, size, storedAt }));
  }

  async #packsNeededBy(digests: readonly string[]): Promise<ReadonlySet<string>> {
    await this.#readNeeds(digests);
    return new Set(digests.flatMap((digest) => this.#needsOf.get(digest)?.packs.map(({ sha256 }) => sha256) ?? []));
  }

  async #readNeeds(digests: readonly string[]): Promise<void> {
    const unread = digests.filter((digest) => !this.#needsOf.has(digest));
    await inParallel(unread, async (digest) => {
      this.#tell("reading what the snapshots need");
      const needs = await this.#read(digest).catch((error) => {
        if (!(error instanceof DamagedSnapshotError)) throw error;
        throw this.#unknown(digest, error.message, error);
      });
      // Another prune removed it since it was listed: it needs nothing.
      this.#needsOf.set(digest, needs ?? { base: null, packs: [] });
    });
  }

  /** Null where it is not there any more. */
  async #read(digest: string): Promise<NamedInStore | null> {
    try {
      return await new ManifestReading(this.#store, digest).readNeeds();
    } catch (error) {
      if (error instanceof SnapshotNotFoundError) return null;
      throw error;
    }
  }

  #unknown(digest: string, why: string, cause?: unknown): DamagedSnapshotError {
    const path = `${this.#store.location}/${manifestKey(digest)}`;
    return new DamagedSnapshotError(
      `${why}. What ${path} needs is not known, so nothing can be pruned: put a good copy in its place, or move ${path} away`,
      { cause },
    );
  }

  /** Manifests before their entries by identity, and before any pack of theirs is marked. */
  async #removeManifests(expired: readonly Judged[], kept: ReadonlySet<string>, now: Date): Promise<void> {
    await inParallel(expired, async ({ digest }) => {
      this.#tell("removing snapshots");
      await this.#store.remove(manifestKey(digest));
    });
    await this.#removeEntries(new Set(expired.map(({ digest }) => digest)), kept, now);
  }

  async #removeEntries(gone: ReadonlySet<string>, kept: ReadonlySet<string>, now: Date): Promise<void> {
    for await (const { key, storedAt } of this.#store.list("ids/")) {
      const digest = nameOf(key);
      if (kept.has(digest)) continue;
      // One without its manifest may belong to a pack that is about to write it.
      if (!gone.has(digest) && !this.#isOver(storedAt, now)) continue;
      if ((await this.#store.find(manifestKey(digest))) === null) await this.#store.remove(key);
    }
  }

  async #mark(fresh: readonly { readonly name: string }[], marks: Map<string, Found>, now: Date): Promise<void> {
    if (!this.#request.dryRun) {
      await inParallel(fresh, async ({ name }) => void (await this.#store.create(markKey(name), [])));
    }
    for (const { name } of fresh) marks.set(name, { name, size: 0, storedAt: now });
  }

  /** Removes each object and then its mark, so that the mark is never missing while what it marks can still be found. */
  async #removeMarked<T extends Found>(marked: readonly T[], keyOf: (name: string) => string, now: Date): Promise<T[]> {
    const removed: T[] = [];
    await inParallel(marked, async (found) => {
      this.#tell("removing what was marked");
      // Another prune may have removed it and the mark, and a packer have stored it again.
      const mark = await this.#store.find(markKey(found.name));
      if (mark === null || (this.#wait > 0 && !this.#isOver(mark.storedAt, now))) return;
      await this.#store.remove(keyOf(found.name));
      removed.push(found);
      await this.#store.remove(markKey(found.name));
    });
    return removed;
  }

  async #removeMarks(names: readonly string[]): Promise<void> {
    await inParallel(names, (name) => this.#store.remove(markKey(name)));
  }

  async #objects(prefix: string): Promise<Map<string, Found>> {
    const found = new Map<string, Found>();
    for await (const { key, size, storedAt } of this.#store.list(prefix)) {
      this.#tell("looking at the store");
      found.set(nameOf(key), { name: nameOf(key), size, storedAt });
    }
    return found;
  }

  #isOver(since: Date, now: Date): boolean {
    return now.getTime() - since.getTime() >= this.#wait;
  }

  #isRipe(name: string, marks: ReadonlyMap<string, Found>, now: Date): boolean {
    return this.#isOver(marks.get(name)?.storedAt ?? now, now);
  }

  #until(name: string, marks: ReadonlyMap<string, Found>, now: Date): Date {
    return new Date((marks.get(name)?.storedAt ?? now).getTime() + this.#wait);
  }

  #lastOf(waiting: readonly Found[], marks: ReadonlyMap<string, Found>, now: Date): string | null {
    const times = waiting.map(({ name }) => this.#until(name, marks, now).getTime());
    return times.length === 0 ? null : new Date(Math.max(...times)).toISOString();
  }

  #describe({ digest, storedAt }: Judged): PrunedSnapshot {
    const reference = formatReference({ store: this.#store.location, digest });
    return { reference, digest, storedAt: storedAt.toISOString() };
  }

  #tell(what: string): void {
    this.#request.signal?.throwIfAborted();
    this.#request.progress?.(what);
  }
}

/** An object by the last segment of its key. */
interface Found extends Omit<StoredObject, "key"> {
  readonly name: string;
}

function isKept({ reasons }: Judged): boolean {
  return reasons.length > 0;
}

/** The store's own time: that of a mark on a pack which cannot exist. One that a kill leaves is removed as any mark without a pack. */
async function clockOf(store: ObjectStore, dryRun: boolean): Promise<Date> {
  if (dryRun) return new Date();
  const key = markKey(randomBytes(32).toString("hex"));
  await store.create(key, []);
  try {
    const found = await store.find(key);
    if (found === null) throw new Error(`${store.location}/${key} vanished; run one prune at a time`);
    return found.storedAt;
  } finally {
    await store.remove(key);
  }
}

function sum(packs: readonly Found[]): Packs {
  return { packs: packs.length, bytes: packs.reduce((bytes, { size }) => bytes + size, 0) };
}

/** Those for which it is true, and the others. */
function split<T>(items: readonly T[], first: (item: T) => boolean): [T[], T[]] {
  return [items.filter(first), items.filter((item) => !first(item))];
}
