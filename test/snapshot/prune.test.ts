import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
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
import { processToken } from "../../runtime/store";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const hour = 3_600_000;
const day = 24 * hour;

/** Packs the environment with a large file whose content is its own. */
async function packVersion(version: number): Promise<PackedSnapshot> {
  writeFileSync(at("env/ComfyUI/version.bin"), Buffer.alloc(300_000, `version ${version}\n`));
  return pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
}

const pruneIt = (change: Partial<PruneRequest>) =>
  prune({ store: at("store"), keep: { newest: 1 }, protect: [], dryRun: false, ...change });

function filesBelow(path: string): readonly string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** As if time had passed: everything in the store is older by so much. */
function age(milliseconds: number, below = ""): void {
  for (const path of filesBelow(at("store", below))) {
    const time = (lstatSync(path).mtimeMs - milliseconds) / 1000;
    utimesSync(path, time, time);
  }
}

/** What is in the store, with times. */
const contents = () => filesBelow(at("store")).map((path) => `${path} ${statSync(path).mtimeMs}`);
const packFiles = () => filesBelow(at("store/packs"));

async function expectHealthy(...snapshots: readonly PackedSnapshot[]): Promise<void> {
  const listed = (await listSnapshots(at("store"))).map(({ reference }) => reference);
  expect(listed).toEqual(expect.arrayContaining(snapshots.map(({ reference }) => reference)));
  for (const reference of listed) expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
}

test("expired snapshots go at once; packs that others need as well stay", async () => {
  const first = await packVersion(1);
  age(day);
  const second = await packVersion(2);
  age(day);
  expect(packFiles()).toHaveLength(2);

  const marking = await pruneIt({});

  expect(marking.kept.map(({ reference }) => reference)).toEqual([second.reference]);
  expect(marking.removed.map(({ reference }) => reference)).toEqual([first.reference]);
  // The first pack holds what both need as well.
  expect(marking).toMatchObject({ marked: { packs: 0 }, freed: { packs: 0, bytes: 0 } });
  expect(marking.freed.manifestBytes).toBeGreaterThan(100);
  expect(readdirSync(at("store/snapshots"))).toEqual([second.digest]);
  expect(filesBelow(at("store/ids"))).toHaveLength(1);
  await expectHealthy(second);
});

async function packTwoApart(): Promise<{ gone: PackedSnapshot; kept: PackedSnapshot }> {
  // Two environments that share nothing: every pack of the first is wholly dead without it.
  const other = makeEnvironment(at("other"), {
    "ComfyUI/main.py": "print('other')\n",
    "venv/lib/python3.11/site-packages/six.py": "PY3 = 'other'\n",
  });
  const gone = await pack({
    environment: other,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("other-index"),
  });
  age(2 * day);
  // Nothing of the first is found again.
  const [first = ""] = packFiles();
  mkdirSync(at("store/marks"));
  writeFileSync(at("store/marks", first.slice(-64)), "");
  const kept = await packVersion(1);
  age(hour);
  const mark = at("store/marks", first.slice(-64));
  await pruneIt({ keep: { newest: 5 } }); // Takes the mark away, since the snapshot is still there.
  expect(existsSync(mark)).toBe(false);
  return { gone, kept };
}

test("a dead pack is marked, stays for a day by the store's clock, and goes with its mark", async () => {
  const { gone, kept } = await packTwoApart();
  const dead = packFiles().find((path) => statSync(path).mtimeMs < Date.now() - day) ?? "";
  const bytes = statSync(dead).size;

  const first = await pruneIt({});
  expect(first.removed.map(({ digest }) => digest)).toEqual([gone.digest]);
  expect(first).toMatchObject({ marked: { packs: 1, bytes }, waiting: { packs: 1, bytes }, freed: { packs: 0 } });
  expect(Date.parse(first.waiting.until ?? "")).toBeGreaterThan(Date.now() + 23 * hour);
  expect(readdirSync(at("store/marks"))).toEqual([dead.slice(-64)]);

  age(23 * hour, "marks");
  const second = await pruneIt({});
  expect(second).toMatchObject({ removed: [], marked: { packs: 0 }, waiting: { packs: 1 }, freed: { packs: 0 } });
  expect(existsSync(dead)).toBe(true);

  age(2 * hour, "marks");
  const third = await pruneIt({});
  expect(third).toMatchObject({ waiting: { packs: 0, until: null }, freed: { packs: 1, bytes } });
  expect(existsSync(dead)).toBe(false);
  expect(filesBelow(at("store/marks"))).toEqual([]);
  await expectHealthy(kept);
  await restore({ reference: kept.reference, target: at("restored") });
});

