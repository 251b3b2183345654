import fc from "fast-check";
import { expect, test } from "vitest";
import type { DirectoryRecord, FileRecord, ManifestEntry } from "../../runtime/snapshot/manifest-records";
import { isSafePath } from "../../runtime/snapshot/manifest-records";
import { ScannedEntry } from "../../runtime/snapshot/manifest-scan";
import { ManifestTable, type SnapshotEntry } from "../../runtime/snapshot/manifest-table";
import { isRecord } from "../../runtime/snapshot/record-check";

const digits = (count: number) => fc.stringMatching(new RegExp(`^[0-9]{${count}}$`));
const sha256 = fc.stringMatching(/^[0-9a-f]{64}$/);
const mode = fc.integer({ min: 0, max: 0o777 }).map((bits) => bits.toString(8));
const path = fc.stringMatching(/^[ -~é/.]{1,30}$/);
const mtime = fc
  .tuple(fc.boolean(), fc.bigInt({ min: 0n, max: 999_999_999_999n }), digits(9))
  .map(([isNegative, seconds, fraction]) => `${isNegative ? "-" : ""}${seconds}.${fraction}`);
const part = fc.tuple(fc.nat(9999), fc.nat(1024 * 1024), fc.nat(1024 * 1024));
const counts = fc.constantFrom({}, { counts: false as const });

const file: fc.Arbitrary<FileRecord> = fc
  .tuple(path, mode, mtime, fc.nat(), sha256, fc.option(sha256), counts, fc.array(part, { maxLength: 4 }))
  .map(([path, mode, mtime, size, sha256, identity, counts, parts]) => {
    const own = identity === null ? {} : { identity };
    return { type: "file", path, mode, mtime, size, sha256, ...own, ...counts, parts };
  });
const directory: fc.Arbitrary<DirectoryRecord> = fc
  .tuple(path, mode, counts)
  .map(([path, mode, counts]) => ({ type: "directory", path, mode, ...counts }));
const entry = fc.oneof(file, directory);

const lineOf = (record: ManifestEntry) => Buffer.from(`${JSON.stringify(record)}\n`);

/** What is said of the only entry of a table. */
function said(fill: (table: ManifestTable) => void) {
  const table = new ManifestTable(1);
  fill(table);
  const [only] = table.entries();
  return only === undefined ? null : plain(only);
}

function plain(entry: SnapshotEntry) {
  const { type, path, counts } = entry;
  if (type === "link") return { type, path, counts, target: entry.target };
  if (type === "directory") return { type, path, counts, mode: entry.mode };
  const { mode, mtime, size, sha256, identity, parts } = entry;
  return { type, path, counts, mode, mtime, size, sha256, identity, parts };
}

test("what is read from the bytes of an entry is what its record says", () => {
  let scanned = 0;
  fc.assert(
    fc.property(entry, fc.nat(3), (record, before) => {
      const scan = new ScannedEntry();
      const bytes = Buffer.concat([Buffer.alloc(before), lineOf(record)]);
      const end = scan.read(bytes, before);
      if (end < 0) return;
      scanned += 1;
      expect(end).toBe(bytes.length);
      expect(isSafePath(record.path)).toBe(true);
      expect(said((table) => table.addScanned(scan))).toEqual(said((table) => table.add(record)));
    }),
    { numRuns: 2000 },
  );
  expect(scanned).toBeGreaterThan(100);
});

test("an entry is only read from its bytes where it would be valid as JSON and says the same", () => {
  fc.assert(
    fc.property(entry, fc.nat(), fc.nat(255), fc.constantFrom(0, 1), (record, place, byte, removed) => {
      const line = lineOf({ ...record, path: "some/place.py" });
      const at = place % line.length;
      const changed = Buffer.concat([line.subarray(0, at), Buffer.from([byte]), line.subarray(at + removed)]);
      const scan = new ScannedEntry();
      const end = scan.read(changed, 0);
      if (end < 0) return;
      const value: unknown = JSON.parse(changed.toString("utf8", 0, end));
      if (!isRecord(value)) throw new Error(`it took ${JSON.stringify(value)} for an entry`);
      expect(isSafePath((value as ManifestEntry).path)).toBe(true);
      expect(said((table) => table.addScanned(scan))).toEqual(said((table) => table.add(value as ManifestEntry)));
    }),
    { numRuns: 5000 },
  );
});

test("a path that leads elsewhere, or needs an escape, is left to the JSON parser", () => {
  for (const path of [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "./a",
    "a/..",
    "a/../b",
    "a/./b",
    'a"b',
    "a\\b",
    "é",
    "a\u0001",
  ]) {
    expect(new ScannedEntry().read(lineOf({ type: "directory", path, mode: "755" }), 0)).toBe(-1);
  }
  for (const path of ["a", ".a", "...", "..a/.b", "a/b.c/d"]) {
    expect(new ScannedEntry().read(lineOf({ type: "directory", path, mode: "755" }), 0)).toBeGreaterThan(0);
  }
});
