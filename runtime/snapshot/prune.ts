import { randomBytes } from "node:crypto";
import { type AbandonedObjects, type ObjectStore, openStore, type StoredObject, type StoreSettings } from "../store";
import type { Watch } from "../waiting";
import { manifestKey, packKey, readManifestPacks } from "./manifest-file";
import { nameOf } from "./paths";
import { markKey, pruneWait } from "./prune-wait";
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
   * Milliseconds, by the store's clock, between the mark on a pack and its removal, and for which a pack that no snapshot needs is
   * left alone, since one that is being packed may; also the age from which on an incomplete upload counts as a killed packer's.
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
  /** Packs that no snapshot needs any more and that were marked now. */
  readonly marked: Packs;
  /** Packs that carry a mark which is not old enough; `until` is when the last of them may go, ISO 8601, or null when there is none. */
  readonly waiting: Packs & { readonly until: string | null };
  /** Packs that no snapshot needs, but so new that one which is being packed may. */
  readonly young: Packs;
  /** Packs whose mark was taken away, since a snapshot needs them again. */
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

export interface Packs {
  readonly packs: number;
  readonly bytes: number;
}

/** Objects that are looked for, marked or removed at the same time. */
const atOnce = 8;

/**
 * Removes the snapshots that nothing keeps, and frees what only they needed, in two phases: packs that no manifest needs are marked,
 * and a run that finds a mark older than `wait` reads the manifests again and removes what is still not needed. May run beside
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
  /** Packs by manifest; a manifest never changes. */
  readonly #packsOf = new Map<string, readonly string[]>();

  constructor(store: ObjectStore, request: PruneRequest) {
    this.#store = store;
    this.#request = request;
    this.#wait = request.wait ?? pruneWait;
  }

  async run(now: Date, abandoned: AbandonedObjects): Promise<Pruning> {
    const { keep, protect, dryRun } = this.#request;
    const judged = judge(await this.#manifests(), keep, protect, now);
    const [kept, expired] = [judged.filter(isKept), judged.filter((manifest) => !isKept(manifest))];
    // First of all: nothing may be touched while it is unknown what a kept manifest needs.
    let needed = await this.#packsNeededBy(kept.map(({ digest }) => digest));
    if (!dryRun) await this.#removeManifests(expired, new Set(kept.map(({ digest }) => digest)), now);

    const packs = await this.#objects("packs/");
    const marks = await this.#objects("marks/");
    const dead = [...packs.values()].filter(({ name }) => !needed.has(name));
    const [old, young] = split(dead, ({ storedAt }) => this.#isOver(storedAt, now));
    const fresh = old.filter(({ name }) => !marks.has(name));
    if (!dryRun) await inParallel(fresh, async ({ name }) => void (await this.#store.create(markKey(name), [])));
    for (const pack of fresh) marks.set(pack.name, { name: pack.name, size: 0, storedAt: now });

    const [ripe, waiting] = split(
      dead.filter(({ name }) => marks.has(name)),
      ({ name }) => this.#isOver(marks.get(name)?.storedAt ?? now, now),
    );
    if (!dryRun && ripe.length > 0) {
      // A pack that began before the mark has written its manifest by now, or has given up.
      const present = (await this.#manifests()).map(({ digest }) => digest);
      needed = await this.#packsNeededBy(present);
    }
    const removable = ripe.filter(({ name }) => !needed.has(name));
    const removed = dryRun ? removable : await this.#removePacks(removable, now);
    const unmarked = [...marks.keys()].filter((name) => needed.has(name));
    // One without a pack is what a kill left, unless it is young: then it may tell another prune the time.
    const orphans = [...marks.values()].filter(({ name, storedAt }) => !packs.has(name) && this.#isOver(storedAt, now));
    if (!dryRun) await this.#removeMarks([...unmarked, ...orphans.map(({ name }) => name)]);

    const present = new Set(judged.map(({ digest }) => digest));
    return {
      store: this.#store.location,
      dryRun,
      kept: kept.map((manifest) => ({ ...this.#describe(manifest), reasons: manifest.reasons })),
      removed: expired.map((manifest) => this.#describe(manifest)),
      marked: sum(fresh),
      waiting: { ...sum(waiting), until: this.#lastOf(waiting, marks) },
      young: sum(young.filter(({ name }) => !marks.has(name))),
      unmarked: unmarked.length,
      freed: {
        ...sum(removed),
        manifestBytes: expired.reduce((bytes, { size }) => bytes + size, 0),
        abandoned,
      },
      missing: [...new Set(protect.map(({ snapshot }) => digestOf(snapshot)))].filter((digest) => !present.has(digest)),
    };
  }

  async #manifests() {
    const found = await this.#objects("snapshots/");
    return [...found.values()].map(({ name, size, storedAt }) => ({ digest: name, size, storedAt }));
  }

  async #packsNeededBy(digests: readonly string[]): Promise<ReadonlySet<string>> {
    await inParallel(
      digests.filter((digest) => !this.#packsOf.has(digest)),
      async (digest) => {
        this.#tell("reading what the snapshots need");
        this.#packsOf.set(digest, await this.#read(digest));
      },
    );
    return new Set(digests.flatMap((digest) => this.#packsOf.get(digest) ?? []));
  }

  async #read(digest: string): Promise<readonly string[]> {
    try {
      return (await readManifestPacks(this.#store, digest)).map(({ sha256 }) => sha256);
    } catch (error) {
      // Another prune removed it since it was listed: it needs nothing.
      if (error instanceof SnapshotNotFoundError) return [];
      if (!(error instanceof DamagedSnapshotError)) throw error;
      throw new DamagedSnapshotError(
        `${error.message}. What it needs is not known, so nothing can be pruned: put a good copy in its place, or move ` +
          `${this.#store.location}/${manifestKey(digest)} away`,
        { cause: error },
      );
    }
  }

  /** Manifests before their entries by identity, and before any pack of theirs is marked. */
  async #removeManifests(expired: readonly Judged[], kept: ReadonlySet<string>, now: Date): Promise<void> {
    await inParallel(expired, async ({ digest }) => {
      this.#tell("removing snapshots");
      await this.#store.remove(manifestKey(digest));
    });
    const gone = new Set(expired.map(({ digest }) => digest));
    for await (const { key, storedAt } of this.#store.list("ids/")) {
      const digest = nameOf(key);
      if (kept.has(digest)) continue;
      // One without its manifest may belong to a pack that is about to write it.
      if (!gone.has(digest) && !this.#isOver(storedAt, now)) continue;
      if ((await this.#store.find(manifestKey(digest))) === null) await this.#store.remove(key);
    }
  }

  /** Removes each pack and then its mark, so that the mark is never missing while the pack can still be found. */
  async #removePacks(packs: readonly Found[], now: Date): Promise<readonly Found[]> {
    const removed: Found[] = [];
    await inParallel(packs, async (pack) => {
      this.#tell("removing packs");
      // Another prune may have removed the pack and the mark, and a packer have stored the pack again.
      const mark = await this.#store.find(markKey(pack.name));
      if (mark === null || (this.#wait > 0 && !this.#isOver(mark.storedAt, now))) return;
      await this.#store.remove(packKey(pack.name));
      removed.push(pack);
      await this.#store.remove(markKey(pack.name));
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

  #lastOf(waiting: readonly Found[], marks: ReadonlyMap<string, Found>): string | null {
    const times = waiting.map(({ name }) => (marks.get(name)?.storedAt.getTime() ?? 0) + this.#wait);
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

function split<T>(items: readonly T[], first: (item: T) => boolean): [T[], T[]] {
  return [items.filter(first), items.filter((item) => !first(item))];
}

/** Works on several items at a time; the first error ends it once what is under way is done. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const workers = Array.from({ length: Math.min(atOnce, items.length) }, async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      await work(item).catch((error) => {
        waiting.length = 0;
        throw error;
      });
    }
  });
  for (const outcome of await Promise.allSettled(workers)) if (outcome.status === "rejected") throw outcome.reason;
}