test("age, number and protection each keep a snapshot, and the answer says which did", async () => {
  const packed: PackedSnapshot[] = [];
  for (const version of [1, 2, 3, 4]) {
    age(10 * day);
    packed.push(await packVersion(version));
  }
  const [oldest, , third, newest] = packed;
  const absent = "0".repeat(64);

  const pruning = await pruneIt({
    keep: { newest: 1, youngerThan: 15 * day },
    protect: [
      { snapshot: oldest?.reference ?? "", reason: "release r1 of the service studio" },
      { snapshot: `/elsewhere#sha256:${absent}`, reason: "asked for" },
      { snapshot: oldest?.digest ?? "", reason: "asked for" },
    ],
  });

  expect(pruning.kept.map(({ digest, reasons }) => [digest, reasons])).toEqual([
    [newest?.digest, ["one of the newest 1", "younger than 360h"]],
    [third?.digest, ["younger than 360h"]],
    [oldest?.digest, ["release r1 of the service studio", "asked for"]],
  ]);
  expect(pruning.removed.map(({ digest }) => digest)).toEqual([packed[1]?.digest]);
  expect(pruning.missing).toEqual([absent]);
});

test.each([
  [{}, "keep: says nothing"],
  [{ newest: 0 }, "keep.newest: 0 is not"],
  [{ newest: 1.5 }, "keep.newest: 1.5 is not"],
  [{ youngerThan: 0 }, "keep.youngerThan: 0 is not"],
] as const)("without a rule that keeps something nothing is pruned: %j", async (keep, message) => {
  await packVersion(1);
  const before = contents();

  await expect(pruneIt({ keep })).rejects.toThrow(message);
  await expect(pruneIt({ protect: [{ snapshot: "studio", reason: "" }] })).rejects.toThrow("protect: ");

  expect(contents()).toEqual(before);
});

test("a dry run changes nothing and says what the real one then does", async () => {
  await packTwoApart();
  const abandoned = at("store/partial", `${processToken().split("-")[0]}-4194305-1-00000001`);
  writeFileSync(abandoned, "half");
  const before = contents();

  const dry = await pruneIt({ dryRun: true });
  expect(contents()).toEqual(before);
  const real = await pruneIt({});

  const withoutTime = ({ waiting: { until: _, ...waiting }, ...pruning }: typeof dry) => ({ ...pruning, waiting });
  expect(withoutTime({ ...dry, dryRun: false })).toEqual(withoutTime(real));
  expect(dry.marked.packs).toBe(1);
  expect(real.freed.abandoned).toEqual({ objects: 1, bytes: 4 });
  expect(existsSync(abandoned)).toBe(false);
});

test("packs that are newer than a day are left alone: one that is being packed may need them", async () => {
  const { kept } = await packTwoApart();
  age(-3 * day, "packs");

  const pruning = await pruneIt({});

  expect(pruning).toMatchObject({ young: { packs: 1 }, marked: { packs: 0 }, freed: { packs: 0 } });
  await expectHealthy(kept);
});

test("a manifest that stays and cannot be read stops it before anything is changed; one that goes does not", async () => {
  const { gone, kept } = await packTwoApart();
  const spoil = (digest: string) => {
    const path = at("store/snapshots", digest);
    const times = statSync(path);
    const bytes = Buffer.from(readFileSync(path));
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    utimesSync(path, times.atime, times.mtime);
  };
  spoil(gone.digest);
  const before = contents();

  await expect(pruneIt({ keep: { newest: 2 } })).rejects.toBeInstanceOf(DamagedSnapshotError);
  await expect(pruneIt({ keep: { newest: 2 } })).rejects.toThrow(`move ${at("store/snapshots", gone.digest)} away`);
  expect(contents()).toEqual(before);

  expect((await pruneIt({})).removed).toHaveLength(1);
  await expectHealthy(kept);
});

