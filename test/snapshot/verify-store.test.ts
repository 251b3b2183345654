import { chmodSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack, verify, verifyStore } from "../../runtime/snapshot";
import { plainHead, sha256, writeManifest, writePack } from "../support/hostile-manifest";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
let packed: PackedSnapshot[];
beforeEach(async () => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"), { "ComfyUI/large.bin": Buffer.alloc(2_500_000, "0123456789abcde") });
  packed = [];
  for (const version of [1, 2, 3]) {
    writeFileSync(at("env/ComfyUI/main.py"), `print(${version})\n`);
    packed.push(await pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") }));
  }
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const packFiles = () =>
  readdirSync(at("store/packs"), { recursive: true })
    .map(String)
    .filter((path) => /\w{64}$/.test(path))
    .map((path) => at("store/packs", path));
const problems = (verification: Awaited<ReturnType<typeof verifyStore>>) =>
  Object.fromEntries(verification.snapshots.map(({ reference, problems: found }) => [reference, found]));

test.each([false, true])("every snapshot of a whole store is well (deep: %s)", async (deep) => {
  const verification = await verifyStore({ store: at("store"), deep });

  expect(problems(verification)).toEqual(Object.fromEntries(packed.map(({ reference }) => [reference, []])));
});

test("what snapshots share is read once", async () => {
  const stored = packFiles().reduce((sum, path) => sum + statSync(path).size, 0);

  const { bytesRead, snapshots } = await verifyStore({ store: at("store"), deep: true });

  expect(bytesRead).toBe(stored);
  const alone = await Promise.all(snapshots.map(({ reference }) => verify({ reference, deep: true })));
  expect(alone.reduce((sum, one) => sum + one.bytesRead, 0)).toBeGreaterThan(2 * stored);
});

test.each([false, true])(
  "a damaged pack is a problem of each snapshot that needs it, and of no other (deep: %s)",
  async (deep) => {
    writeFileSync(at("env/ComfyUI/main.py"), "print('own')\n");
    const known = new Set(packFiles());
    const fourth = await pack({
      environment,
      models: "referenced",
      store: at("store"),
      plugins: [],
      index: at("index"),
    });
    const [added = ""] = packFiles().filter((path) => !known.has(path));
    chmodSync(added, 0o644);
    truncateSync(added, 5);

    const found = problems(await verifyStore({ store: at("store"), deep }));

    expect(found[fourth.reference]).toEqual([
      expect.stringContaining(`${added} is damaged: it has 5 bytes instead of`),
    ]);
    for (const { reference } of packed) expect(found[reference]).toEqual([]);
    rmSync(added);
    expect(problems(await verifyStore({ store: at("store"), deep }))[fourth.reference]).toEqual([
      `${added} is missing`,
    ]);
  },
);

test("a damaged manifest is a problem of its own snapshot", async () => {
  const digest = packed[1]?.digest ?? "";
  chmodSync(at("store/snapshots", digest), 0o644);
  truncateSync(at("store/snapshots", digest), 50);

  const found = problems(await verifyStore({ store: at("store"), deep: false }));

  expect(found[packed[1]?.reference ?? ""]).toEqual([expect.stringContaining("is damaged")]);
  expect(found[packed[0]?.reference ?? ""]).toEqual([]);
});

test("files that one snapshot says rightly and another wrongly are told apart", async () => {
  const content = Buffer.from("content");
  const { pack: record, frame } = writePack(at("other"), content);
  const manifest = (hash: string) =>
    writeManifest(at("other"), [
      plainHead,
      record,
      frame,
      {
        type: "file",
        path: "a",
        mode: "644",
        mtime: "1.000000000",
        size: 7,
        sha256: hash,
        parts: [[0, 0, 7]],
      },
    ]);
  const [right, wrong] = [manifest(sha256(content)), manifest("1".repeat(64))];

  const found = problems(await verifyStore({ store: at("other"), deep: true }));

  expect(found[right]).toEqual([]);
  expect(found[wrong]).toEqual([expect.stringContaining("a: what the manifest's parts give")]);
});

test("an unused store has nothing to verify", async () => {
  expect(await verifyStore({ store: at("empty"), deep: true })).toMatchObject({ snapshots: [], bytesRead: 0 });
});
