import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { InvalidInputError } from "../../runtime/problems";
import { removeTree } from "../../runtime/remove-tree";
import {
  DamagedSnapshotError,
  exportSnapshot,
  pack,
  RestoreRefusedError,
  restore,
  SnapshotNotFoundError,
  verify,
} from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { Dice, damageBytes, damageRecords } from "../support/damage";
import { sha256, writePack } from "../support/hostile-manifest";
import { type Described, describeTree, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

/*
 * Whatever is wrong with a manifest or a pack, there is an error that says so or a restore that is exactly what the manifest says; never
 * a crash, a hang, or a file elsewhere. Each case follows from its number, which a failure names.
 */

/** Milliseconds for each test, which may be few cases on a busy machine. */
const budget = 6500;
/** Cases of each test in any case: enough for each outcome that is expected. */
const leastCases = 40;
/** Milliseconds after which a case counts as a hang. */
const longest = 20_000;

let folder: ReturnType<typeof temporaryFolder>;
let store: string;
let root: string;
let manifest: Buffer;
let records: readonly unknown[];
let packFile: string;
let packBytes: Buffer;
/** Plain content by the hash of its frame, of the frames that there are. */
let plainFrames: ReadonlyMap<string, Buffer>;
let original: ReturnType<typeof withoutTimes>;
const at = (...names: string[]) => join(folder.path, ...names);

beforeAll(async () => {
  folder = temporaryFolder();
  store = at("store");
  root = at("env");
  const environment = makeEnvironment(root, {
    "ComfyUI/large.bin": Buffer.alloc(2_300_000, "0123456789abcde"),
    "ComfyUI/same.bin": Buffer.alloc(1_048_576, "0123456789abcde"),
    "ComfyUI/empty.txt": "",
    "ComfyUI/link": "→ main.py",
    "ComfyUI/outside": `→ ${at("outside")}`,
    "ComfyUI/read-only/a.txt": "a",
  });
  mkdirSync(at("outside"));
  writeFileSync(at("outside/file"), "somebody's");
  chmodSync(join(root, "ComfyUI/read-only"), 0o555);
  const { digest } = await pack({ environment, models: "referenced", store, plugins: [], index: at("index") });
  manifest = readFileSync(join(store, "snapshots", digest));
  const lines = zstdDecompressSync(manifest).toString("utf8").trimEnd().split("\n");
  records = lines.map((line) => JSON.parse(line) as unknown);
  const [found = ""] = readdirSync(join(store, "packs"), { recursive: true })
    .map(String)
    .filter((path) => /\w{64}$/.test(path));
  packFile = join(store, "packs", found);
  packBytes = readFileSync(packFile);
  const frames = (records as Row[]).filter(({ type }) => type === "frame");
  plainFrames = new Map<string, Buffer>(
    frames.map(({ offset, length, sha256: name }) => [
      name,
      zstdDecompressSync(packBytes.subarray(offset, offset + length)),
    ]),
  ).set(sha256(zstdCompressSync(added)), added);
  chmodSync(packFile, 0o644);
  original = withoutTimes(describeTree(root, (path) => path === "ComfyUI/models/checkpoints"));
});
afterAll(() => folder.remove());

/** Errors that say what is wrong in the engine's own words. */
function isNamed(error: unknown): boolean {
  if (error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError) return true;
  if (error instanceof RestoreRefusedError || error instanceof InvalidInputError) return true;
  return error instanceof Error && /^the environment needs the interpreter /.test(error.message);
}

type Outcome = { readonly tree: ReturnType<typeof withoutTimes> } | { readonly error: unknown };

let number = 0;

/** Restores, verifies and exports a reference under a deadline; checks that nothing else was touched. */
async function attempt(reference: string, location: string, what: string): Promise<Outcome> {
  const before = readdirSync(folder.path).sort();
  const target = at("targets", String(++number));
  const outcome = await within(what, async (): Promise<Outcome> => {
    try {
      await restore({ reference, target, location });
      return { tree: withoutTimes(describeTree(target)) };
    } catch (error) {
      return { error };
    }
  });
  const verification = await within(what, () => verify({ reference, deep: true }));
  const exported = await within(what, () =>
    exportSnapshot({ reference, write: async () => undefined }).then(
      () => null,
      (error: unknown) => error,
    ),
  );
  expect(verification.problems, what).toBeInstanceOf(Array);
  if (exported !== null && !isNamed(exported)) throw new Error(`${what}: the export failed`, { cause: exported });
  if ("error" in outcome && !isNamed(outcome.error)) {
    throw new Error(`${what}: an error without a name`, { cause: outcome.error });
  }
  const left = readdirSync(at("targets"));
  expect(left, what).toEqual("tree" in outcome ? [String(number)] : []);
  if ("tree" in outcome) {
    await removeTree(target);
  }
  expect(readdirSync(folder.path).sort(), what).toEqual(before);
  expect(readdirSync(at("outside")), what).toEqual(["file"]);
  expect(readFileSync(at("outside/file"), "utf8"), what).toBe("somebody's");
  return outcome;
}

async function within<T>(what: string, work: () => Promise<T>): Promise<T> {
  let settled: { readonly value: T } | { readonly error: unknown } | undefined;
  work().then(
    (value) => {
      settled = { value };
    },
    (error: unknown) => {
      settled = { error };
    },
  );
  const done = await waitFor({ what, deadline: longest, interval: 2, look: () => settled });
  if ("error" in done) throw done.error;
  return done.value;
}

async function whileTimeIsLeft(firstCase: number, run: (dice: Dice, name: string) => Promise<void>): Promise<number> {
  const started = performance.now();
  mkdirSync(at("targets"), { recursive: true });
  let cases = 0;
  while (cases < leastCases || performance.now() - started < budget) {
    const seed = firstCase + cases++;
    await run(new Dice(seed), `case ${seed}`);
  }
  return cases;
}

test("a manifest that was damaged is refused, since it is not what its digest says", async () => {
  const cases = await whileTimeIsLeft(1_000_000, async (dice, name) => {
    const { bytes, what } = damageBytes(manifest, dice);
    const path = join(store, "snapshots", sha256(manifest));
    if (bytes.equals(manifest)) return;
    chmodSync(path, 0o644);
    writeFileSync(path, bytes);
    try {
      const outcome = await attempt(`${store}#sha256:${sha256(manifest)}`, root, `${name}: manifest with ${what}`);
      expect("error" in outcome && outcome.error).toBeInstanceOf(DamagedSnapshotError);
    } finally {
      writeFileSync(path, manifest);
    }
  });
  expect(cases).toBeGreaterThan(10);
});

test("a pack that was damaged is refused, or gives what it did", async () => {
  let [refused, same] = [0, 0];
  await whileTimeIsLeft(2_000_000, async (dice, name) => {
    const { bytes, what } = damageBytes(packBytes, dice);
    writeFileSync(packFile, bytes);
    try {
      const outcome = await attempt(`${store}#sha256:${sha256(manifest)}`, root, `${name}: pack with ${what}`);
      if ("error" in outcome) refused += 1;
      else {
        expect(outcome.tree, what).toEqual(original);
        same += 1;
      }
    } finally {
      writeFileSync(packFile, packBytes);
    }
  });
  expect(refused).toBeGreaterThan(5);
  expect(same).toBeGreaterThan(0);
});

test("a manifest that somebody made is refused, or restored exactly as it says", async () => {
  let [refused, restored] = [0, 0];
  await whileTimeIsLeft(3_000_000, async (dice, name) => {
    const { bytes, what } = makeManifest(dice);
    const digest = sha256(bytes);
    writeFileSync(join(store, "snapshots", digest), bytes);
    const said = dice.below(2) === 0 ? root : at("elsewhere");
    const outcome = await attempt(`${store}#sha256:${digest}`, said, `${name}: manifest with ${what}`);
    if ("error" in outcome) refused += 1;
    else {
      restored += 1;
      expectAsSaid(rowsIn(bytes), outcome.tree, `${name}: manifest with ${what}`);
    }
  });
  expect(refused).toBeGreaterThan(10);
  expect(restored).toBeGreaterThan(0);
});

test("a manifest with a base that somebody made is refused, or restored exactly as both say", async () => {
  let [refused, restored] = [0, 0];
  await whileTimeIsLeft(4_000_000, async (dice, name) => {
    const onBase = dice.below(4) === 0;
    const base = onBase ? damageRecords(records, dice) : { records, what: "" };
    const baseBytes = compressed(base.records);
    writeFileSync(join(store, "snapshots", sha256(baseBytes)), baseBytes);
    let own = { records: changesTo(sha256(baseBytes)), what: "" };
    for (let round = onBase ? dice.below(2) : 1 + dice.below(2); round > 0; round--) {
      const next = damageRecords(own.records, dice);
      own = { records: next.records, what: `${own.what}${next.what}; ` };
    }
    const bytes = compressed(own.records);
    writeFileSync(join(store, "snapshots", sha256(bytes)), bytes);
    const what = `${name}: base with ${base.what}, manifest with ${own.what}`;
    const outcome = await attempt(`${store}#sha256:${sha256(bytes)}`, root, what);
    if ("error" in outcome) refused += 1;
    else {
      restored += 1;
      const rows = rowsIn(bytes);
      expectAsSaid(
        rows.some(({ type }) => type === "base") ? merged(rowsIn(baseBytes), rows) : rows,
        outcome.tree,
        what,
      );
    }
  });
  expect(refused).toBeGreaterThan(10);
  expect(restored).toBeGreaterThan(0);
});

/** The records of a manifest that replaces, adds and removes something of the one that was packed. */
function changesTo(base: string): unknown[] {
  const { pack: packRecord, frame } = writePack(store, added);
  const rows = records as Row[];
  const packs = rows.filter(({ type }) => type === "pack").length;
  const frames = rows.filter(({ type }) => type === "frame").length;
  const file = rows.find(({ path }) => path === "ComfyUI/main.py");
  const [head] = records as [{ readonly summary: { readonly bytes: number } }];
  const own = { mode: "600", size: added.length, sha256: sha256(added), parts: [[frames, 0, added.length]] };
  return [
    // One is removed that has no content, one is added, and one has other content.
    { ...head, summary: { ...head.summary, bytes: head.summary.bytes - (file?.size ?? 0) + 2 * added.length } },
    { type: "base", sha256: base },
    packRecord,
    { ...frame, pack: packs },
    { ...file, path: "ComfyUI/added.py", ...own },
    { type: "removed", path: "ComfyUI/empty.txt" },
    { type: "link", path: "ComfyUI/link", target: "added.py" },
    { ...file, ...own },
  ];
}

const added = Buffer.from("added by the manifest with a base\n");

function merged(base: readonly Row[], own: readonly Row[]): readonly Row[] {
  const rows = [...base, ...own];
  const entries = new Map<string, Row>();
  for (const row of [...base.slice(1), ...own.slice(1)]) if (row.path !== undefined) entries.set(row.path, row);
  const staying = [...entries.values()].filter(({ type }) => type !== "removed");
  return [rows[0] as Row, ...rows.slice(1).filter(({ path }) => path === undefined), ...staying];
}

const compressed = (lines: readonly unknown[]) =>
  zstdCompressSync(Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join("")));

