import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack } from "../../runtime/snapshot";
import { largeManifest } from "../support/large-manifest";
import {
  describeTree,
  differentTimes,
  makeEnvironment,
  temporaryFolder,
  touch,
  withoutTimes,
  writeFiles,
} from "../support/trees";

/* Everything here follows docs/store-format.md, and uses nothing of the engine but `pack`, which wrote what is read. */

let folder: ReturnType<typeof temporaryFolder>;
let packed: PackedSnapshot;
let environment: EnvironmentLocation;
const at = (...names: string[]) => join(folder.path, ...names);
const stays = (path: string) => path === "ComfyUI/models";

const request = () =>
  ({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") }) as const;

beforeEach(async () => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"), {
    "ComfyUI/large.bin": Buffer.alloc(2_500_000, "0123456789"),
    "ComfyUI/empty.txt": "",
    "ComfyUI/with 'space' and\nnewline/ünï$HOME.py": "x",
    "ComfyUI/link": "→ with 'space' and\nnewline",
    "ComfyUI/__pycache__/main.cpython-311.pyc": "byte code",
    "ComfyUI/inside": `→ ${at("env")}/ComfyUI/main.py`,
    "ComfyUI/empty folder": null,
    "ComfyUI/only-a-log": null,
    "ComfyUI/only-a-log/a.log": "line",
  });
  touch(at("env/ComfyUI/main.py"), 1_234_567_890.125);
  chmodSync(at("env/ComfyUI/empty folder"), 0o500);
  await pack(request());
  writeFiles(at("env"), { "ComfyUI/second.py": "packed in a second run" });
  packed = await pack(request());
});
afterEach(() => folder.remove());

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");

interface Row {
  readonly type?: string;
  readonly path: string;
  readonly mode: string;
  readonly mtime: string;
  readonly target: string;
  readonly sha256: string;
  readonly identity?: string;
  readonly counts?: false;
  readonly pack: number;
  readonly offset: number;
  readonly length: number;
  readonly size: number;
  readonly parts: readonly [number, number, number][];
}

