import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import {
  DamagedSnapshotError,
  listSnapshots,
  type PackedSnapshot,
  pack,
  readCounted,
  readHead,
  restore,
  verify,
} from "../../runtime/snapshot";
import { readManifest } from "../../runtime/snapshot/manifest-file";
import type { SnapshotEntry } from "../../runtime/snapshot/manifest-table";
import { openStore } from "../../runtime/store";
import { buildEngine } from "../support/engine-process";
import { baseIn, largeManifest, recordsIn } from "../support/large-manifest";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  const files = Array.from({ length: 20 }, (_, number) => [`ComfyUI/many/${number}.txt`, `file ${number}`] as const);
  environment = makeEnvironment(at("env"), { ...largeManifest, ...Object.fromEntries(files) });
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);

const packIt = (change: { readonly index?: string; readonly store?: string } = {}): Promise<PackedSnapshot> =>
  pack({
    environment,
    models: "referenced",
    store: at(change.store ?? "store"),
    plugins: [],
    index: at(change.index ?? "index"),
  });

const write = (files: Parameters<typeof writeFiles>[1]) => writeFiles(at("env"), files);
const sizeOf = ({ digest }: PackedSnapshot, store = "store") => statSync(at(store, "snapshots", digest)).size;
const manifests = () => readdirSync(at("store/snapshots"));

function said(entry: SnapshotEntry) {
  const { type, path, counts } = entry;
  if (type === "link") return { type, path, counts, target: entry.target };
  if (type === "directory") return { type, path, counts, mode: entry.mode };
  const { mode, mtime, size, sha256, identity } = entry;
  return { type, path, counts, mode, mtime, size, sha256, identity };
}

/** What a manifest says, read through its base: everything but where content is. */
async function saidBy({ digest }: PackedSnapshot, store = "store") {
  const { head, entries } = await readManifest(openStore(at(store)), digest);
  return { head, entries: entries.map((entry) => said(entry)) };
}

test("after few changes a manifest says what differs from a whole one, and is restored as the tree is", async () => {
  const first = await packIt();
  write({ "ComfyUI/many/3.txt": "changed", "ComfyUI/many/new.txt": "new" });
  rmSync(at("env/ComfyUI/many/4.txt"));
  const second = await packIt();
  write({ "ComfyUI/many/5.txt": "changed later" });
  const third = await packIt();

  expect(baseIn(at("store"), first.digest)).toBeNull();
  expect(baseIn(at("store"), second.digest)).toBe(first.digest);
  // Not the second: a base has none itself.
  expect(baseIn(at("store"), third.digest)).toBe(first.digest);
  expect(sizeOf(first)).toBeGreaterThan(64 * 1024);
  expect(sizeOf(third)).toBeLessThan(3000);
  const paths = recordsIn(at("store"), third.digest).flatMap(({ path }) => (path === undefined ? [] : [path]));
  expect(paths).toEqual(["ComfyUI/many/3.txt", "ComfyUI/many/4.txt", "ComfyUI/many/5.txt", "ComfyUI/many/new.txt"]);
  expect(await verify({ reference: third.reference, deep: true })).toMatchObject({ problems: [], packs: 3 });
  await restore({ reference: third.reference, target: at("restored"), location: at("env") });
  const models = (path: string) => path.startsWith("ComfyUI/models");
  expect(withoutTimes(describeTree(at("restored"), models))).toEqual(withoutTimes(describeTree(at("env"), models)));
  expect(await readHead(third.reference)).toEqual(third.head);
  expect((await readCounted(third.reference)).map(({ path }) => path)).not.toContain("ComfyUI/many/4.txt");
  expect((await listSnapshots(at("store"))).map(({ digest }) => digest)).toContain(first.digest);
});

test("where much changed, or all is small, a manifest is whole", async () => {
  const first = await packIt();
  const files = Array.from({ length: 80 }, (_, number) => [`ComfyUI/more/${number}.txt`, `more ${number}`] as const);
  write(Object.fromEntries(files));
  const second = await packIt();
  expect(baseIn(at("store"), second.digest)).toBeNull();

  // The new one is what the next is based on.
  write({ "ComfyUI/many/5.txt": "changed later" });
  expect(baseIn(at("store"), (await packIt()).digest)).toBe(second.digest);

  for (const name of ["far", "more"]) rmSync(at("env/ComfyUI", name), { recursive: true });
  const small = await packIt();
  write({ "ComfyUI/many/6.txt": "changed later" });
  const smaller = await packIt();

  expect(first.digest).not.toBe(second.digest);
  expect([baseIn(at("store"), small.digest), baseIn(at("store"), smaller.digest)]).toEqual([null, null]);
});

