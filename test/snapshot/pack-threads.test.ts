import { createHash } from "node:crypto";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { listSnapshots, type PackedSnapshot, pack, restore, verify } from "../../runtime/snapshot";
import { buildEngine, type EngineProcess } from "../support/engine-process";
import { describeTree, type Files, makeEnvironment, temporaryFolder, withoutTimes, writeFiles } from "../support/trees";

let program: ReturnType<typeof temporaryFolder>;
let folder: ReturnType<typeof temporaryFolder>;
let engine: EngineProcess;
beforeAll(async () => {
  program = temporaryFolder();
  engine = await buildEngine(program.path);
});
afterAll(() => program.remove());
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const megabyte = 1024 * 1024;

/** Bytes that hardly compress, the same for the same seed. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let i = 0; i + 4 <= size; i += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 15)) >>> 0, i);
  }
  return bytes;
}

/** Enough that threads are started for it. */
const much: Files = { "ComfyUI/much.bin": noise(5 * megabyte + 77, 1) };

function packs(store: string): readonly string[] {
  return readdirSync(at(store, "packs"), { recursive: true, encoding: "utf8" }).sort();
}

function packTo(store: string, environment: EnvironmentLocation, threads: number): Promise<PackedSnapshot> {
  const index = at(`${store}-index`);
  return pack({ environment, models: "referenced", store: at(store), plugins: [], index, threads });
}

const stays = (path: string) => path === "ComfyUI/models/checkpoints";

/** Files of all sizes that matter, some with the same content. */
const files = fc
  .array(
    fc.record({
      size: fc.oneof(
        { weight: 6, arbitrary: fc.nat(30_000) },
        { weight: 2, arbitrary: fc.integer({ min: 300_000, max: megabyte }) },
        { weight: 2, arbitrary: fc.integer({ min: megabyte + 1, max: 4 * megabyte }) },
        { weight: 1, arbitrary: fc.constantFrom(0, megabyte, 2 * megabyte) },
      ),
      seed: fc.integer({ min: 1, max: 4 }),
      folder: fc.constantFrom("a", "b", "a/c"),
    }),
    { maxLength: 40 },
  )
  .map((drawn) =>
    Object.fromEntries(
      drawn.map(({ size, seed, folder: into }, number) => [`ComfyUI/${into}/${number}`, noise(size, seed)]),
    ),
  );

test("a snapshot and its packs are the same with any number of threads, and hold the tree", {
  timeout: 120_000,
}, async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(files, async (drawn) => {
      run += 1;
      const environment = makeEnvironment(at(`env-${run}`), { ...much, ...drawn });

      const one = await packTo(`one-${run}`, environment, 1);
      const three = await packTo(`three-${run}`, environment, 3);

      expect(three.digest).toBe(one.digest);
      expect(packs(`three-${run}`)).toEqual(packs(`one-${run}`));
      await restore({ reference: three.reference, target: at(`restored-${run}`), location: environment.root });
      expect(withoutTimes(describeTree(at(`restored-${run}`), stays))).toEqual(
        withoutTimes(describeTree(environment.root, stays)),
      );
    }),
    { numRuns: 8 },
  );
});

test("what is too little for threads gives the packs that threads make of it", async () => {
  const environment = makeEnvironment(at("env"), {
    "ComfyUI/a.bin": noise(3 * megabyte, 5),
    "ComfyUI/z.py": "z = 1\n",
  });
  await packTo("few", environment, 2);
  // They have no content, and are enough for threads.
  writeFiles(at("env"), Object.fromEntries(Array.from({ length: 400 }, (_, n) => [`ComfyUI/empty/${n}`, ""])));

  await packTo("many", environment, 2);

  expect(packs("many")).toEqual(packs("few"));
});

/** Has something happen in a thread right after it has opened a file. */
function whenOpened(path: string, action: string): EngineProcess {
  const hook = at("hook.cjs");
  writeFileSync(
    hook,
    `const { isMainThread } = require("node:worker_threads");
     const fs = require("node:fs");
     const open = fs.openSync;
     let done = false;
     if (!isMainThread) fs.openSync = (file, ...rest) => {
       const descriptor = open(file, ...rest);
       if (!done && String(file).endsWith(${JSON.stringify(path)})) { done = true; ${action} }
       return descriptor;
     };`,
  );
  return engine.under(["env", `NODE_OPTIONS=--require ${hook}`]);
}

/** A tree in which something happens in the middle. */
function makeLarge() {
  const environment = makeEnvironment(at("env"), {
    ...Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`ComfyUI/n${n}.bin`, noise(2 * megabyte, 100 + n)])),
    "ComfyUI/n8-in-the-middle.py": "middle = 1\n",
  });
  return {
    environment,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("index"),
    threads: 2,
  } as const;
}