function readRows(digest = packed.digest): readonly Row[] {
  const bytes = readFileSync(at("store/snapshots", digest));
  expect(sha256(bytes)).toBe(digest);
  const lines = zstdDecompressSync(bytes).toString("utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Row);
}

/** Of a manifest, and of its base where it has one, with what comes of both. */
function readAllRows(): readonly Row[] {
  const own = readRows();
  const base = own.find(({ type }) => type === "base");
  if (base === undefined) return own;
  const rows = [...readRows(base.sha256), ...own];
  const entries = new Map<string, Row>();
  for (const row of rows) {
    if (row.type === "removed") expect(entries.delete(row.path)).toBe(true);
    else if (row.path !== undefined) entries.set(row.path, row);
  }
  const sorted = [...entries.values()].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  return [...rows.filter(({ path }) => path === undefined), ...sorted];
}

/** Packs so much that the next snapshot says only what differs, and then a tree in which something of everything does. */
async function packWithBase(): Promise<void> {
  const files = Array.from({ length: 8 }, (_, number) => [`ComfyUI/many/${number}.txt`, `file ${number}`] as const);
  writeFiles(at("env"), { ...largeManifest, ...Object.fromEntries(files) });
  await pack(request());
  writeFiles(at("env"), { "ComfyUI/many/1.txt": "changed", "ComfyUI/many/new/file.txt": "new" });
  rmSync(at("env/ComfyUI/many/2.txt"));
  rmSync(at("env/ComfyUI/empty folder"), { recursive: true });
  rmSync(at("env/ComfyUI/link"));
  symlinkSync("elsewhere", at("env/ComfyUI/link"));
  rmSync(at("env/ComfyUI/many/3.txt"));
  mkdirSync(at("env/ComfyUI/many/3.txt"));
  chmodSync(at("env/ComfyUI/many/4.txt"), 0o600);
  touch(at("env/ComfyUI/many/5.txt"), 1_234_567_891.25);
  packed = await pack(request());
  expect(readRows()[1]?.type).toBe("base");
  expect(statSync(at("store/snapshots", packed.digest)).size).toBeLessThan(10_000);
}

const kinds = [
  ["whole", async () => undefined],
  ["with a base", packWithBase],
] as const;

test.each(kinds)(
  "by the rules of the document, a snapshot whose manifest is %s is restored without the engine",
  async (_, prepare) => {
    await prepare();
    const rows = readAllRows();
    const ofType = (type: string) => rows.filter((row) => row.type === type);
    const [packs, frames] = [ofType("pack"), ofType("frame")];

    mkdirSync(at("target"));
    for (const { path } of ofType("directory")) mkdirSync(at("target", path));
    for (const file of ofType("file")) {
      const pieces = file.parts.map(([number, offset, length]) => {
        const frame = frames[number];
        const name = packs[frame?.pack ?? -1]?.sha256 ?? "";
        const bytes = readFileSync(at("store/packs", name.slice(0, 2), name));
        expect(sha256(bytes)).toBe(name);
        const start = frame?.offset ?? 0;
        const stored = bytes.subarray(start, start + (frame?.length ?? 0));
        expect(sha256(stored)).toBe(frame?.sha256);
        const plain = zstdDecompressSync(stored);
        expect(plain.length).toBe(frame?.size);
        return plain.subarray(offset, offset + length);
      });
      const content = Buffer.concat(pieces);
      expect(sha256(content)).toBe(file.sha256);
      writeFileSync(at("target", file.path), content);
      chmodSync(at("target", file.path), Number.parseInt(file.mode, 8));
      utimesSync(at("target", file.path), Number(file.mtime), Number(file.mtime));
    }
    for (const { path, target } of ofType("link")) symlinkSync(target, at("target", path));
    for (const { path, mode } of ofType("directory").reverse()) chmodSync(at("target", path), Number.parseInt(mode, 8));

    expectRestored();
  },
);

const missing = ["zstd", "jq", "sha256sum"].filter((tool) => spawnSync(tool, ["--version"]).error !== undefined);

test.skipIf(missing.length > 0).each(kinds)(
  "the document's shell script restores a snapshot whose manifest is %s",
  async (_, prepare) => {
    await prepare();
    const document = readFileSync(join(__dirname, "../../docs/store-format.md"), "utf8");
    const [, script = ""] = /```sh\n([\s\S]*?)```/.exec(document) ?? [];
    expect(script).not.toBe("");

    execFileSync("sh", ["-c", script], {
      env: { ...process.env, STORE: at("store"), DIGEST: packed.digest, TARGET: at("target") },
    });

    expectRestored();
  },
);

function expectRestored(): void {
  const left = (path: string) => stays(path) || path.endsWith(".log");
  const [original, restored] = [describeTree(at("env"), left), describeTree(at("target"))];
  expect(withoutTimes(restored)).toEqual(withoutTimes(original));
  expect(differentTimes(original, restored)).toEqual([]);
}

test("by the rules of the document, the id is computed from the manifest and its base", async () => {
  await packWithBase();
  const rows = readAllRows();
  const [head] = readRows();
  const counted = rows.filter(
    ({ type, counts }) => ["file", "directory", "link"].includes(type ?? "") && counts !== false,
  );
  const hash = createHash("sha256");
  for (const row of counted) {
    const root = at("env");
    const target = row.target?.startsWith(`${root}/`) ? `<root>${row.target.slice(root.length)}` : row.target;
    const content = row.type === "file" ? (row.identity ?? row.sha256) : row.type === "link" ? target : "";
    const executable = row.type === "file" && (Number.parseInt(row.mode, 8) & 0o100) !== 0;
    hash.update(`${row.path}\0${row.type}\0${executable ? 1 : 0}\0${content}\0`);
  }

  expect(hash.digest("hex")).toBe((head as unknown as PackedSnapshot["head"]).summary.id);
  const paths = counted.map(({ path }) => path);
  expect(paths).toContain("ComfyUI/many/3.txt");
  expect(paths).not.toContain("ComfyUI/only-a-log");
  expect(paths).not.toContain("ComfyUI/__pycache__/main.cpython-311.pyc");
});

test("by the rules of the document, a script's identity is the hash of its text with the root replaced", () => {
  const script = readRows().find(({ path }) => path === "venv/bin/pip");

  expect(script?.identity).toBe(sha256("#!<root>/venv/bin/python\nimport pip\n"));
});

test.each(kinds)("records of a manifest that is %s are in the order that the document says", async (_, prepare) => {
  await prepare();
  const rows = readRows().slice(1);
  const ranks = rows
    .map(({ type }) => ["base", "pack", "frame"].indexOf(type ?? ""))
    .map((rank) => (rank < 0 ? 3 : rank));
  expect(ranks).toEqual([...ranks].sort());
  const paths = rows.filter(({ path }) => path !== undefined).map(({ path }) => Buffer.from(path));
  expect(paths).toEqual([...paths].sort(Buffer.compare));
  const frames = rows
    .filter(({ type }) => type === "frame")
    .map(({ pack: number, offset }) => number * 2 ** 40 + offset);
  expect(frames).toEqual([...frames].sort((a, b) => a - b));
  const packs = rows.filter(({ type }) => type === "pack").map(({ sha256: name }) => name);
  expect(packs).toEqual([...packs].sort());
  expect(packs).toHaveLength(rows[0]?.type === "base" ? 1 : 2);
});