test("the same tree gives the same snapshot: again, by another machine, and after it had been another tree", async () => {
  const first = await packIt();
  write({ "ComfyUI/many/3.txt": "changed" });
  const second = await packIt();
  const again = await packIt();
  const elsewhere = await packIt({ index: "other-index" });
  const elsewhereAgain = await packIt({ index: "other-index" });
  const { atime, mtime } = statSync(at("env/ComfyUI/many/3.txt"));
  write({ "ComfyUI/many/3.txt": "changed again" });
  const third = await packIt({ index: "other-index" });
  write({ "ComfyUI/many/3.txt": "changed" });
  utimesSync(at("env/ComfyUI/many/3.txt"), atime, mtime);
  // A time is set to the microsecond here, and is what it was to the millisecond only.
  const back = await packIt();
  const backElsewhere = await packIt({ index: "third-index" });

  expect([again, elsewhere, elsewhereAgain].map(({ digest }) => digest)).toEqual(Array(3).fill(second.digest));
  expect(again).toMatchObject({ reference: second.reference, head: second.head, bytesAdded: 0, bytesStored: 0 });
  expect(new Set([first, second, third].map(({ digest }) => digest)).size).toBe(3);
  expect(backElsewhere.digest).toBe(back.digest);
  expect(back.head.summary.id).toBe(second.head.summary.id);
});

test.each<[string, () => void]>([
  ["missing", () => rmSync(at("index.packed"))],
  [
    "damaged",
    () => writeFileSync(at("index.packed"), `${readFileSync(at("index.packed"), "utf8")} `.replace("a", "b")),
  ],
  ["without what it compares with", () => rmSync(at("index.base"))],
  ["beside a damaged base", () => flip(at("index.base"))],
  ["of another store", () => writeFileSync(at("index.packed"), readFileSync(at("other-index.packed")))],
])("a note of the last pack that is %s costs time and nothing else", async (_, spoilIt) => {
  await packIt();
  write({ "ComfyUI/many/3.txt": "changed" });
  const second = await packIt();
  await packIt({ store: "other-store", index: "other-index" });

  spoilIt();
  expect((await packIt()).digest).toBe(second.digest);

  spoilIt();
  write({ "ComfyUI/many/4.txt": "changed" });
  expect(baseIn(at("store"), (await packIt()).digest)).not.toBeNull();
});

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

test.each<[string, (first: PackedSnapshot, second: PackedSnapshot) => void]>([
  ["the manifest is gone", (_, { digest }) => rmSync(at("store/snapshots", digest))],
  ["its base is gone", ({ digest }) => rmSync(at("store/snapshots", digest))],
  ["both are gone", () => rmSync(at("store/snapshots"), { recursive: true })],
  ["a pack is gone", () => rmSync(at("store/packs"), { recursive: true })],
  ["everything is gone", () => rmSync(at("store"), { recursive: true })],
  ["a prune has marked its base", ({ digest }) => mark(digest)],
  ["a prune has marked it", (_, { digest }) => mark(digest)],
])("what is noted does not stand for what the store lacks: %s", async (_, spoilIt) => {
  const first = await packIt();
  write({ "ComfyUI/many/3.txt": "changed" });
  const second = await packIt();
  const said = await saidBy(second);

  spoilIt(first, second);
  const again = await packIt();
  for (const name of existsSync(at("store/marks")) ? readdirSync(at("store/marks")) : []) {
    rmSync(at("store/snapshots", name));
  }

  expect(await saidBy(again)).toEqual(said);
  expect(await verify({ reference: again.reference, deep: true })).toMatchObject({ problems: [] });
  expect((await packIt()).digest).toBe(again.digest);
  expect(readdirSync(at("store/ids", again.head.summary.id))).toContain(again.digest);
});

function mark(name: string): void {
  mkdirSync(at("store/marks"), { recursive: true });
  writeFileSync(at("store/marks", name), "");
}

test("where nothing changed, no manifest is read, and only what is there is looked for", async () => {
  const engine = await buildEngine(folder.path);
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  /** Reads of a manifest while the tree is packed. */
  const reads = async () => {
    const incident = {
      module: "node:fs/promises",
      function: "open",
      path: "snapshots",
      call: 1000,
      when: "before",
      action: { kill: true },
    } as const;
    const { calls, result } = await engine.pack(request, incident);
    return [calls, (result as PackedSnapshot).digest];
  };
  await packIt();
  write({ "ComfyUI/many/3.txt": "changed" });
  const { digest } = await packIt();

  expect(await reads()).toEqual([0, digest]);
  rmSync(at("index.packed"));
  const [some, same] = await reads();
  expect([same, Number(some) > 0]).toEqual([digest, true]);
  expect(await reads()).toEqual([0, digest]);
});

test("a whole manifest that a prune has marked gets another name, which is then its own", async () => {
  const first = await packIt();
  mark(first.digest);

  const second = await packIt();
  const third = await packIt({ index: "other-index" });

  expect(second.digest).not.toBe(first.digest);
  expect(third.digest).toBe(second.digest);
  expect(await saidBy(second)).toEqual(await saidBy(first));
  rmSync(at("store/snapshots", first.digest));
  expect(await verify({ reference: second.reference, deep: true })).toMatchObject({ problems: [] });
});