test.each([
  ["ends", "process.exit(9);", "a thread of the snapshot engine ended with code 9"],
  [
    "fails outside of its work",
    "process.nextTick(() => { throw new Error('broken'); });",
    "a thread of the snapshot engine failed",
  ],
  ["kills the process", "process.kill(process.pid, 'SIGKILL');", null],
])(
  "when a thread %s in the middle of a pack, the store holds nothing wrong and the next pack is right",
  async (_, action, told) => {
    const request = makeLarge();

    const { error, killed } = await whenOpened("n8-in-the-middle.py", action).pack(request, null);

    expect(killed).toBe(told === null);
    expect(error?.message ?? null).toBe(told);
    expect(await listSnapshots(request.store)).toEqual([]);
    const packed = await pack(request);
    expect(await verify({ reference: packed.reference, deep: true })).toMatchObject({ problems: [] });
    await restore({ reference: packed.reference, target: at("restored"), location: request.environment.root });
    expect(withoutTimes(describeTree(at("restored"), stays))).toEqual(withoutTimes(describeTree(at("env"), stays)));
  },
);

test.each([
  ["grows", "fs.appendFileSync(file, 'x');"],
  ["shrinks", "fs.truncateSync(file, 1500000);"],
  [
    "is written over in its middle",
    "const h = open(file, 'r+'); fs.writeSync(h, 'changed', 1200000); fs.closeSync(h);",
  ],
  ["is replaced", "fs.writeFileSync(file + '.tmp', 'new'); fs.renameSync(file + '.tmp', file);"],
  ["goes", "fs.rmSync(file);"],
])("a large file that %s while a thread reads it is named, and in no snapshot", async (_, action) => {
  const request = makeLarge();

  const { error } = await whenOpened("n11.bin", action).pack(request, null);

  expect(error?.name).toBe("ChangedWhilePackingError");
  expect(error?.message).toContain("ComfyUI/n11.bin");
  expect(await listSnapshots(request.store)).toEqual([]);
});

test("large byte code that is written while a thread reads it is packed as it is at the end", async () => {
  const path = "ComfyUI/__pycache__/large.cpython-311.pyc";
  const request = makeLarge();
  writeFiles(at("env"), { [path]: noise(6 * megabyte, 7) });

  const { error, result } = await whenOpened(path, "fs.appendFileSync(file, 'x');").pack(request, null);

  expect(error).toBeNull();
  await restore({ reference: (result as PackedSnapshot).reference, target: at("restored") });
  const [packed, original] = [describeTree(at("restored"))[path], describeTree(at("env"))[path]];
  expect(statSync(at("env", path)).size).toBeGreaterThan(6 * megabyte);
  expect(packed?.content).toBe(original?.content);
});

test("large models are hashed by threads: the identity is the same with any number, and a change is named", async () => {
  const models = Object.fromEntries(
    Array.from({ length: 5 }, (_, n) => [
      `ComfyUI/models/checkpoints/m${n}.safetensors`,
      noise(5 * megabyte + n, n + 1),
    ]),
  );
  const environment = makeEnvironment(at("env"), models);
  const request = { environment, models: "locked", plugins: [], store: at("store") } as const;

  const one = await pack({ ...request, index: at("index-1"), threads: 1 });
  const three = await pack({ ...request, index: at("index-3"), threads: 3 });
  const { error } = await whenOpened("m3.safetensors", "fs.appendFileSync(file, 'x');").pack(
    { ...request, index: at("index-2"), threads: 2 },
    null,
  );

  expect(three.digest).toBe(one.digest);
  for (const { path, sha256 } of one.head.models.files) {
    const original = models[`ComfyUI/models/${path}`];
    if (original === undefined) continue;
    expect(sha256).toBe(createHash("sha256").update(original).digest("hex"));
  }
  expect(one.head.models.files).toHaveLength(6);
  expect(error).toMatchObject({ name: "ChangedWhilePackingError" });
  expect(error?.message).toContain("m3.safetensors");
});

test("an abort ends a pack in which threads are at work, with its reason", async () => {
  const request = makeLarge();
  const stop = new AbortController();
  const packing = pack({ ...request, signal: stop.signal });
  packing.catch(() => undefined);

  while (!existsSync(at("store/partial"))) await setImmediate();
  stop.abort(new Error("enough"));

  await expect(packing).rejects.toThrow("enough");
  expect(await listSnapshots(request.store)).toEqual([]);
});
