import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FolderStore, processToken } from "../../runtime/store";
import { temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let store: FolderStore;
beforeEach(() => {
  folder = temporaryFolder();
  store = new FolderStore(join(folder.path, "store"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, "store", ...names);
const [machine] = processToken().split("-");
/** Of a process with a number that no process can have. */
const dead = `${machine}-4194305-1-00000001`;
const foreign = (end: string) => `ffffffff-1-1-0000000${end}`;

test("a removed object is gone, others stay, and it can be created again", async () => {
  await store.create("packs/ab/ab01", [Buffer.from("one")]);
  await store.create("packs/ab/ab02", [Buffer.from("two")]);

  await store.remove("packs/ab/ab01");

  expect(await store.find("packs/ab/ab01")).toBeNull();
  expect(await store.find("packs/ab/ab02")).not.toBeNull();
  expect(await store.create("packs/ab/ab01", [Buffer.from("one")])).toBe(true);
});

test("what is not there need not be removed, also where there is no store yet", async () => {
  await store.remove("packs/ab/ab01");

  expect(existsSync(at())).toBe(false);
});

test("what killed writers left is found without being touched, and removed when asked for; a living writer's stays", async () => {
  mkdirSync(at("partial"), { recursive: true });
  const [alive, young, old] = [`${processToken()}-00000001`, foreign("1"), foreign("2")];
  for (const name of [dead, alive, young, old]) writeFileSync(at("partial", name), "12345");
  const dayBefore = Date.now() / 1000 - 25 * 3600;
  utimesSync(at("partial", old), dayBefore, dayBefore);

  expect(await store.removeAbandoned({ look: true })).toEqual({ objects: 2, bytes: 10 });
  expect(readdirSync(at("partial"))).toHaveLength(4);
  expect(await store.removeAbandoned({ look: false })).toEqual({ objects: 2, bytes: 10 });
  expect(readdirSync(at("partial")).sort()).toEqual([alive, young].sort());
});

test("an unused store has nothing abandoned", async () => {
  expect(await store.removeAbandoned({ look: false })).toEqual({ objects: 0, bytes: 0 });
});
