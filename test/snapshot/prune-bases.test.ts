import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
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
  type PruneRequest,
  pack,
  prune,
  restore,
  verify,
} from "../../runtime/snapshot";
import { buildEngine } from "../support/engine-process";
import { baseIn, largeManifest } from "../support/large-manifest";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"), largeManifest);
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const hour = 3_600_000;
const day = 24 * hour;

/** A version that says what differs from the newest base there is; with `whole`, one that everything differs in. */
async function packVersion(version: number, { whole = false, store = "store" } = {}): Promise<PackedSnapshot> {
  writeFileSync(at("env/ComfyUI/version.bin"), Buffer.alloc(30_000, `version ${version}\n`));
  if (whole) {
    rmSync(at("env/ComfyUI/more"), { recursive: true, force: true });
    mkdirSync(at("env/ComfyUI/more"));
    for (let number = 0; number < 40; number++)
      writeFileSync(at("env/ComfyUI/more", `${version}-${number}`), `${version}`);
  }
  return pack({ environment, models: "referenced", store: at(store), plugins: [], index: at(`${store}-index`) });
}

const pruneIt = (change: Partial<PruneRequest> = {}) =>
  prune({ store: at("store"), keep: { newest: 1 }, protect: [], dryRun: false, ...change });

function filesBelow(path: string): readonly string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function age(milliseconds: number, ...below: string[]): void {
  for (const path of filesBelow(at(...(below.length === 0 ? ["store"] : below)))) {
    const time = (lstatSync(path).mtimeMs - milliseconds) / 1000;
    utimesSync(path, time, time);
  }
}

const contents = () => filesBelow(at("store")).map((path) => `${path} ${lstatSync(path).mtimeMs}`);
const digests = (snapshots: readonly { readonly digest: string }[]) => snapshots.map(({ digest }) => digest);

async function expectHealthy(store = "store"): Promise<readonly string[]> {
  const listed = await listSnapshots(at(store));
  for (const { reference } of listed) expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
  return digests(listed);
}

test("the base of what is kept is kept, and says so; what else was based on it goes at once", async () => {
  const base = await packVersion(1);
  const packed = [];
  for (const version of [2, 3, 4]) {
    age(day);
    packed.push(await packVersion(version));
  }
  const [second, third, newest] = packed;
  expect(packed.map(({ digest }) => baseIn(at("store"), digest))).toEqual(Array(3).fill(base.digest));

  const pruning = await pruneIt({ keep: { newest: 2 } });

  expect(pruning.kept.map(({ digest, reasons }) => [digest, reasons])).toEqual([
    [newest?.digest, ["one of the newest 2"]],
    [third?.digest, ["one of the newest 2"]],
    [base.digest, ["base of 2 snapshots"]],
  ]);
  expect(digests(pruning.removed)).toEqual([second?.digest]);
  expect(pruning.expiring).toEqual([]);
  expect(await expectHealthy()).toHaveLength(3);
});

test("an expired snapshot that another may be based on is marked, and goes a day later with its mark and its packs", async () => {
  const base = await packVersion(1, { whole: true });
  age(2 * day);
  const newest = await packVersion(2, { whole: true });
  expect(baseIn(at("store"), newest.digest)).toBeNull();
  const packs = filesBelow(at("store/packs"));

  const first = await pruneIt();
  expect(first).toMatchObject({ removed: [], freed: { packs: 0, manifestBytes: 0 } });
  expect(first.expiring).toEqual([
    {
      reference: base.reference,
      digest: base.digest,
      storedAt: expect.any(String),
      isNew: true,
      until: expect.any(String),
    },
  ]);
  expect(Date.parse(first.expiring[0]?.until ?? "")).toBeGreaterThan(Date.now() + 23 * hour);
  expect(readdirSync(at("store/marks"))).toContain(base.digest);
  await restore({ reference: base.reference, target: at("restored") });

  age(23 * hour, "store", "marks");
  const second = await pruneIt();
  expect(second).toMatchObject({ removed: [], expiring: [{ digest: base.digest, isNew: false }] });
  expect(await expectHealthy()).toHaveLength(2);

  age(2 * hour, "store", "marks");
  const third = await pruneIt();
  expect(digests(third.removed)).toEqual([base.digest]);
  expect(third.freed.manifestBytes).toBeGreaterThan(64 * 1024);
  expect(third.expiring).toEqual([]);
  expect(filesBelow(at("store/marks"))).toEqual([]);
  expect(filesBelow(at("store/ids"))).toHaveLength(1);
  expect(filesBelow(at("store/packs")).length).toBeLessThanOrEqual(packs.length);
  expect(await expectHealthy()).toEqual([newest.digest]);
});

test("a snapshot that is based on one which was marked meanwhile keeps that and takes its mark away", async () => {
  const base = await packVersion(1);
  const changed = await packVersion(2);
  const manifest = readFileSync(at("store/snapshots", changed.digest));
  rmSync(at("store/snapshots", changed.digest));
  age(2 * day);
  await packVersion(3, { whole: true });
  expect(digests((await pruneIt()).expiring)).toEqual([base.digest]);
  // As a pack writes it that had looked at the marks just before.
  writeFileSync(at("store/snapshots", changed.digest), manifest);
  age(2 * day, "store", "marks");

  const pruning = await pruneIt();

  expect(pruning.kept.map(({ digest, reasons }) => [digest, reasons])).toEqual([
    [changed.digest, ["one of the newest 1"]],
    [base.digest, ["base of 1 snapshot"]],
  ]);
  expect(pruning.unmarked).toBeGreaterThan(0);
  expect(readdirSync(at("store/marks"))).not.toContain(base.digest);
  expect(await expectHealthy()).toContain(base.digest);
});

