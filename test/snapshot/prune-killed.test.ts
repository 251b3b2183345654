import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { listSnapshots, type PackedSnapshot, pack, prune, restore, verify } from "../../runtime/snapshot";
import { buildEngine, type EngineProcess } from "../support/engine-process";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let engine: EngineProcess;
beforeEach(async () => {
  folder = temporaryFolder();
  engine = await buildEngine(folder.path);
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const day = 24 * 3600;

/** An environment that shares no file but empty ones with others. */
function environmentOf(name: string): EnvironmentLocation {
  const own = (path: string) => ({ [path]: `${path} of ${name}\n` });
  return makeEnvironment(at(name), {
    ...own("ComfyUI/main.py"),
    ...own("ComfyUI/custom_nodes/good_plugin/__init__.py"),
    ...own("venv/lib/python3.11/site-packages/six.py"),
    ...own(".cache/huggingface/hub/models--a/blobs/0f"),
    "ComfyUI/own.bin": Buffer.alloc(200_000, name),
  });
}

const requestFor = (environment: EnvironmentLocation, store = "store") =>
  ({
    environment,
    models: "referenced",
    store: at(store),
    plugins: [],
    index: `${environment.root}-index`,
  }) as const;
const pruneRequest = { store: "", keep: { newest: 1 }, protect: [], dryRun: false } as const;

function filesBelow(path: string): readonly string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function age(seconds: number, ...below: string[]): void {
  for (const path of filesBelow(at(...below))) {
    const time = statSync(path).mtimeMs / 1000 - seconds;
    utimesSync(path, time, time);
  }
}

async function expectHealthy(store = "store"): Promise<readonly string[]> {
  const references = (await listSnapshots(at(store))).map(({ reference }) => reference);
  for (const reference of references) expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
  return references;
}

test("a prune that is killed at any of its writes has taken nothing that is needed, and the next ones finish", {
  timeout: 900_000,
}, async () => {
  const kept = environmentOf("kept");
  const request = { ...pruneRequest, store: at("store") };
  let kills = 0;
  for (let call = 1; ; call++) {
    rmSync(at("store"), { recursive: true, force: true });
    for (const name of ["first", "second"]) {
      if (!existsSync(at(name))) environmentOf(name);
      await pack(requestFor({ ...kept, root: at(name) }));
      age(3 * day, "store");
    }
    const needed = await pack(requestFor(kept));
    await prune(request);
    // The second snapshot's packs have been marked for long; the third is expired, and its own are to be marked.
    age(2 * day, "store");
    const incident = {
      module: "node:fs/promises",
      function: "*",
      call,
      when: "after",
      action: { kill: true },
    } as const;

    writeFileSync(at("kept/ComfyUI/main.py"), "print('newer')\n");
    const newest = await pack(requestFor(kept));
    writeFileSync(at("kept/ComfyUI/main.py"), "print('older')\n");
    const { killed, error } = await engine.prune(request, incident);

    expect(error).toBeNull();
    expect(await expectHealthy()).toContain(newest.reference);
    await prune(request);
    age(2 * day, "store");
    expect((await prune(request)).kept.map(({ reference }) => reference)).toEqual([newest.reference]);
    expect(await expectHealthy()).toEqual([newest.reference]);
    expect(filesBelow(at("store/marks"))).toEqual([]);
    expect(filesBelow(at("store/partial"))).toEqual([]);
    expect(filesBelow(at("store/ids"))).toHaveLength(1);
    expect(needed.digest).not.toBe(newest.digest);
    expect(call).toBeLessThan(60);
    if (!killed) break;
    kills += 1;
  }
  // The clock's mark, manifests, entries by identity, packs and their marks.
  expect(kills).toBeGreaterThan(6);
});

test("a pack that had found packs which a prune then marks starts over, and needs none of them", async () => {
  const environment = environmentOf("kept");
  const first = await pack(requestFor(environment));
  const [found = ""] = filesBelow(at("store/packs"));
  mkdirSync(at("store/marks"));
  writeFileSync(at("kept/ComfyUI/more.py"), "more\n");

  const { error, result } = await engine.pack(requestFor(environment), {
    module: "node:fs/promises",
    function: "readdir",
    path: "marks",
    call: 2,
    when: "before",
    action: { write: at("store/marks", found.slice(-64)), content: "" },
  });

  expect(error).toBeNull();
  const second = result as PackedSnapshot;
  expect(second.digest).not.toBe(first.digest);
  rmSync(found);
  expect(await verify({ reference: second.reference, deep: true })).toMatchObject({ problems: [] });
  await restore({ reference: second.reference, target: at("restored") });
});

test("a snapshot that expires while the same environment is packed again is there afterwards", async () => {
  const environment = environmentOf("kept");
  const { digest } = await pack(requestFor(environment));

  // The pack has just found that the manifest is there when a prune removes it.
  const { error, result } = await engine.pack(requestFor(environment), {
    module: "node:fs/promises",
    function: "stat",
    path: `snapshots/${digest}`,
    call: 3,
    when: "before",
    action: { remove: at("store/snapshots", digest) },
  });

  expect(error).toBeNull();
  expect((result as PackedSnapshot).digest).toBe(digest);
  expect(await expectHealthy()).toHaveLength(1);
  expect(filesBelow(at("store/ids"))).toHaveLength(1);
});

test("prunes beside packs of several environments leave every snapshot whole that a pack has answered for", {
  timeout: 120_000,
}, async () => {
  const environments = ["one", "two", "three", "four"].map(environmentOf);
  const request = { ...pruneRequest, store: at("store") };
  for (const environment of environments.slice(0, 2)) {
    await pack(requestFor(environment));
    age(3 * day, "store");
  }
  // The first one's content is marked for long; the second and third expire while they are packed again.
  await prune(request);
  age(2 * day, "store");
  await pack(requestFor(environments[2] ?? environmentOf("three")));
  age(2 * day, "store");
  const prunes = async () => {
    for (let round = 0; round < 6; round++) await prune(request);
  };

  const [outcomes] = await Promise.all([
    Promise.all(environments.map((environment) => engine.pack(requestFor(environment), null))),
    prunes(),
    prunes(),
  ]);

  expect(outcomes.map(({ error }) => error)).toEqual([null, null, null, null]);
  for (const reference of await expectHealthy()) expect(reference).toContain(at("store"));
  const again = await Promise.all(environments.map((environment) => pack(requestFor(environment))));
  for (const { reference } of again) expect(await expectHealthy()).toContain(reference);
});
