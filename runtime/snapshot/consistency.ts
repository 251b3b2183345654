import type { NewEntry } from "./entry-record";
import { EntryTable, newEntryOf } from "./entry-table";
import { mergeTables, wholeOf } from "./merge-tables";
import type { Packer } from "./packer";
import { compareBytes } from "./paths";
import { sameStamp, type TreeEntry } from "./tree-entry";
import { ChangedWhilePackingError, type ModelsMode } from "./types";
import type { Tree } from "./walk";

/** Times that what does not count is packed again when it changes, before it is left out. */
const attempts = 3;

/**
 * Packs what a walk found and looks again: the tree that is returned is the one that was packed. Throws
 * {@link ChangedWhilePackingError} when something that counts is no longer as it was; what is derived, such as byte code
 * that a running ComfyUI writes, is packed again, or left out when it keeps changing.
 */
export async function unchangedOrThrow({
  found,
  look,
  isUnchanged,
  packer,
  mode,
}: {
  found: Tree;
  /** Walks through the tree again, of which it has been found what is given. */
  look: (before: EntryTable) => Promise<Tree>;
  /** Whether a look would find the same again; false as well where that cannot be said without one. */
  isUnchanged: () => Promise<boolean>;
  packer: Packer;
  mode: ModelsMode;
}): Promise<Tree> {
  let tree = found;
  let pending: EntryTable | null = null;
  for (let attempt = 1; ; attempt++) {
    const missed = await (pending === null ? packer.packTree(tree.entries) : packer.pack(pending));
    if (attempt === 1 && mode === "locked") await hashModels(tree.models, packer);
    if (attempt === 1 && missed.size === 0 && (await isUnchanged())) return tree;
    const now = await look(tree.entries);
    const differing = await differences(tree, now, missed, packer, mode);
    if (differing.counted.length > 0) throw new ChangedWhilePackingError(differing.counted);
    const gone = new Set(differing.derived);
    if (gone.size === 0) return refreshed(tree, now);
    const unsettled = now.entries.filter(({ path }) => gone.has(path));
    const kept = tree.entries.filter(({ path }) => !gone.has(path));
    if (attempt === attempts) {
      const remark = `left out because they keep changing: ${[...gone].slice(0, 10).join(", ")}`;
      return refreshed({ ...tree, entries: kept, remarks: [...tree.remarks, remark] }, now);
    }
    tree = { ...tree, entries: mergeTables([[wholeOf(kept)], [wholeOf(unsettled)]]) };
    pending = unsettled;
  }
}

async function hashModels(models: readonly TreeEntry[], packer: Packer): Promise<void> {
  const changed = [...(await packer.hashAll(models))];
  if (changed.length > 0) throw new ChangedWhilePackingError(changed);
}

interface Differences {
  readonly counted: readonly string[];
  readonly derived: readonly string[];
}

/** What is not now as it was packed. A file that was only touched, or copied over with the same content, is as it was. */
async function differences(
  packed: Tree,
  now: Tree,
  missed: ReadonlySet<string>,
  packer: Packer,
  mode: ModelsMode,
): Promise<Differences> {
  const counted = new Set<string>();
  const derived = new Set<string>();
  for (const [row, currentRow] of differing(packed.entries, now.entries, missed)) {
    const current = currentRow < 0 ? undefined : now.entries.entry(currentRow);
    if (row < 0) {
      // Derived files that are new are part of the next snapshot.
      if (current !== undefined && matters(current)) counted.add(current.path);
      continue;
    }
    const entry = packed.entries.entry(row);
    const { path } = entry;
    if (current !== undefined && !missed.has(path) && isSame(entry, current)) continue;
    if (current !== undefined && (await hasSameContent(entry, current, packer))) continue;
    (matters(entry) ? counted : derived).add(path);
  }
  if (mode === "locked") for (const path of await changedModels(packed, now, packer)) counted.add(path);
  return { counted: [...counted].sort(compareBytes), derived: [...derived] };
}

/** The rows of two trees that are not the same in both or could not be read, by path; -1 where there is none. */
function* differing(
  before: EntryTable,
  after: EntryTable,
  missed: ReadonlySet<string>,
): Generator<readonly [number, number]> {
  if (missed.size === 0 && (before === after || before.equals(after))) return;
  for (const [row, other] of paired(before, after)) {
    const same =
      row >= 0 &&
      other >= 0 &&
      before.hasRecordOf(row, after, other) &&
      !before.isLink(row) &&
      !missed.has(before.path(row));
    if (!same) yield [row, other];
  }
}

/** The rows of two trees that have the same path, or the one that there is and -1. */
function* paired(before: EntryTable, after: EntryTable): Generator<readonly [number, number]> {
  const [ours, theirs] = [before.paths, after.paths];
  for (let i = 0, j = 0; i < ours.length || j < theirs.length; ) {
    const [one, other] = [ours[i], theirs[j]];
    const order = one === undefined ? 1 : other === undefined ? -1 : compareBytes(one, other);
    yield [order <= 0 ? i : -1, order >= 0 ? j : -1];
    if (order <= 0) i += 1;
    if (order >= 0) j += 1;
  }
}

/** Of a folder that holds something, what it holds is looked at instead. */
function matters({ type, counts, empty }: TreeEntry): boolean {
  return counts && (type !== "directory" || empty);
}

async function changedModels(packed: Tree, now: Tree, packer: Packer): Promise<readonly string[]> {
  const before = new Map(packed.models.map((entry) => [entry.path, entry]));
  const after = new Map(now.models.map((entry) => [entry.path, entry]));
  const changed = [...after.keys()].filter((path) => !before.has(path));
  for (const [path, entry] of before) {
    const current = after.get(path);
    if (current !== undefined && (isSame(entry, current) || (await hasSameContent(entry, current, packer)))) continue;
    changed.push(path);
  }
  return changed;
}

/** Folders change their times whenever anything appears in them; what matters of them is that they are there. */
function isSame(a: TreeEntry, b: TreeEntry): boolean {
  if (a.type !== b.type || a.target !== b.target || a.mode !== b.mode) return false;
  return a.type === "directory" ? true : sameStamp(a.stamp, b.stamp);
}

async function hasSameContent(before: TreeEntry, current: TreeEntry, packer: Packer): Promise<boolean> {
  if (before.type !== current.type || before.target !== current.target) return false;
  if (((before.mode ^ current.mode) & 0o100) !== 0) return false;
  if (before.type !== "file") return true;
  const packed = packer.contents.row(before.path);
  if (packed === undefined || before.stamp.size !== current.stamp.size) return false;
  const { table } = packer.contents;
  const read = await packer.hash(current);
  const found = packer.contents.row(before.path);
  packer.contents.set(before.path, packed);
  return read && found !== undefined && table.sha256(found) === table.sha256(packed);
}

/** The packed entries with the times and permissions that they have now, so that a restored file is like the original. */
function refreshed(tree: Tree, now: Tree): Tree {
  if (tree.entries === now.entries || tree.entries.equals(now.entries)) return tree;
  const entries: NewEntry[] = [];
  for (const [row, current] of paired(tree.entries, now.entries)) {
    if (row >= 0) entries.push(newEntryOf(current < 0 ? tree.entries.entry(row) : now.entries.entry(current)));
  }
  return { ...tree, entries: EntryTable.of(entries) };
}
