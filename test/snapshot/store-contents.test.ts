import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import {
  DamagedSnapshotError,
  listSnapshots,
  type PackedSnapshot,
  pack,
  readHead,
  readLastPacked,
  restore,
  SnapshotNotFoundError,
  verify,
} from "../../runtime/snapshot";
import { PackWorkers } from "../../runtime/snapshot/threads/pack-workers";
import { makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"), { "ComfyUI/large.bin": noise(3_500_000, 1) });
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const packIt = (store = "store"): Promise<PackedSnapshot> =>
  pack({ environment, models: "referenced", store: at(store), plugins: [], index: at("index") });

/** Bytes that no compression makes smaller, the same at each run. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let i = 0; i + 4 <= size; i += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 15)) >>> 0, i);
  }
  return bytes;
}

function packFiles(store = "store"): readonly string[] {
  const packs = at(store, "packs");
  return readdirSync(packs).flatMap((prefix) =>
    readdirSync(join(packs, prefix)).map((name) => join(packs, prefix, name)),
  );
}

/** Changes an object as a failing disk would. */
function spoil(path: string, change: (path: string) => void): void {
  chmodSync(path, 0o644);
  change(path);
}

function flipByte(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] ?? 0) ^ 0xff;
  writeFileSync(path, bytes);
}

test("an edited tree adds only the edited bytes", async () => {
  await packIt();
  const edited = "print('edited')\n";
  writeFileSync(at("env/ComfyUI/main.py"), edited);

  const second = await packIt();

  expect(second.bytesAdded).toBe(edited.length);
  expect(second.bytesStored).toBeLessThan(200);
});

test("of a large file, only the megabytes that changed are added", async () => {
  await packIt();
  const bytes = noise(3_500_000, 1);
  bytes[1_500_000] = (bytes[1_500_000] ?? 0) ^ 1;
  writeFileSync(at("env/ComfyUI/large.bin"), bytes);

  expect((await packIt()).bytesAdded).toBe(1024 * 1024);
});

test("without an index, a large file that the store has is read and not compressed", async () => {
  const first = await packIt();
  const run = vi.spyOn(PackWorkers.prototype, "run");
  const { digest, bytesAdded } = await pack({
    environment,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("another-index"),
  });

  const names = run.mock.calls.map(([name]) => name);
  run.mockRestore();
  expect(names).toContain("packChunks");
  expect(names).not.toContain("packFrame");
  expect([digest, bytesAdded]).toEqual([first.digest, 0]);
});

test("a large file of the size of another one is packed as any other", async () => {
  await packIt();
  const bytes = noise(3_500_000, 2);
  writeFileSync(at("env/ComfyUI/large.bin"), bytes);

  const { reference, bytesAdded } = await packIt();

  expect(bytesAdded).toBe(bytes.length);
  await restore({ reference, target: at("restored") });
  expect(readFileSync(at("restored/ComfyUI/large.bin")).equals(bytes)).toBe(true);
});

test("content that is there twice, or was moved, is stored once", async () => {
  await packIt();
  const bytes = readFileSync(at("env/ComfyUI/large.bin"));
  writeFiles(at("env"), { "ComfyUI/copy-1.bin": bytes, "ComfyUI/copy-2.bin": bytes });
  rmSync(at("env/ComfyUI/large.bin"));

  const second = await packIt();

  expect(second.bytesAdded).toBe(0);
  await restore({ reference: second.reference, target: at("restored") });
  expect(readFileSync(at("restored/ComfyUI/copy-2.bin")).equals(bytes)).toBe(true);
});

test("packs of a large tree are of the size that stores handle well", async () => {
  for (let number = 0; number < 5; number++)
    writeFiles(at("env"), { [`ComfyUI/${number}.bin`]: noise(16_000_000, 7 + number) });

  await packIt();

  const sizes = packFiles()
    .map((path) => statSync(path).size)
    .sort((a, b) => b - a);
  expect(sizes.length).toBeGreaterThanOrEqual(2);
  for (const size of sizes.slice(0, -1)) {
    expect(size).toBeGreaterThan(8 * 1024 * 1024);
    expect(size).toBeLessThanOrEqual(64 * 1024 * 1024);
  }
});

