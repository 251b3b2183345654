import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultLayout } from "../../runtime/environment";
import { EntryTable, newEntryOf } from "../../runtime/snapshot/entry-table";
import { partsOf } from "../../runtime/snapshot/parts";
import { StatIndex } from "../../runtime/snapshot/stat-index";
import type { Identified } from "../../runtime/snapshot/summary";
import { stampOf, type TreeEntry } from "../../runtime/snapshot/tree-entry";
import type { Tree } from "../../runtime/snapshot/walk";
import { temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const place = { root: "/srv/studio", parts: partsOf(defaultLayout) };
/** What the index found for an entry of a tree, if anything. */
const found = async (index: StatIndex, entry: TreeEntry, tree = treeOf(entry)) => {
  await index.begin(tree);
  const row = index.find(entry);
  return row === undefined ? undefined : index.table.at(row);
};
const load = () => StatIndex.load(join(folder.path, "index"), place);
/** A tree of these files. */
const treeOf = (...files: readonly TreeEntry[]): Tree => ({
  entries: EntryTable.of(files.map(newEntryOf)),
  models: [],
  remarks: [],
});
const content = { sha256: "0".repeat(64), identity: "1".repeat(64), fact: '"fact"' };

function fileChangedAt(milliseconds: number, nanoseconds = 1n): TreeEntry {
  const ctimeNs = BigInt(milliseconds) * 1_000_000n + nanoseconds;
  const stamp = stampOf({ size: 4n, mtimeNs: 1n, ctimeNs, ino: 7n });
  return { path: "a\nb", type: "file", mode: 0o644, stamp, target: "", counts: true, followed: false, empty: false };
}

test("content that was read after its stamp had become old is remembered, over a save as well", async () => {
  const index = load();
  const entry = fileChangedAt(1_000_000);

  index.note(entry, content, 1_000_021);
  index.save(treeOf(entry), "referenced", null);

  expect(await found(index, entry)).toEqual(content);
  expect(await found(load(), entry)).toEqual(content);
});

test.each([
  ["within the same step of the clock", fileChangedAt(1_000_000), 1_000_010],
  ["before the stamp, by another clock", fileChangedAt(1_000_000), 900_000],
  ["within the same second, where only seconds are kept", fileChangedAt(1_000_000, 0n), 1_001_500],
])("content that was read %s is not trusted: a later write would leave the same stamp", async (_, entry, readAt) => {
  const index = load();

  index.note(entry, content, readAt);

  expect(await found(index, entry)).toBeUndefined();
});

test.each<[string, Partial<TreeEntry["stamp"]>]>([
  ["size", { size: 5 }],
  ["time", { mtimeLow: 2 }],
  ["time, years later", { mtimeHigh: 2 }],
  ["time of change", { ctimeLow: 9 }],
  ["time of change, years later", { ctimeHigh: 9 }],
  ["inode", { ino: 8 }],
])("another %s is another content", async (_, change) => {
  const index = load();
  const entry = fileChangedAt(1_000_000);
  index.note(entry, content, 2_000_000);

  expect(await found(index, { ...entry, stamp: { ...entry.stamp, ...change } })).toBeUndefined();
});

test("what was written just now is read only when its stamp has become old", async () => {
  const index = load();
  const now = Date.now();
  const entry = fileChangedAt(now);

  await index.begin(treeOf(entry));
  index.note(entry, content, Date.now());

  expect(await found(index, entry)).toEqual(content);
});

test("files that are gone are forgotten", async () => {
  const index = load();
  const [gone, kept] = [fileChangedAt(1), { ...fileChangedAt(1), path: "a" }];
  index.note(gone, content, 2_000);
  index.note(kept, content, 2_000);
  index.save(treeOf(kept, gone), "referenced", null);

  const later = load();
  later.save(treeOf(kept), "referenced", null);

  expect(await found(load(), gone)).toBeUndefined();
  expect(await found(load(), kept)).toEqual(content);
});

test("model files that were not read this time are still known, until they change", async () => {
  const index = load();
  const model = { ...fileChangedAt(1), path: "ComfyUI/models/model" };
  index.note(model, content, 2_000);
  index.save({ ...treeOf(), models: [model] }, "locked", null);

  load().save({ ...treeOf(), models: [model] }, "referenced", null);
  expect(await found(load(), model, { ...treeOf(), models: [model] })).toEqual(content);

  const changed = { ...model, stamp: { ...model.stamp, size: 9 } };
  load().save({ ...treeOf(), models: [changed] }, "referenced", null);
  expect(await found(load(), changed, { ...treeOf(), models: [changed] })).toBeUndefined();
});

const identified: Identified = {
  id: "2".repeat(64),
  plugins: [{ name: "plugin", hash: "3".repeat(64), project: "1.0" }],
  pluginRemarks: [],
  distributions: { numpy: "1.26" },
  configuration: null,
  comfyui: "unknown",
  cuda: null,
  files: 1,
  bytes: 4,
  lasting: true,
};

test("a tree that nothing has touched is recognised as a whole", async () => {
  const index = load();
  const [entry, other] = [fileChangedAt(1), { ...fileChangedAt(1), path: "b" }];
  for (const file of [entry, other]) index.note(file, content, 2_000);
  index.save(treeOf(entry, other), "referenced", identified);

  expect(load().identified(treeOf(entry, other), "referenced")).toEqual(identified);
  expect(load().identified(treeOf(entry), "referenced")).toBeNull();
  expect(load().identified(treeOf(entry, other), "locked")).toBeNull();
});

test.each<[string, (entry: TreeEntry) => Partial<TreeEntry>]>([
  ["size", ({ stamp }) => ({ stamp: { ...stamp, size: 5 } })],
  ["time of change", ({ stamp }) => ({ stamp: { ...stamp, ctimeLow: 9 } })],
  ["inode", ({ stamp }) => ({ stamp: { ...stamp, ino: 8 } })],
  ["permissions", () => ({ mode: 0o755 })],
  ["path", () => ({ path: "a" })],
  ["part in the identity", () => ({ counts: false })],
  ["type", () => ({ type: "directory" })],
])("a tree with a file of another %s is not taken for the one before", (_, change) => {
  const index = load();
  const entry = fileChangedAt(1);
  index.note(entry, content, 2_000);
  index.save(treeOf(entry), "referenced", identified);

  expect(load().identified(treeOf({ ...entry, ...change(entry) }), "referenced")).toBeNull();
});

test("a tree with a link to elsewhere is not taken for the one before", async () => {
  const link: TreeEntry = { ...fileChangedAt(1), type: "link", target: "a" };
  load().save(treeOf(link), "referenced", identified);

  expect(load().identified(treeOf(link), "referenced")).toEqual(identified);
  expect(load().identified(treeOf({ ...link, target: "b" }), "referenced")).toBeNull();
});

test("a tree is not recognised when one of its files was read too soon after it was written", async () => {
  const index = load();
  const entry = fileChangedAt(1_000_000);
  index.note(entry, content, 1_000_010);
  index.save(treeOf(entry), "referenced", identified);

  expect(load().identified(treeOf(entry), "referenced")).toBeNull();
});

test("a locked model that changed makes another tree", async () => {
  const index = load();
  const model = fileChangedAt(1);
  index.note(model, content, 2_000);
  const tree = { ...treeOf(), models: [model] };
  index.save(tree, "locked", identified);

  expect(load().identified(tree, "locked")).toEqual(identified);
  expect(
    load().identified({ ...tree, models: [{ ...model, stamp: { ...model.stamp, size: 5 } }] }, "locked"),
  ).toBeNull();
});

test("a damaged index is as good as none", async () => {
  const entry = fileChangedAt(1);
  const index = load();
  index.note(entry, content, 2_000);
  index.save(treeOf(entry), "referenced", identified);
  const file = join(folder.path, "index");
  const bytes = readFileSync(file);
  const body = bytes.indexOf(10) + 1;

  for (const at of [0, 10, 100, body - 2, body, body + 1, bytes.length - 1]) {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    for (const written of [damaged, damaged.subarray(0, at)]) {
      writeFileSync(file, written);
      expect(await found(load(), entry)).toBeUndefined();
      // What it says of the tree as a whole stands in its first line, which has a hash of its own.
      expect(load().identified(treeOf(entry), "referenced")).toEqual(at < body ? null : identified);
    }
  }
});
