import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pack, readCounted, readHead, restore, scanCounted, verify } from "../../runtime/snapshot";
import {
  describeTree,
  differentTimes,
  type Files,
  makeEnvironment,
  temporaryFolder,
  touch,
  withoutTimes,
  writeFiles,
} from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);

/** What is no part of a snapshot in the trees below. */
const stays = (path: string) => path === "ComfyUI/models/checkpoints" || path.endsWith(".log");

async function packAndRestore(environment: ReturnType<typeof makeEnvironment>, name: string) {
  const packed = await pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
  const restored = await restore({ reference: packed.reference, target: at(name), location: environment.root });
  return { packed, restored };
}

const name = fc.oneof(
  fc.stringMatching(/^[a-z]{1,8}(\.py)?$/),
  fc.constantFrom(
    "with space",
    "ünïcode-日本",
    "new\nline",
    "émoji 🎨",
    "-rf",
    "a".repeat(200),
    "quote'\"",
    "\ufffd",
    "back\\slash",
    "\uffee",
  ),
);
const content = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  fc.tuple(fc.integer({ min: 1, max: 255 }), fc.integer({ min: 1_048_570, max: 2_500_000 })).map(([byte, size]) => {
    const large = Buffer.alloc(size, byte);
    large.writeUInt32LE(size, size - 4);
    return large;
  }),
);
const node = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("file" as const),
      content,
      executable: fc.boolean(),
      seconds: fc.integer({ min: 0, max: 2_000_000_000 }),
      fraction: fc.integer({ min: 0, max: 999_999 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("link" as const),
      target: fc.constantFrom("../main.py", "/nowhere/at all", ".", "nöwhere"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("folder" as const) }) },
);
const tree = fc.array(fc.tuple(fc.array(name, { minLength: 1, maxLength: 4 }), node), { maxLength: 12 });

test("any tree is restored as it was: names, contents, permissions, links and times", {
  timeout: 180_000,
}, async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(tree, async (nodes) => {
      const root = at(`env-${++run}`);
      const environment = makeEnvironment(root);
      const base = join(root, "ComfyUI/custom_nodes/any");
      mkdirSync(base);
      for (const [path, what] of nodes) placeNode(base, path, what);

      const { packed } = await packAndRestore(environment, `restored-${run}`);

      const [original, copy] = [describeTree(root, stays), describeTree(at(`restored-${run}`), stays)];
      expect(withoutTimes(copy)).toEqual(withoutTimes(original));
      expect(differentTimes(original, copy)).toEqual([]);
      const rescanned = await scanCounted({
        environment: { ...environment, root: at(`restored-${run}`) },
        models: "referenced",
        index: at("other-index"),
      });
      // The copy names its original's root, so only a copy at the same place has the same identity in full.
      const outside = ({ path }: { path: string }) => !path.startsWith("venv/");
      expect(rescanned.counted.filter(outside)).toEqual((await readCounted(packed.reference)).filter(outside));
      expect(await verify({ reference: packed.reference, deep: true })).toMatchObject({ problems: [] });
    }),
    { numRuns: 25 },
  );
});

function placeNode(base: string, path: readonly string[], what: typeof node extends fc.Arbitrary<infer T> ? T : never) {
  const absolute = join(base, ...path);
  try {
    if (lstatSync(absolute, { throwIfNoEntry: false }) !== undefined) return;
    if (what.kind === "folder") mkdirSync(absolute, { recursive: true });
    else
      writeFiles(base, { [path.join("/")]: what.kind === "link" ? `→ ${what.target}` : what.content } satisfies Files);
  } catch (error) {
    // A name above is a file or link already.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST" && code !== "ENOTDIR" && code !== "ENOENT" && code !== "ELOOP" && code !== "EACCES")
      throw error;
    return;
  }
  if (what.kind !== "file") return;
  chmodSync(absolute, what.executable ? 0o755 : 0o640);
  touch(absolute, what.seconds + what.fraction / 1e6);
}

test("packing the same tree again gives the same digest and stores nothing", async () => {
  const environment = makeEnvironment(at("env"), { "ComfyUI/large.bin": Buffer.alloc(3_000_000, "abc") });
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  const first = await pack(request);

  const second = await pack(request);
  const elsewhere = await pack({ ...request, store: at("other-store"), index: at("other-index") });

  expect(second).toEqual({ ...first, bytesAdded: 0, bytesStored: 0 });
  expect(elsewhere.digest).toBe(first.digest);
  expect(first.bytesAdded).toBeGreaterThan(0);
});

test("a snapshot's head says what the environment is", async () => {
  const environment = makeEnvironment(at("env"));
  const scanned = await scanCounted({ environment, models: "referenced", index: at("index") });

  const { packed } = await packAndRestore(environment, "restored");

  const head = await readHead(packed.reference);
  expect(head).toEqual(packed.head);
  expect(head.summary).toEqual(scanned.summary);
  expect(head).toMatchObject({
    format: 1,
    root: at("env"),
    interpreter: process.execPath,
    summary: { python: "3.11.7", comfyui: "0.3.64", distributions: { six: "1.17.0" } },
    platform: { os: process.platform, arch: process.arch, python: "3.11.7", cuda: null },
    models: {
      mode: "referenced",
      root: at("env/ComfyUI/models"),
      files: [{ path: "checkpoints/tiny.safetensors", size: 7 }],
    },
  });
  expect(head.summary.plugins.good_plugin).toMatch(/^1\.2\.0 \([0-9a-f]{8}\)$/);
});

test("referenced models do not travel, and their folder is there, empty", async () => {
  const environment = makeEnvironment(at("env"));

  await packAndRestore(environment, "restored");

  expect(readdirSync(at("restored/ComfyUI/models"))).toEqual([]);
});

test("included models travel, through links as well", async () => {
  const environment = makeEnvironment(at("env"), {
    "ComfyUI/models/loras/a.safetensors": "→ ../../../../shared/a.bin",
  });
  writeFiles(folder.path, { "shared/a.bin": "lora" });

  const packed = await pack({ environment, models: "included", store: at("store"), plugins: [], index: at("index") });
  await restore({ reference: packed.reference, target: at("restored") });

  expect(lstatSync(at("restored/ComfyUI/models/loras/a.safetensors")).isFile()).toBe(true);
  expect(packed.head.models.files).toMatchObject([
    { path: "checkpoints/tiny.safetensors", size: 7 },
    { path: "loras/a.safetensors", size: 4 },
  ]);
});

test("locked models count with their content, and do not travel", async () => {
  const environment = makeEnvironment(at("env"));
  const request = { environment, models: "locked", index: at("index") } as const;
  const before = await pack({ ...request, store: at("store"), plugins: [] });
  writeFileSync(at("env/ComfyUI/models/checkpoints/tiny.safetensors"), "WEIGHTS");

  const after = await pack({ ...request, store: at("store"), plugins: [] });

  expect(after.head.summary.id).not.toBe(before.head.summary.id);
  expect((await scanCounted(request)).counted).toEqual(await readCounted(after.reference));
  await restore({ reference: after.reference, target: at("restored") });
  expect(existsSync(at("restored/ComfyUI/models/checkpoints"))).toBe(false);
});