test("objects are named by their content, and an id's manifests are found by it", async () => {
  const { digest, head } = await packIt();

  expect(readdirSync(at("store/ids", head.summary.id))).toEqual([digest]);
  expect(readdirSync(at("store/snapshots"))).toEqual([digest]);
  expect(readdirSync(at("store")).sort()).toEqual(["ids", "packs", "partial", "snapshots"]);
});

test.each<[string, (pack: string) => void]>([
  ["has a flipped byte", (path) => spoil(path, (spoiled) => flipByte(spoiled, 1000))],
  ["is cut short", (path) => spoil(path, (spoiled) => truncateSync(spoiled, 1000))],
  ["is missing", (path) => rmSync(path)],
])("a pack that %s is found by a restore and by a deep verification", async (_, damage) => {
  const { reference } = await packIt();
  const [first = ""] = packFiles();
  expect(await verify({ reference, deep: true })).toMatchObject({ packs: 1, problems: [] });
  damage(first);

  const verification = await verify({ reference, deep: true });

  expect(verification.problems[0]).toContain(first);
  await expect(restore({ reference, target: at("restored") })).rejects.toBeInstanceOf(DamagedSnapshotError);
  expect(existsSync(at("restored"))).toBe(false);
});

test("a verification that is not deep finds what is missing or has another size, without reading it", async () => {
  const { reference } = await packIt();
  const [first = ""] = packFiles();
  expect(await verify({ reference, deep: false })).toEqual({ reference, packs: 1, bytesRead: 0, problems: [] });
  spoil(first, (path) => truncateSync(path, 1000));

  expect((await verify({ reference, deep: false })).problems).toEqual([
    expect.stringContaining("1000 bytes instead of"),
  ]);
  rmSync(first);
  expect((await verify({ reference, deep: false })).problems).toEqual([`${first} is missing`]);
});

test("a damaged pack is not built upon: its content is stored again", async () => {
  await packIt();
  const [first = ""] = packFiles();
  rmSync(first);
  appendFileSync(at("env/ComfyUI/main.py"), "#");

  const second = await packIt();

  expect(second.bytesAdded).toBeGreaterThan(3_500_000);
  expect(await verify({ reference: second.reference, deep: true })).toMatchObject({ problems: [] });
});

test("a damaged manifest is found by everything that reads it, hides no other, and is not built upon", async () => {
  const good = await packIt();
  appendFileSync(at("env/ComfyUI/main.py"), "#");
  const { reference, digest } = await packIt();
  spoil(at("store/snapshots", digest), (path) => flipByte(path, 40));

  await expect(readHead(reference)).rejects.toBeInstanceOf(DamagedSnapshotError);
  await expect(restore({ reference, target: at("restored") })).rejects.toBeInstanceOf(DamagedSnapshotError);
  expect((await verify({ reference, deep: false })).problems).toEqual([expect.stringContaining(digest)]);
  const damaged: string[] = [];
  const listed = await listSnapshots(at("store"), (problem) => damaged.push(problem));
  expect(listed.map((snapshot) => snapshot.reference)).toEqual([good.reference]);
  expect(damaged).toEqual([expect.stringContaining(digest)]);
  appendFileSync(at("env/ComfyUI/main.py"), "#");
  expect(await verify({ reference: (await packIt()).reference, deep: true })).toMatchObject({ problems: [] });
});

test("a snapshot that is not there is said to be not there", async () => {
  const reference = `${at("nowhere")}#sha256:${"0".repeat(64)}`;

  await expect(readHead(reference)).rejects.toBeInstanceOf(SnapshotNotFoundError);
  await expect(restore({ reference, target: at("restored") })).rejects.toBeInstanceOf(SnapshotNotFoundError);
  expect((await verify({ reference, deep: true })).problems).toEqual([expect.stringContaining("there is no snapshot")]);
});

