import type { ObjectStore } from "../store";
import { BaseEntries, type Change } from "./base-entries";
import { isSameView, viewOf } from "./entry-view";
import type { Needs } from "./last-packed";
import { readManifest } from "./manifest-file";
import { ManifestReading } from "./manifest-reading";
import type { ManifestEntry, RemovedRecord } from "./manifest-records";
import type { PackedEntries } from "./packed-entries";
import { nameOf } from "./paths";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

/** What a store has that a manifest may name: nothing that a prune has marked. */
export interface Usable {
  readonly store: ObjectStore;
  /** Manifests, the newest first: digest → bytes. */
  readonly manifests: ReadonlyMap<string, number>;
  /** Packs: hash → bytes. */
  readonly packs: ReadonlyMap<string, number>;
}

/** A tree's entries, and how they differ from a base; all of them where there is none. */
export interface Compared {
  readonly entries: PackedEntries;
  readonly base: BaseEntries | null;
  readonly changes: readonly Change[];
}

/** Manifests that are looked at, and bases that are compared, where it is not known which base a tree is close to. */
const mostLookedAt = 8;
const mostCompared = 3;

export function everything(entries: PackedEntries): readonly number[] {
  return Array.from({ length: entries.count }, (_, number) => number);
}

export function isUsable({ manifests, packs }: Usable, needs: Needs): boolean {
  return (
    Object.entries(needs.manifests).every(([digest, size]) => manifests.get(digest) === size) &&
    needs.packs.every(({ sha256, size }) => packs.get(sha256) === size)
  );
}

export function needsOf({ digest, size, packs }: BaseEntries): Needs {
  return { manifests: { [digest]: size }, packs };
}

/** The base, of those that the newest snapshots have or are, from which a tree differs least. */
export async function closestBase(usable: Usable, entries: PackedEntries): Promise<Compared> {
  let closest: Compared = { entries, base: null, changes: everything(entries) };
  const seen = new Set<string>();
  for (const digest of [...usable.manifests.keys()].slice(0, mostLookedAt)) {
    if (seen.size === mostCompared) break;
    const candidate = await unlessDamaged(() => baseOf(usable.store, digest));
    const size = usable.manifests.get(candidate ?? "");
    if (candidate === null || size === undefined || seen.has(candidate)) continue;
    seen.add(candidate);
    const base = await unlessDamaged(() => BaseEntries.fetch(usable.store, candidate, size));
    if (base === null || !isUsable(usable, needsOf(base))) continue;
    const changes = base.changesTo(entries);
    if (closest.base === null || changes.length < closest.changes.length) closest = { entries, base, changes };
  }
  return closest;
}

/**
 * The manifest in the store that says exactly this of exactly this tree, so that the same tree gives the same snapshot whoever packs
 * it. `id` and `headText`: the identity, and the first record.
 */
export async function sameInStore(
  usable: Usable,
  id: string,
  headText: string,
  compared: Compared,
): Promise<{ readonly digest: string; readonly needs: Needs } | null> {
  for await (const { key } of usable.store.list(`ids/${id}/`)) {
    const digest = nameOf(key);
    if (!usable.manifests.has(digest)) continue;
    const needs = await unlessDamaged(() => needsIfSame(usable, digest, headText, compared));
    if (needs !== null && isUsable(usable, needs)) return { digest, needs };
  }
  return null;
}

async function baseOf(store: ObjectStore, digest: string): Promise<string> {
  return (await new ManifestReading(store, digest).readNeeds()).base ?? digest;
}

async function needsIfSame(
  { store, manifests }: Usable,
  digest: string,
  headText: string,
  { entries, base, changes }: Compared,
): Promise<Needs | null> {
  const reading = new ManifestReading(store, digest);
  await reading.readHead();
  if (reading.headText !== headText) return null;
  const own = await reading.readNeeds();
  const all = everything(entries);
  const sizes = { [digest]: manifests.get(digest) ?? -1 };
  if (own.base === null) {
    return (await saysOnly(reading, entries, all)) ? { manifests: sizes, packs: own.packs } : null;
  }
  const same =
    own.base === base?.digest
      ? await saysOnly(reading, entries, changes)
      : areSame((await readManifest(store, digest)).entries, entries, all);
  if (!same) return null;
  const { packs } = await new ManifestReading(store, own.base).readNeeds();
  return { manifests: { ...sizes, [own.base]: manifests.get(own.base) ?? -1 }, packs: [...packs, ...own.packs] };
}

/** Whether a manifest's own entries are these. */
async function saysOnly(
  reading: ManifestReading,
  entries: PackedEntries,
  expected: readonly Change[],
): Promise<boolean> {
  const found: (ManifestEntry | RemovedRecord)[] = [];
  await reading.each((record) => {
    if ("path" in record) found.push(record);
    return found.length <= expected.length;
  });
  return areSame(found, entries, expected);
}

function areSame(
  found: readonly (ManifestEntry | RemovedRecord)[],
  entries: PackedEntries,
  expected: readonly Change[],
): boolean {
  return (
    found.length === expected.length &&
    found.every((record, position) => {
      const change = expected[position];
      if (record.type === "removed") return change === record.path;
      return typeof change === "number" && isSameView(viewOf(record), entries.at(change));
    })
  );
}

/** A damaged manifest, or one that a prune has removed since it was listed, is of no use. */
async function unlessDamaged<T>(read: () => Promise<T | null>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError) return null;
    throw error;
  }
}
