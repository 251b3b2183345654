import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type CountedScan, explainDifference, scan, scanCounted } from "../../runtime/snapshot";
import { makeEnvironment, temporaryFolder, touch, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at());
});
afterEach(() => folder.remove());

function at(...names: string[]): string {
  return join(folder.path, "env", ...names);
}

function flipByte(file: string, place: (bytes: Buffer) => number): void {
  const bytes = readFileSync(file);
  const at = place(bytes);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

const plugin = "ComfyUI/custom_nodes/good_plugin";
const look = (index = "index"): Promise<CountedScan> =>
  scanCounted({ environment, models: "referenced", index: join(folder.path, index) });

test("a start, a prompt and a stop of ComfyUI keep the id", async () => {
  const before = await look();
  writeFiles(at(), {
    "ComfyUI/__pycache__/main.cpython-311.pyc": "byte code",
    [`${plugin}/__pycache__/__init__.cpython-311.pyc`]: "byte code",
    "venv/lib/python3.11/site-packages/__pycache__/six.cpython-311.pyc": "byte code",
    "ComfyUI/input/example.png": "in",
    "ComfyUI/output/ComfyUI_00001_.png": "out",
    "ComfyUI/temp/preview.png": "temp",
    "ComfyUI/user/comfyui.db": "",
    "ComfyUI/user/default/comfy.settings.json": "{}",
    "ComfyUI/comfyui.log": "Starting server\n",
    "ComfyUI/models/checkpoints/new.safetensors": "more",
    ".cache/huggingface/hub/.locks/models--a/0f.lock": "",
    ".cache/huggingface/hub/models--a/.no_exist/main/added_tokens.json": "",
    ".cache/pip/http-v2/a": "cached",
    ".cache/torchinductor_user/x/y.py": "compiled",
  });

  const after = await look();

  expect(explainDifference(before.counted, after.counted)).toEqual([]);
  expect(after.summary.id).toBe(before.summary.id);
});

test.each<[string, () => void]>([
  ["times", () => touch(at("ComfyUI/main.py"), 1_000_000_000)],
  ["permissions other than the owner's execution", () => chmodSync(at("ComfyUI/main.py"), 0o600)],
  [
    "a copy in the place of the original",
    () => {
      const content = readFileSync(at("ComfyUI/main.py"));
      rmSync(at("ComfyUI/main.py"));
      writeFileSync(at("ComfyUI/main.py"), content);
    },
  ],
  ["a commit", () => writeFiles(at(), { [`${plugin}/.git/HEAD`]: "0123456789012345678901234567890123456789\n" })],
  ["a plugin's log, in a folder that is new", () => writeFiles(at(), { [`${plugin}/logs/run.log`]: "line\n" })],
  [
    "an editor's left-overs",
    () => writeFiles(at(), { [`${plugin}/.__init__.py.swp`]: "", [`${plugin}/__init__.py~`]: "" }),
  ],
  ["ignored files", () => writeFiles(at(), { ".comfyuiignore": "*.psd\n", "ComfyUI/a.psd": "picture" })],
])("%s do not change the id", async (_, edit) => {
  const before = await look();

  edit();

  const after = await look();
  expect(explainDifference(before.counted, after.counted)).toEqual([]);
  expect(after.summary.id).toBe(before.summary.id);
});

test.each<[string, () => void, string, string, string]>([
  ["a file's content", () => appendFileSync(at("ComfyUI/main.py"), "#"), "ComfyUI/main.py", "changed", "content"],
  ["an added file", () => writeFiles(at(), { "ComfyUI/a.py": "" }), "ComfyUI/a.py", "added", "file"],
  ["a removed file", () => rmSync(at("ComfyUI/main.py")), "ComfyUI/main.py", "removed", "file"],
  [
    "the right to execute",
    () => chmodSync(at("venv/bin/pip"), 0o644),
    "venv/bin/pip",
    "changed",
    "no longer executable",
  ],
  ["an empty folder", () => mkdirSync(at(plugin, "web")), `${plugin}/web`, "added", "directory"],
  ["a link", () => symlinkSync("main.py", at("ComfyUI/link.py")), "ComfyUI/link.py", "added", "link"],
  [
    "what is installed",
    () => writeFiles(at(), { "venv/lib/python3.11/site-packages/a.py": "" }),
    "venv/lib/python3.11/site-packages/a.py",
    "added",
    "file",
  ],
  ["what is cached", () => writeFiles(at(), { ".cache/clip/ViT.pt": "w" }), ".cache/clip/ViT.pt", "added", "file"],
  [
    "extra model paths",
    () => writeFiles(at(), { "ComfyUI/extra_model_paths.yaml": "a:" }),
    "ComfyUI/extra_model_paths.yaml",
    "added",
    "file",
  ],
])("%s changes the id, and the explanation names it", async (_, edit, path, change, what) => {
  const before = await look();

  edit();

  const after = await look();
  expect(after.summary.id).not.toBe(before.summary.id);
  expect(explainDifference(before.counted, after.counted)).toContainEqual({ path, change, what });
});

test("a renamed plugin and a redirected link change the id", async () => {
  symlinkSync("main.py", at("ComfyUI/link"));
  const before = await look();
  renameSync(at(plugin), at("ComfyUI/custom_nodes/renamed"));
  rmSync(at("ComfyUI/link"));
  symlinkSync("other.py", at("ComfyUI/link"));

  const differences = explainDifference(before.counted, (await look()).counted);

  expect(differences).toContainEqual({ path: "ComfyUI/link", change: "changed", what: "link: main.py → other.py" });
  expect(differences).toContainEqual({ path: plugin, change: "removed", what: "directory" });
});

test("an edit of a plugin changes its hash and the version that is shown, and no other plugin's", async () => {
  writeFiles(at(), { "ComfyUI/custom_nodes/single.py": "NODE_CLASS_MAPPINGS = {}\n" });
  const before = await look();
  appendFileSync(at(plugin, "__init__.py"), "# edited\n");

  const after = await look();

  expect(after.pluginHashes.good_plugin).not.toBe(before.pluginHashes.good_plugin);
  expect(after.summary.plugins.good_plugin).not.toBe(before.summary.plugins.good_plugin);
  expect(after.pluginHashes["single.py"]).toBe(before.pluginHashes["single.py"]);
});

test("the same environment at another place has the same id, whatever names its place", async () => {
  const other = join(folder.path, "elsewhere", "studio");
  const [here, there] = await Promise.all([
    look(),
    scanCounted({ environment: makeEnvironment(other), models: "referenced", index: join(folder.path, "other") }),
  ]);

  expect(explainDifference(here.counted, there.counted)).toEqual([]);
  expect(there.summary.id).toBe(here.summary.id);
});

test("nothing is read by a second scan, and only what changed by a third", async () => {
  writeFiles(at(), { "ComfyUI/large.bin": Buffer.alloc(3_000_000, 7) });
  const first = await look();
  const second = await look();
  appendFileSync(at("ComfyUI/main.py"), "#");

  const third = await look();

  expect(first.bytesRead).toBe(first.summary.bytes);
  expect(second).toEqual({ ...first, bytesRead: 0 });
  expect(third.bytesRead).toBe(readFileSync(at("ComfyUI/main.py")).length);
});

test("an edit of the same size right after a scan, with the old time set again, is noticed", async () => {
  const path = at("ComfyUI/main.py");
  for (let round = 0; round < 30; round++) {
    writeFileSync(path, `print('${round % 2 === 0 ? "even" : "odd."}')\n`);
    utimesSync(path, 1_700_000_000, 1_700_000_000);
    const before = await look();
    writeFileSync(path, `print('${round % 2 === 0 ? "ODD." : "EVEN"}')\n`);
    utimesSync(path, 1_700_000_000, 1_700_000_000);

    const after = await look();

    expect(after.summary.id).not.toBe(before.summary.id);
  }
});

test.each<[string, (index: string) => void]>([
  ["missing", (index) => rmSync(index)],
  ["cut short", (index) => writeFileSync(index, readFileSync(index).subarray(0, -20))],
  ["tampered with", (index) => flipByte(index, (bytes) => bytes.length >> 1)],
  ["tampered with in its first line", (index) => flipByte(index, (bytes) => bytes.indexOf('"entries":"') + 20)],
  ["no index", (index) => writeFileSync(index, "hello")],
  [
    "another environment's",
    (index) => writeFileSync(index, readFileSync(index, "latin1").replace('"place":"', '"place":"0'), "latin1"),
  ],
])("an index that is %s costs a full read and nothing else", async (_, spoil) => {
  const before = await look();
  spoil(join(folder.path, "index"));

  const after = await look();

  expect(after).toEqual({ ...before, bytesRead: before.summary.bytes });
  expect((await look()).bytesRead).toBe(0);
});

test("an unchanged tree is recognised by the index's first line alone", async () => {
  const request = { environment, models: "referenced", index: join(folder.path, "index") } as const;
  const before = await scan(request);
  flipByte(request.index, (bytes) => bytes.length - 1);

  expect(await scan(request)).toEqual({ ...before, bytesRead: 0 });

  touch(at("ComfyUI/main.py"), 1_000_000_000);
  expect(await scan(request)).toEqual({ ...before, bytesRead: before.summary.bytes });
});

test("a plugin that is a link is looked at again each time: what it leads to has a say", async () => {
  const outside = join(folder.path, "outside");
  writeFiles(folder.path, { outside: "text" });
  symlinkSync(outside, at("ComfyUI/custom_nodes/linked"));
  const request = { environment, models: "referenced", index: join(folder.path, "index") } as const;
  expect((await scan(request)).pluginHashes).not.toHaveProperty("linked");

  rmSync(outside);
  mkdirSync(outside);

  expect((await scan(request)).pluginHashes).toHaveProperty("linked");
});

test("an index that cannot be kept is a remark", async () => {
  writeFileSync(join(folder.path, "file"), "");

  const { remarks, summary } = await look("file/index");

  expect(remarks).toEqual([expect.stringContaining("could not be kept")]);
  expect(summary.id).toBe((await look()).summary.id);
});

test("models are remembered by the index also while they are only referenced", async () => {
  const locked = { environment, models: "locked", index: join(folder.path, "index") } as const;
  await scanCounted(locked);
  await look();

  expect((await scanCounted(locked)).bytesRead).toBe(0);
});

test("a scan stops when it is told to", async () => {
  const stop = new AbortController();
  stop.abort(new Error("enough"));

  await expect(
    scanCounted({ environment, models: "referenced", index: join(folder.path, "index"), signal: stop.signal }),
  ).rejects.toThrow("enough");
});