test("snapshots are listed newest first; a store that nothing was packed to has none", async () => {
  expect(await listSnapshots(at("store"))).toEqual([]);
  const packed: PackedSnapshot[] = [];
  for (const number of [1, 2, 3]) {
    writeFileSync(at("env/ComfyUI/main.py"), `print(${number})\n`);
    packed.push(await packIt());
    const seconds = 1_700_000_000 + number;
    utimesSync(at("store/snapshots", packed.at(-1)?.digest ?? ""), seconds, seconds);
  }

  const listed = await listSnapshots(at("store"));

  expect(listed.map(({ digest }) => digest)).toEqual(packed.map(({ digest }) => digest).reverse());
  expect(listed[0]).toEqual({
    reference: packed[2]?.reference,
    digest: packed[2]?.digest,
    storedAt: "2023-11-14T22:13:23.000Z",
    summary: packed[2]?.head.summary,
  });
});

test("what was last packed from a root is known for comparisons", async () => {
  expect(await readLastPacked(at("env"), at("index"))).toBeNull();
  const { reference } = await packIt();

  expect(await readLastPacked(at("env"), at("index"))).toEqual({ reference });
});

test("a pack that a prune has marked is treated as absent, and its content is stored under another name", async () => {
  await packIt();
  const [marked = ""] = packFiles();
  mkdirSync(at("store/marks"));
  writeFileSync(at("store/marks", marked.slice(-64)), "");

  const second = await packIt();
  rmSync(marked);

  expect(second.bytesAdded).toBeGreaterThan(3_500_000);
  expect(packFiles()).toHaveLength(1);
  expect(await verify({ reference: second.reference, deep: true })).toMatchObject({ problems: [] });
});

let newest = "";

test.each<[string, () => void]>([
  ["missing", () => rmSync(at("index.content"))],
  ["damaged", () => flipByte(at("index.content"), 200)],
  ["of another store", () => writeFileSync(at("index.content"), readFileSync(at("other-index.content")))],
  [
    "of manifests that were removed",
    () => {
      const [first = ""] = readdirSync(at("store/snapshots")).filter((digest) => digest !== newest);
      rmSync(at("store/snapshots", first));
    },
  ],
])("a catalog of the store's content that is %s costs reading the manifests and nothing else", async (_, spoilIt) => {
  await packIt();
  appendFileSync(at("env/ComfyUI/main.py"), "#");
  const second = await packIt();
  newest = second.digest;
  await pack({ environment, models: "referenced", store: at("other-store"), plugins: [], index: at("other-index") });
  await pack({ environment, models: "referenced", store: at("other-store"), plugins: [], index: at("other-index") });
  expect(existsSync(at("index.content"))).toBe(true);
  spoilIt();

  const third = await packIt();

  expect(third).toEqual({ ...second, bytesAdded: 0, bytesStored: 0 });
});

test("a catalog does not make up for packs that are gone", async () => {
  await packIt();
  await packIt();
  for (const path of packFiles()) rmSync(path);

  const third = await packIt();

  expect(third.bytesAdded).toBeGreaterThan(3_500_000);
  expect(await verify({ reference: third.reference, deep: true })).toMatchObject({ problems: [] });
});

test("a store among what travels is refused; one in this package's own folder is not, and stays", async () => {
  const request = { environment, models: "referenced", plugins: [], index: at("index") } as const;

  await expect(pack({ ...request, store: at("env/ComfyUI/store") })).rejects.toMatchObject({
    problems: [{ path: "store", reason: expect.stringContaining("layout.comfyui") }],
  });
  const inside = at("env/.comfyui/store");
  const first = await pack({ ...request, store: inside });
  expect((await pack({ ...request, store: inside })).digest).toBe(first.digest);
});