function rowsIn(bytes: Buffer): readonly Row[] {
  const lines = zstdDecompressSync(bytes).toString("utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Row);
}

/** A manifest under its right digest, with damage in its records, its text, or its compressed bytes. */
function makeManifest(dice: Dice): { readonly bytes: Buffer; readonly what: string } {
  const kind = dice.below(10);
  if (kind === 0) return damageBytes(manifest, dice);
  if (kind === 1) {
    const { bytes, what } = damageBytes(zstdDecompressSync(manifest), dice);
    return { bytes: zstdCompressSync(bytes), what: `text with ${what}` };
  }
  const rounds = 1 + dice.below(2);
  let changed = { records: [...records], what: "" };
  for (let round = 0; round < rounds; round++) {
    const next = damageRecords(changed.records, dice);
    changed = { records: next.records, what: `${changed.what}${next.what}; ` };
  }
  return { bytes: compressed(changed.records), what: changed.what };
}

interface Row {
  readonly type?: string;
  readonly path: string;
  readonly mode: string;
  readonly target: string;
  readonly root: string;
  readonly pack: number;
  readonly offset: number;
  readonly length: number;
  readonly size: number;
  readonly sha256: string;
  readonly parts: readonly (readonly [number, number, number])[];
}

/** What a manifest says, read with nothing of the engine. Files that name the root may have been rewritten for the location. */
function expectAsSaid(rows: readonly Row[], tree: ReturnType<typeof withoutTimes>, what: string): void {
  const frames = rows.filter(({ type }) => type === "frame");
  const said: Record<string, Pick<Described, "type" | "mode">> = {};
  for (const { type, path, mode, target, parts } of rows.slice(1)) {
    if (type === "directory") said[path] = { type, mode: Number.parseInt(mode, 8) };
    else if (type === "link") {
      said[path] = { type, mode: 0 };
      if (!target.startsWith(root)) expect(tree[path]?.content, what).toBe(target);
    } else if (type === "file") {
      said[path] = { type, mode: Number.parseInt(mode, 8) };
      const pieces = parts.map(([frame, offset, length]) => {
        return plainFrames.get(frames[frame]?.sha256 ?? "")?.subarray(offset, offset + length) ?? Buffer.alloc(0);
      });
      const content = Buffer.concat(pieces);
      if (!path.startsWith("venv/")) expect(tree[path]?.content, `${what} ${path}`).toBe(sha256(content));
    }
  }
  for (const [path, { type, mode }] of Object.entries(said))
    expect(tree[path], `${what} ${path}`).toMatchObject({ type, mode });
  // Besides what is said there is only the models' folder.
  const more = Object.keys(tree).filter((path) => said[path] === undefined);
  for (const path of more) expect(tree[path]?.type, `${what} ${path}`).toBe("directory");
  expect(more.length, what).toBeLessThan(8);
}