test("a base is not removed before a prune has seen that nothing is based on it by then", async () => {
  const base = await packVersion(1);
  const changed = await packVersion(2);
  const manifest = readFileSync(at("store/snapshots", changed.digest));
  rmSync(at("store/snapshots", changed.digest));
  age(2 * day);
  await packVersion(3, { whole: true });
  await pruneIt();
  age(2 * day, "store", "marks");
  const engine = await buildEngine(folder.path);

  // It comes after the prune has listed the manifests, which it does at its second look into the store.
  const { error } = await engine.prune(
    { store: at("store"), keep: { newest: 1 }, protect: [], dryRun: false },
    {
      module: "node:fs/promises",
      function: "readdir",
      path: "snapshots",
      call: 2,
      when: "before",
      action: {
        write: at("store/snapshots", changed.digest),
        content: manifest.toString("base64"),
        encoding: "base64",
      },
    },
  );

  expect(error).toBeNull();
  expect(readdirSync(at("store/snapshots"))).toContain(base.digest);
});

test("where a base of what is kept is missing, nothing is pruned", async () => {
  const base = await packVersion(1);
  const kept = await packVersion(2);
  rmSync(at("store/snapshots", base.digest));
  const before = contents();

  await expect(pruneIt()).rejects.toBeInstanceOf(DamagedSnapshotError);
  await expect(pruneIt()).rejects.toThrow(`its base ${base.digest} is missing`);
  await expect(pruneIt()).rejects.toThrow(`move ${at("store/snapshots", kept.digest)} away`);

  expect(contents()).toEqual(before);
});

test("a dry run says of bases what the real one then does", async () => {
  await packVersion(1, { whole: true });
  await packVersion(2);
  age(2 * day);
  await packVersion(3, { whole: true });
  await pruneIt();
  age(2 * day);
  await packVersion(4, { whole: true });
  const before = contents();

  const dry = await pruneIt({ dryRun: true });
  expect(contents()).toEqual(before);
  const real = await pruneIt();

  const withoutTimes = ({ waiting: { until: _, ...waiting }, expiring, ...pruning }: typeof dry) => ({
    ...pruning,
    waiting,
    expiring: expiring.map(({ until: __, ...snapshot }) => snapshot),
  });
  expect(withoutTimes({ ...dry, dryRun: false })).toEqual(withoutTimes(real));
  expect([real.removed.length, real.expiring.length]).toEqual([1, 1]);
});

test("a prune that is killed at any of its writes leaves no snapshot without its base", {
  timeout: 900_000,
}, async () => {
  const engine = await buildEngine(folder.path);
  const request = { keep: { newest: 1 }, protect: [], dryRun: false } as const;
  const versions = [true, false, true, false, true];
  for (const [version, whole] of versions.entries()) {
    await packVersion(version, { whole });
    age(3 * day);
    // The first base is then marked for long, and the base of nothing that is left; the third snapshot is to be marked.
    if (version === 3) await pruneIt();
  }
  let kills = 0;
  for (let call = 1; ; call++) {
    const store = `store-${call}`;
    cpSync(at("store"), at(store), { recursive: true, preserveTimestamps: true });
    const { killed, error } = await engine.prune(
      { ...request, store: at(store) },
      { module: "node:fs/promises", function: "*", call, when: "after", action: { kill: true } },
    );

    expect(error).toBeNull();
    await expectHealthy(store);
    for (let round = 0; round < 2; round++) {
      await prune({ ...request, store: at(store) });
      age(2 * day, store);
    }
    await prune({ ...request, store: at(store) });
    expect(await expectHealthy(store)).toHaveLength(1);
    expect(filesBelow(at(store, "marks"))).toEqual([]);
    expect(filesBelow(at(store, "ids"))).toHaveLength(1);
    rmSync(at(store), { recursive: true });
    expect(call).toBeLessThan(60);
    if (!killed) break;
    kills += 1;
  }
  expect(kills).toBeGreaterThan(6);
});

test("whatever is packed, pruned and packed again in whatever order, no snapshot is without its base", {
  timeout: 120_000,
}, async () => {
  const step = fc.oneof(
    fc.record({ version: fc.integer({ min: 1, max: 4 }), whole: fc.boolean() }),
    fc.record({ hours: fc.constantFrom(1, 13, 25, 100) }),
    fc.record({ newest: fc.integer({ min: 1, max: 3 }) }),
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 12 }), async (steps) => {
      const store = `store-${++run}`;
      for (const what of steps) {
        if ("version" in what) {
          const { digest } = await packVersion(what.version, { whole: what.whole, store });
          expect(digests(await listSnapshots(at(store)))).toContain(digest);
          // What a pack answers with is not about to be removed.
          expect(filesBelow(at(store, "marks")).map((path) => path.slice(-64))).not.toContain(digest);
        } else if ("hours" in what) age(what.hours * hour, store);
        else {
          const before = digests(await listSnapshots(at(store)));
          const { kept, expiring } = await prune({ store: at(store), keep: what, protect: [], dryRun: false });
          const after = digests(await listSnapshots(at(store)));
          expect([...after].sort()).toEqual([...digests(kept), ...digests(expiring)].sort());
          expect(after.slice(0, what.newest)).toEqual(before.slice(0, what.newest));
        }
        await expectHealthy(store);
      }
      rmSync(at(store), { recursive: true, force: true });
    }),
    { numRuns: 12 },
  );
});
