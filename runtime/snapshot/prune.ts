import { randomBytes } from "node:crypto";
import { type AbandonedObjects, type ObjectStore, openStore, type StoreSettings } from "../store";
import type { Watch } from "../waiting";
import { inParallel } from "./in-parallel";
import { manifestKey, packKey } from "./manifest-keys";
import { nameOf } from "./paths";
import { type Found, objectsIn, PruneMarks } from "./prune-marks";
import { markKey, pruneWait, smallestBase } from "./prune-wait";
import { formatReference } from "./reference";
import { digestOf, type Judged, judge, type Protection, type Retention, requireRetention } from "./retention";
import { StoredNeeds } from "./stored-needs";
import { DamagedSnapshotError } from "./types";

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
   * is left alone, since one that is being packed may; also the age from which on an incomplete upload counts as a killed packer's.
   * Less than the default is safe only while nothing packs to the store.
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
  const { dryRun: look, wait } = request;
  const abandoned = await store.removeAbandoned?.({ look, ...(wait === undefined ? {} : { wait }) });
  const now = await clockOf(store, request.dryRun);
  return new Prune(store, request).run(now, abandoned ?? { objects: 0, bytes: 0 });
}

class Prune {
  readonly #store: ObjectStore;
  readonly #request: PruneRequest;
  readonly #wait: number;
  readonly #needs: StoredNeeds;

  constructor(store: ObjectStore, request: PruneRequest) {
    this.#store = store;
    this.#request = request;
    this.#wait = request.wait ?? pruneWait;
    this.#needs = new StoredNeeds(store, () => this.#tell("reading what the snapshots need"));
  }

  async run(now: Date, abandoned: AbandonedObjects): Promise<Pruning> {
    const { keep, protect, dryRun } = this.#request;
    // First of all: nothing may be touched while it is unknown what a kept manifest needs.
    const judged = await this.#withBases(judge(await this.#manifests(), keep, protect, now));
    const [kept, expired] = split(judged, ({ reasons }) => reasons.length > 0);
    const staying = new Set(kept.map(({ digest }) => digest));
    let needed = await this.#needs.packsOf([...staying]);

    const marks = new PruneMarks(this.#store, await this.#objects("marks/"), { now, wait: this.#wait, dryRun });
    const [bases, others] = await this.#possibleBases(expired);
    // First what may name a base, so that a kill leaves none without it.
    if (!dryRun) await this.#removeManifests(others);
    const { gone: goneBases, ...expiring } = await this.#expireBases(bases, marks, staying);
    const gone = new Set([...others, ...goneBases].map(({ digest }) => digest));
    if (!dryRun) await this.#removeEntries(gone, staying, marks);

    const packs = await this.#objects("packs/");
    const dead = [...packs.values()].filter(({ name }) => !needed.has(name));
    const [old, young] = split(dead, ({ storedAt }) => marks.isOver(storedAt));
    const fresh = old.filter(({ name }) => !marks.has(name));
    await marks.add(fresh.map(({ name }) => name));

    const [ripe, waiting] = split(
      dead.filter(({ name }) => marks.has(name)),
      ({ name }) => marks.isRipe(name),
    );
    const leaving = expiring.marked.map(({ digest }) => digest);
    if (!dryRun && ripe.length > 0) {
      const present = await this.#present();
      needed = await this.#needs.packsOf(present.filter((digest) => !leaving.includes(digest)));
    }
    // What an expiring snapshot needs keeps its mark, and goes when that is gone.
    const neededYet = ripe.length === 0 ? needed : await this.#needs.packsOf(leaving);
    this.#tell("removing packs");
    const freed = await marks.removeMarked(
      ripe.filter(({ name }) => !needed.has(name) && !neededYet.has(name)),
      packKey,
    );
    const unmarked = marks.names.filter((name) => needed.has(name) || staying.has(name));
    const present = new Set(judged.map(({ digest }) => digest));
    // One without what it marks is what a kill left, unless it is young: then it may tell another prune the time.
    const orphans = marks.names.filter((name) => !packs.has(name) && !present.has(name) && marks.isRipe(name));
    await marks.remove([...unmarked, ...orphans]);

    const removed = judged.filter(({ digest }) => gone.has(digest));
    const times = waiting.map(({ name }) => marks.until(name).getTime());
    return {
      store: this.#store.location,
      dryRun,
      kept: kept.map((manifest) => ({ ...this.#describe(manifest), reasons: manifest.reasons })),
      removed: removed.map((manifest) => this.#describe(manifest)),
      expiring: expiring.marked,
      marked: sum(fresh),
      waiting: { ...sum(waiting), until: times.length === 0 ? null : new Date(Math.max(...times)).toISOString() },
      young: sum(young.filter(({ name }) => !marks.has(name))),
      unmarked: unmarked.length,
      freed: {
        ...sum(freed),
        manifestBytes: removed.reduce((bytes, { size }) => bytes + size, 0),
        abandoned,
      },
      missing: [...new Set(protect.map(({ snapshot }) => digestOf(snapshot)))].filter((digest) => !present.has(digest)),
    };
  }

  async #manifests() {
    const found = await this.#objects("snapshots/");
    return [...found.values()].map(({ name, size, storedAt }) => ({ digest: name, size, storedAt }));
  }

  /** The manifests that are there now. What was begun before a mark that is old by now is among them, or has given up. */
  async #present(): Promise<readonly string[]> {
    return (await this.#manifests()).map(({ digest }) => digest);
  }

  /** What is kept needs its base: that is kept as well, and says so. */
  async #withBases(judged: readonly Judged[]): Promise<readonly Judged[]> {
    const kept = judged.filter(({ reasons }) => reasons.length > 0).map(({ digest }) => digest);
    await this.#needs.read(kept);
    const present = new Set(judged.map(({ digest }) => digest));
    const dependants = new Map<string, number>();
    for (const digest of kept) {
      const base = this.#needs.baseOf(digest);
      if (base === null) continue;
      if (!present.has(base)) throw this.#needs.unknown(digest, `its base ${base} is missing`);
      dependants.set(base, (dependants.get(base) ?? 0) + 1);
    }
    return judged.map((manifest) => {
      const number = dependants.get(manifest.digest);
      if (number === undefined) return manifest;
      return { ...manifest, reasons: [...manifest.reasons, `base of ${number} snapshot${number === 1 ? "" : "s"}`] };
    });
  }

  /** Those on which one that is being packed may be based, and the others. */
  async #possibleBases(expired: readonly Judged[]): Promise<[Judged[], Judged[]]> {
    const bases = new Set<string>();
    const large = expired.filter(({ size }) => size >= smallestBase);
    await inParallel(large, async ({ digest }) => {
      this.#tell("looking at expired snapshots");
      // Nothing is based on one that is damaged, or that another prune has removed.
      const needs = await this.#needs.find(digest).catch((error) => {
        if (error instanceof DamagedSnapshotError) return null;
        throw error;
      });
      if (needs?.base === null) bases.add(digest);
    });
    return split(expired, ({ digest }) => bases.has(digest));
  }