test("a pack whose base a prune marks just before the manifest is written starts over, and is not based on it", async () => {
  const engine = await buildEngine(folder.path);
  const first = await packIt();
  write({ "ComfyUI/many/3.txt": "changed" });
  mkdirSync(at("store/marks"));

  const { error, result } = await engine.pack(
    { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") },
    {
      module: "node:fs/promises",
      function: "readdir",
      path: "marks",
      call: 2,
      when: "before",
      action: { write: at("store/marks", first.digest), content: "" },
    },
  );

  expect(error).toBeNull();
  const { digest, reference } = result as PackedSnapshot;
  expect(baseIn(at("store"), digest)).toBeNull();
  rmSync(at("store/snapshots", first.digest));
  expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
});

test("a pack that is killed at any of its writes leaves a store and notes with which the next ones are right", {
  timeout: 900_000,
}, async () => {
  const engine = await buildEngine(folder.path);
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  await packIt();
  let kills = 0;
  for (let call = 1; ; call++) {
    write({ "ComfyUI/many/3.txt": `changed ${call}` });
    const { killed } = await engine.pack(request, {
      module: call % 2 === 0 ? "node:fs" : "node:fs/promises",
      function: "*",
      call: call >> 1,
      when: "after",
      action: { kill: true },
    });
    const whole = await packIt({ store: `whole-${call}`, index: `whole-index-${call}` });
    const after = await packIt();

    expect(await saidBy(after)).toEqual(await saidBy(whole, `whole-${call}`));
    for (const { reference } of await listSnapshots(at("store"))) {
      expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
    }
    expect(call).toBeLessThan(100);
    if (killed) kills += 1;
    else if (call > 20) break;
  }
  expect(kills).toBeGreaterThan(8);
});

test("whatever changes in a tree, its manifest says the same with a base as without", {
  timeout: 120_000,
}, async () => {
  const name = fc.constantFrom(
    "a",
    "b",
    "many",
    "many/3.txt",
    "many/x",
    "many/x/y",
    "ü",
    "many/3.txt.more",
    "zz",
    "far/1",
  );
  const change = fc.oneof(
    fc.record({ kind: fc.constant("write" as const), name, text: fc.constantFrom("one", "two", "file 3", "") }),
    fc.record({ kind: fc.constant("link" as const), name, text: fc.constantFrom("one", "/two", "a'b\nc") }),
    fc.record({ kind: fc.constant("folder" as const), name }),
    fc.record({ kind: fc.constant("remove" as const), name }),
    fc.record({ kind: fc.constant("mode" as const), name, mode: fc.constantFrom(0o600, 0o755) }),
    fc.record({ kind: fc.constant("time" as const), name, time: fc.integer({ min: -5, max: 2_000_000_000 }) }),
  );
  await packIt();
  let run = 0;
  let based = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
      for (const one of changes) apply(one);
      const packed = await packIt();
      const store = `whole-${++run}`;
      const whole = await packIt({ store, index: `whole-index-${run}` });

      expect(await saidBy(packed)).toEqual(await saidBy(whole, store));
      expect(baseIn(at(store), whole.digest)).toBeNull();
      if (baseIn(at("store"), packed.digest) !== null) based += 1;
      expect(await verify({ reference: packed.reference, deep: true })).toMatchObject({ problems: [] });
    }),
    { numRuns: 20 },
  );
  expect(based).toBeGreaterThan(5);
});

interface TreeChange {
  readonly kind: "write" | "link" | "folder" | "remove" | "mode" | "time";
  readonly name: string;
  readonly text?: string;
  readonly mode?: number;
  readonly time?: number;
}

function apply({ kind, name, text = "", mode = 0o644, time = 0 }: TreeChange): void {
  const path = at("env/ComfyUI", name);
  const folders = name.split("/").slice(0, -1);
  for (const [depth] of folders.entries()) {
    const above = lstatSync(at("env/ComfyUI", ...folders.slice(0, depth + 1)), { throwIfNoEntry: false });
    if (above === undefined) break;
    if (!above.isDirectory()) return;
  }
  if (kind === "mode" || kind === "time") {
    if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) return;
    if (kind === "mode") chmodSync(path, mode);
    else utimesSync(path, time, time);
    return;
  }
  rmSync(path, { recursive: true, force: true });
  mkdirSync(join(path, ".."), { recursive: true });
  if (kind === "write") writeFileSync(path, text);
  else if (kind === "link") symlinkSync(text, path);
  else if (kind === "folder") mkdirSync(path);
}

test("a snapshot whose base is missing is damaged, and what is missing is named", async () => {
  const first = await packIt();
  write({ "ComfyUI/many/3.txt": "changed" });
  const second = await packIt();
  rmSync(at("store/snapshots", first.digest));

  const { problems } = await verify({ reference: second.reference, deep: false });

  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(`its base ${at("store/snapshots", first.digest)} is missing`);
  await expect(restore({ reference: second.reference, target: at("restored") })).rejects.toBeInstanceOf(
    DamagedSnapshotError,
  );
  expect(existsSync(at("restored"))).toBe(false);
  expect(manifests()).toEqual([second.digest]);
});
