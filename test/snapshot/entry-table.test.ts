import fc from "fast-check";
import { expect, test } from "vitest";
import { EntryTable, newEntryOf } from "../../runtime/snapshot/entry-table";
import { endOf, mergeTables } from "../../runtime/snapshot/merge-tables";
import { compareBytes } from "../../runtime/snapshot/paths";
import { stampOf, type TreeEntry } from "../../runtime/snapshot/tree-entry";

const nanoseconds = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
const segment = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 6 })
  .map((name) => name.replaceAll(/[\0/]/g, "_"));

const entry: fc.Arbitrary<TreeEntry> = fc
  .record({
    path: fc.array(segment, { minLength: 1, maxLength: 4 }).map((names) => names.join("/")),
    type: fc.constantFrom("file", "directory", "link"),
    mode: fc.nat(0o777),
    size: fc.bigInt({ min: 0n, max: 2n ** 53n }),
    ino: fc.bigInt({ min: 0n, max: 2n ** 53n }),
    mtimeNs: nanoseconds,
    ctimeNs: nanoseconds,
    target: segment,
    counts: fc.boolean(),
    followed: fc.boolean(),
    empty: fc.boolean(),
  })
  .map(({ path, type, mode, target, counts, followed, empty, ...stats }) => {
    const stamp = type === "file" ? stampOf(stats) : stampOf({ size: 0n, ino: 0n, mtimeNs: 0n, ctimeNs: 0n });
    return { path, type, mode, stamp, target: type === "link" ? target : "", counts, followed, empty };
  });

const entries = fc
  .uniqueArray(entry, { selector: ({ path }) => path, maxLength: 40 })
  .map((list) => list.sort((a, b) => compareBytes(a.path, b.path)));

const tableOf = (list: readonly TreeEntry[]) => EntryTable.of(list.map(newEntryOf));

test("a table gives back the entries that it was made of, as a whole and by path", () => {
  fc.assert(
    fc.property(entries, (list) => {
      const table = tableOf(list);
      expect([...table]).toEqual(list);
      expect(table.paths).toEqual(list.map(({ path }) => path));
      for (const [row, { path }] of list.entries()) expect(tableOf(list).rowOf(path)).toBe(row);
      expect(table.rowOf("not/there")).toBe(list.findIndex(({ path }) => path === "not/there"));
    }),
  );
});

test("tables are equal when their entries are, and not when any of them differs", () => {
  fc.assert(
    fc.property(entries, fc.nat(), entry, (list, number, other) => {
      expect(tableOf(list).equals(tableOf(list))).toBe(true);
      fc.pre(list.length > 0);
      const changed = list.with(number % list.length, other);
      const same = JSON.stringify(changed) === JSON.stringify(list);
      expect(tableOf(changed).equals(tableOf(list))).toBe(same);
    }),
  );
});

test("merged tables are the table of all their entries", () => {
  fc.assert(
    fc.property(entries, fc.array(fc.nat(3), { minLength: 40, maxLength: 40 }), fc.nat(9), (list, choice, cut) => {
      const done: number[] = [];
      const lists = [0, 1, 2, 3].map((number) => {
        const table = tableOf(list.filter((_, row) => choice[row] === number));
        // Two slices of each.
        const row = Math.min(cut, table.length);
        const link = table.targets.length - [...table].slice(row).filter(({ type }) => type === "link").length;
        const middle = { row, text: table.textOffset(row), link };
        const [from, to] = [{ row: 0, text: 0, link: 0 }, endOf(table)];
        return [
          { table, from, to: middle, done: () => done.push(number) },
          { table, from: middle, to, done: () => done.push(number) },
        ];
      });
      expect([...mergeTables(lists)]).toEqual(list);
      expect(done.sort()).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    }),
  );
});