  async #removeManifests(expired: readonly Judged[]): Promise<void> {
    await inParallel(expired, async ({ digest }) => {
      this.#tell("removing snapshots");
      await this.#store.remove(manifestKey(digest));
    });
  }

  /** Marks those that have no mark, and removes those whose mark is old and on which nothing is based by now. */
  async #expireBases(
    bases: readonly Judged[],
    marks: PruneMarks,
    staying: Set<string>,
  ): Promise<{ readonly gone: readonly Judged[]; readonly marked: readonly ExpiringSnapshot[] }> {
    const isNew = new Set(bases.map(({ digest }) => digest).filter((digest) => !marks.has(digest)));
    await marks.add([...isNew]);
    const [ripe, waiting] = split(bases, ({ digest }) => marks.isRipe(digest));
    if (!this.#request.dryRun && ripe.length > 0) {
      const present = await this.#present();
      await this.#needs.read(present);
      for (const digest of present) {
        const base = this.#needs.baseOf(digest);
        if (base !== null) staying.add(base);
      }
    }
    this.#tell("removing snapshots");
    const unneeded = ripe.filter(({ digest }) => !staying.has(digest));
    const gone = await marks.removeMarked(
      unneeded.map((manifest) => ({ ...manifest, name: manifest.digest })),
      manifestKey,
    );
    const marked = waiting.map((manifest) => ({
      ...this.#describe(manifest),
      isNew: isNew.has(manifest.digest),
      until: marks.until(manifest.digest).toISOString(),
    }));
    return { gone, marked };
  }

  /** Entries by identity of manifests that are gone. */
  async #removeEntries(gone: ReadonlySet<string>, staying: ReadonlySet<string>, marks: PruneMarks): Promise<void> {
    for await (const { key, storedAt } of this.#store.list("ids/")) {
      if (staying.has(nameOf(key))) continue;
      // One without its manifest may belong to a pack that is about to write it.
      if (!gone.has(nameOf(key)) && !marks.isOver(storedAt)) continue;
      if ((await this.#store.find(manifestKey(nameOf(key)))) === null) await this.#store.remove(key);
    }
  }

  async #objects(prefix: string): Promise<Map<string, Found>> {
    return objectsIn(this.#store, prefix, () => this.#tell("looking at the store"));
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
