import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultLayout } from "../../runtime/environment";
import { partsOf } from "../../runtime/snapshot/parts";
import { StatIndex } from "../../runtime/snapshot/stat-index";
import { stampOf, type TreeEntry } from "../../runtime/snapshot/tree-entry";
import { temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const place = { root: "/srv/studio", parts: partsOf(defaultLayout) };
/** What the index found for an entry, if anything. */
const found = (index: StatIndex, entry: TreeEntry) => {
  const row = index.find(entry);
  return row === undefined ? undefined : index.table.at(row);
};
const load = () => StatIndex.load(join(folder.path, "index"), place);
const content = { sha256: "0".repeat(64), identity: "1".repeat(64), fact: '"fact"' };

function fileChangedAt(milliseconds: number, nanoseconds = 1n): TreeEntry {
  const ctimeNs = BigInt(milliseconds) * 1_000_000n + nanoseconds;
  const stamp = stampOf({ size: 4n, mtimeNs: 1n, ctimeNs, ino: 7n });
  return { path: "a\nb", type: "file", mode: 0o644, stamp, target: "", counts: true, followed: false, empty: false };
}

test("content that was read after its stamp had become old is remembered, over a save as well", () => {
  const index = load();
  const entry = fileChangedAt(1_000_000);

  index.note(entry, content, 1_000_021);
  index.save(() => false);

  expect(found(index, entry)).toEqual(content);
  expect(found(load(), entry)).toEqual(content);
});

test.each([
  ["within the same step of the clock", fileChangedAt(1_000_000), 1_000_010],
  ["before the stamp, by another clock", fileChangedAt(1_000_000), 900_000],
  ["within the same second, where only seconds are kept", fileChangedAt(1_000_000, 0n), 1_001_500],
])("content that was read %s is not trusted: a later write would leave the same stamp", (_, entry, readAt) => {
  const index = load();

  index.note(entry, content, readAt);

  expect(found(index, entry)).toBeUndefined();
});

test.each<[string, Partial<TreeEntry["stamp"]>]>([
  ["size", { size: 5 }],
  ["time", { mtimeLow: 2 }],
  ["time, years later", { mtimeHigh: 2 }],
  ["time of change", { ctimeLow: 9 }],
  ["time of change, years later", { ctimeHigh: 9 }],
  ["inode", { ino: 8 }],
])("another %s is another content", (_, change) => {
  const index = load();
  const entry = fileChangedAt(1_000_000);
  index.note(entry, content, 2_000_000);

  expect(found(index, { ...entry, stamp: { ...entry.stamp, ...change } })).toBeUndefined();
});

test("what was written just now is read only when its stamp has become old", async () => {
  const index = load();
  const now = Date.now();
  const entry = fileChangedAt(now);

  await index.settle([entry]);
  index.note(entry, content, Date.now());

  expect(found(index, entry)).toEqual(content);
});

test("files that are gone are forgotten, others are kept as asked", () => {
  const index = load();
  const [gone, kept] = [fileChangedAt(1), { ...fileChangedAt(1), path: "ComfyUI/models/kept" }];
  index.note(gone, content, 2_000);
  index.note(kept, content, 2_000);
  index.save(() => false);

  const later = load();
  later.save((path) => path === kept.path);

  expect(found(load(), gone)).toBeUndefined();
  expect(found(load(), kept)).toEqual(content);
});