test("a marked pack that a snapshot needs again loses its mark and stays", async () => {
  const { gone } = await packTwoApart();
  const manifest = readFileSync(at("store/snapshots", gone.digest));
  await pruneIt({});
  // As a pack does that had looked at the marks just before.
  writeFileSync(at("store/snapshots", gone.digest), manifest);
  age(2 * day, "marks");

  const pruning = await pruneIt({ keep: { newest: 9 } });

  expect(pruning).toMatchObject({ unmarked: 1, freed: { packs: 0 } });
  expect(filesBelow(at("store/marks"))).toEqual([]);
  await expectHealthy(gone);
});

test("entries by identity that a killed run left without their manifest go after a day", async () => {
  const { kept } = await packTwoApart();
  const entry = at("store/ids", "1".repeat(64), "2".repeat(64));
  mkdirSync(join(entry, ".."), { recursive: true });
  writeFileSync(entry, "");

  await pruneIt({});
  expect(existsSync(entry)).toBe(true);
  age(day, "ids");
  await pruneIt({});

  expect(existsSync(entry)).toBe(false);
  expect(filesBelow(at("store/ids"))).toEqual([at("store/ids", kept.head.summary.id, kept.digest)]);
});

test("a store that nothing was packed to has nothing to prune", async () => {
  expect(await prune({ store: at("empty"), keep: { newest: 1 }, protect: [], dryRun: true })).toMatchObject({
    kept: [],
    removed: [],
    freed: { packs: 0 },
  });
  expect(existsSync(at("empty"))).toBe(false);
});

test("an environment whose expired snapshot was pruned is packed anew, beside the marks", async () => {
  const { kept } = await packTwoApart();
  await packVersion(2);
  age(3 * day);
  await pruneIt({});

  const again = await packVersion(1);

  expect(again.digest).not.toBe("");
  expect(again.head.summary.id).toBe(kept.head.summary.id);
  age(3 * day, "marks");
  await pruneIt({ keep: { newest: 2 } });
  await expectHealthy(again);
});

test("whatever is packed, pruned and packed again in whatever order, every snapshot that is listed can be restored", {
  timeout: 120_000,
}, async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("pack" as const), version: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant("age" as const), hours: fc.constantFrom(1, 13, 25, 100) }),
    fc.record({
      kind: fc.constant("prune" as const),
      newest: fc.integer({ min: 1, max: 3 }),
      protect: fc.nat({ max: 3 }),
    }),
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      const store = at(`store-${++run}`);
      const index = at(`index-${run}`);
      const packed: string[] = [];
      for (const { kind, ...what } of steps) {
        if (kind === "pack" && "version" in what) {
          writeFileSync(at("env/ComfyUI/version.bin"), Buffer.alloc(30_000, `version ${what.version}\n`));
          const request = { environment, models: "referenced", store, plugins: [], index } as const;
          packed.push((await pack(request)).reference);
          expect((await listSnapshots(store)).map(({ reference }) => reference)).toContain(packed.at(-1));
        } else if (kind === "age" && "hours" in what) {
          for (const path of filesBelow(store)) {
            const time = (lstatSync(path).mtimeMs - what.hours * hour) / 1000;
            utimesSync(path, time, time);
          }
        } else if ("newest" in what) {
          const before = (await listSnapshots(store)).map(({ reference }) => reference);
          const protectedOne = packed.at(-1 - what.protect);
          const protect = protectedOne === undefined ? [] : [{ snapshot: protectedOne, reason: "asked for" }];
          const { kept } = await prune({ store, keep: { newest: what.newest }, protect, dryRun: false });
          const after = (await listSnapshots(store)).map(({ reference }) => reference);
          expect(after).toEqual(kept.map(({ reference }) => reference));
          expect(after.slice(0, what.newest)).toEqual(before.slice(0, what.newest));
          if (protectedOne !== undefined && before.includes(protectedOne)) expect(after).toContain(protectedOne);
        }
        for (const { reference } of await listSnapshots(store)) {
          expect(await verify({ reference, deep: true })).toMatchObject({ problems: [] });
        }
      }
    }),
    { numRuns: 20 },
  );
});
