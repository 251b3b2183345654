import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DamagedObjectError, FolderStore, ObjectNotFoundError, openStore, processToken } from "../../runtime/store";
import { temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let store: FolderStore;
beforeEach(() => {
  folder = temporaryFolder();
  store = new FolderStore(join(folder.path, "store"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, "store", ...names);
const bytes = (...texts: string[]) => texts.map((text) => Buffer.from(text));

async function keysIn(prefix: string): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

test("an object is made of its pieces, and found with its size", async () => {
  expect(await store.create("packs/ab/abcd", bytes("one ", "two"))).toBe(true);

  expect((await store.get("packs/ab/abcd")).toString()).toBe("one two");
  expect((await store.getRange("packs/ab/abcd", 4, 2)).toString()).toBe("tw");
  expect(await store.find("packs/ab/abcd")).toMatchObject({ key: "packs/ab/abcd", size: 7 });
});

test("an object that is there is not written again", async () => {
  await store.create("snapshots/01", bytes("first"));
  const before = statSync(at("snapshots/01"));

  expect(await store.create("snapshots/01", bytes("other"))).toBe(false);

  expect(readFileSync(at("snapshots/01"), "utf8")).toBe("first");
  expect(statSync(at("snapshots/01")).ino).toBe(before.ino);
});

test("an object of another size than it should have is reported instead of taken for good", async () => {
  await store.create("snapshots/01", bytes("whole"));

  await expect(store.create("snapshots/01", bytes("whole object"))).rejects.toBeInstanceOf(DamagedObjectError);
  await expect(store.getRange("snapshots/01", 3, 10)).rejects.toBeInstanceOf(DamagedObjectError);
});

test("of many that create one object at once, one does", async () => {
  const created = await Promise.all(Array.from({ length: 12 }, () => store.create("snapshots/02", bytes("same"))));

  expect(created.filter(Boolean)).toHaveLength(1);
  expect(readdirSync(at("partial"))).toEqual([]);
});

test("objects are listed in order, empty ones as well, and an unused store has none", async () => {
  expect(await keysIn("packs/")).toEqual([]);
  for (const key of ["packs/cd/cd01", "packs/ab/ab02", "packs/ab/ab01", "ids/01/02"]) await store.create(key, []);

  expect(await keysIn("packs/")).toEqual(["packs/ab/ab01", "packs/ab/ab02", "packs/cd/cd01"]);
  expect(await keysIn("ids/")).toEqual(["ids/01/02"]);
});

test("what is missing is said to be", async () => {
  await expect(store.get("snapshots/03")).rejects.toBeInstanceOf(ObjectNotFoundError);
  await expect(store.getRange("snapshots/03", 0, 1)).rejects.toBeInstanceOf(ObjectNotFoundError);
  expect(await store.find("snapshots/03")).toBeNull();
});

test.each(["../outside", "/etc/passwd", "packs/../../x", "packs//x", "Packs/ab", "packs/ab/name.txt"])(
  "%s is no key",
  async (key) => {
    await expect(store.create(key, [])).rejects.toThrow("cannot be a key");
    await expect(store.get(key)).rejects.toThrow("cannot be a key");
  },
);

test("half-written objects of dead processes are removed, those of living and of unknown ones stay for a day", async () => {
  const [machine] = processToken().split("-");
  const dead = `${machine}-4194305-1-00000001`; // Above the largest process number of Linux.
  const living = `${processToken()}-00000002`;
  const unknown = "ffffffff-1-1-00000003";
  const forgotten = "ffffffff-1-1-00000004";
  mkdirSync(at("partial"), { recursive: true });
  for (const name of [dead, living, unknown, forgotten]) writeFileSync(at("partial", name), "half");
  const twoDaysAgo = Date.now() / 1000 - 2 * 86_400;
  utimesSync(at("partial", forgotten), twoDaysAgo, twoDaysAgo);

  await store.create("snapshots/04", bytes("whole"));

  expect(readdirSync(at("partial")).sort()).toEqual([living, unknown].sort());
});

test("a store is the absolute path of a folder; anything else is refused with what would be right", () => {
  expect(openStore(at()).location).toBe(at());
  expect(() => openStore("relative/store")).toThrow("give the absolute path of a folder");
});
