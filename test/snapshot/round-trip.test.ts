import { existsSync, lstatSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pack, readCounted, readHead, restore, scanCounted, verify } from "../../runtime/snapshot";
import { placeNodes, randomNodes } from "../support/random-trees";
import {
  describeTree,
  differentTimes,
  makeEnvironment,
  temporaryFolder,
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

test("any tree is restored as it was: names, contents, permissions, links and times", {
  timeout: 180_000,
}, async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(randomNodes, async (nodes) => {
      const root = at(`env-${++run}`);
      const environment = makeEnvironment(root);
      placeNodes(join(root, "ComfyUI/custom_nodes/any"), nodes);

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
    format: 2,
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
