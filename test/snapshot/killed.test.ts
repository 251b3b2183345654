import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listSnapshots, type PackedSnapshot, pack, restore, verify } from "../../runtime/snapshot";
import { buildEngine, type EngineProcess } from "../support/engine-process";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let engine: EngineProcess;
beforeAll(async () => {
  folder = temporaryFolder();
  engine = await buildEngine(folder.path);
});
afterAll(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const stays = (path: string) => path === "ComfyUI/models/checkpoints";

test("a pack that is killed at any of its writes leaves a store that a further pack and a restore can use", {
  timeout: 900_000,
}, async () => {
  const environment = makeEnvironment(at("env"), { "ComfyUI/noise.bin": Buffer.alloc(2_500_000, "noise!") });
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  let kills = 0;
  for (let call = 1; ; call++) {
    writeFileSync(at("env/ComfyUI/main.py"), `print(${call})\n`);

    const incident = {
      module: "node:fs/promises",
      function: "*",
      call,
      when: "after",
      action: { kill: true },
    } as const;
    const { killed, error } = await engine.pack(request, incident);

    expect(error).toBeNull();
    for (const { reference } of await listSnapshots(at("store"))) {
      expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
    }
    expect(call).toBeLessThan(60);
    if (!killed) break;
    kills += 1;
  }
  // Folders, a pack, the identity's entry and the manifest take about that many.
  expect(kills).toBeGreaterThan(8);

  const packed = await pack(request);
  await restore({ reference: packed.reference, target: at("restored"), location: environment.root });

  expect(withoutTimes(describeTree(at("restored"), stays))).toEqual(withoutTimes(describeTree(at("env"), stays)));
  expect(readdirSync(at("store/partial"))).toEqual([]);
});

test("a restore that is killed leaves no target, and the next one makes it and clears what was left", {
  timeout: 900_000,
}, async () => {
  const environment = makeEnvironment(at("origin"));
  const packed = await pack({
    environment,
    models: "referenced",
    store: at("store-2"),
    plugins: [],
    index: at("index-2"),
  });
  for (const cache of [undefined, at("cache")]) {
    const request = { reference: packed.reference, target: at("target"), ...(cache === undefined ? {} : { cache }) };
    for (const call of [1, 4, 9, 14, 20, 27, 33]) {
      const incident = { module: "node:fs", function: "*", call, when: "after", action: { kill: true } } as const;

      const { killed } = await engine.restore(request, incident);

      expect({ call, killed }).toEqual({ call, killed: true });
      expect(existsSync(at("target"))).toBe(false);
    }

    await restore(request);

    expect(Object.keys(describeTree(at("target")))).toEqual(Object.keys(describeTree(at("origin"), stays)));
    expect(readdirSync(folder.path).filter((name) => name.includes(".partial"))).toEqual([]);
    if (cache !== undefined) expect(readdirSync(cache)).toEqual([packed.digest]);
    await engine.restore(request, null).then(({ error }) => expect(error?.message).toContain("is not empty"));
    rmSync(at("target"), { recursive: true });
  }
});

test("two processes that pack at once into one store both succeed", async () => {
  const environment = makeEnvironment(at("shared"));
  const request = {
    environment,
    models: "referenced",
    store: at("store-3"),
    plugins: [],
    index: at("index-3"),
  } as const;

  const outcomes = await Promise.all([1, 2, 3].map(() => engine.pack(request, null)));

  expect(outcomes.map(({ error }) => error)).toEqual([null, null, null]);
  const references = new Set(outcomes.map(({ result }) => (result as PackedSnapshot).reference));
  expect(references.size).toBe(1);
  const [reference = ""] = references;
  expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
});
