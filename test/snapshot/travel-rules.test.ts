import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { pack, restore, scanCounted } from "../../runtime/snapshot";
import { describeTree, type Files, makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);

/** What of these files is there after a pack and a restore, and what of that counts. */
async function travel(files: Files) {
  writeFiles(at("env"), files);
  const before = Object.keys(files).filter((path) => path !== ".comfyuiignore");
  const scanned = await scanCounted({ environment, models: "referenced", index: at("index") });
  const packed = await pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
  await restore({ reference: packed.reference, target: at("restored") });
  const restored = describeTree(at("restored"));
  const counted = new Set(scanned.counted.map(({ path }) => path));
  return {
    travels: before.filter((path) => path in restored),
    counts: before.filter((path) => counted.has(path)),
    remarks: scanned.remarks,
    restored,
  };
}

const files = (...paths: string[]): Files => Object.fromEntries(paths.map((path) => [path, "content"]));

test("byte code travels without counting", async () => {
  const paths = ["ComfyUI/__pycache__/a.cpython-311.pyc", "venv/lib/python3.11/site-packages/legacy.pyc"];

  const { travels, counts } = await travel(files(...paths));

  expect(travels).toEqual(paths);
  expect(counts).toEqual([]);
});

test("what belongs to a person, a run, a tool or an editor stays", async () => {
  const { travels } = await travel(
    files(
      "ComfyUI/input/a.png",
      "ComfyUI/output/a.png",
      "ComfyUI/temp/a.png",
      "ComfyUI/user/default/workflows/a.json",
      "ComfyUI/.git/config",
      "ComfyUI/custom_nodes/good_plugin/.git/HEAD",
      "ComfyUI/comfyui.log",
      "ComfyUI/comfyui.prev.log",
      "ComfyUI/custom_nodes/ComfyUI-Manager/.cache/list.json",
      "ComfyUI/custom_nodes/good_plugin/download.safetensors.part",
      "ComfyUI/custom_nodes/good_plugin/.ipynb_checkpoints/a.py",
      ".cache/huggingface/hub/models--a/blobs/1.incomplete",
      ".cache/huggingface/hub/.locks/a.lock",
      ".cache/huggingface/xet/chunks/1",
      ".cache/triton/a.so",
      ".cache/pip/wheels/a.whl",
      "venv/.lock",
      "notes.txt",
    ),
  );

  expect(travels).toEqual([]);
});

test("what looks like that but belongs to a package or a plugin travels", async () => {
  const paths = [
    "ComfyUI/custom_nodes/good_plugin/input/a.py",
    "ComfyUI/custom_nodes/good_plugin/output/__init__.py",
    "ComfyUI/custom_nodes/good_plugin/poetry.lock",
    "ComfyUI/custom_nodes/good_plugin/.gitignore",
    "ComfyUI/custom_nodes/good_plugin/.env.example",
    "ComfyUI/custom_nodes/good_plugin/cacert.pem",
    "ComfyUI/web/temp/a.js",
    "venv/lib/python3.11/site-packages/certifi/cacert.pem",
    "venv/lib/python3.11/site-packages/package/data.log",
    "venv/lib/python3.11/site-packages/package/temp/a.py",
    "venv/lib/python3.11/site-packages/triton/a.so",
    ".cache/huggingface/hub/models--a/refs/main",
    ".cache/torch/hub/checkpoints/a.pth",
  ];

  const { travels, counts } = await travel(files(...paths));

  expect(travels).toEqual(paths);
  expect(counts).toEqual(paths);
});

test("credentials never travel, not even when a rule lets them in, and a remark says so", async () => {
  const paths = [
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
    "ComfyUI/.env",
    "ComfyUI/custom_nodes/good_plugin/.env.local",
    "ComfyUI/custom_nodes/good_plugin/.netrc",
    "ComfyUI/custom_nodes/good_plugin/id_ed25519",
    "ComfyUI/.ssh/config",
    "ComfyUI/.aws/credentials",
  ];

  const { travels, remarks } = await travel({ ...files(...paths), ".comfyuiignore": "!**\n" });

  expect(travels).toEqual([]);
  expect(remarks.join()).toContain(".cache/huggingface/token");
});

test("a key file stays unless a rule lets it in", async () => {
  const paths = ["ComfyUI/custom_nodes/good_plugin/a.pem", "ComfyUI/custom_nodes/good_plugin/b.pem"];

  const { travels, remarks } = await travel({ ...files(...paths), ".comfyuiignore": "!b.pem\n" });

  expect(travels).toEqual([paths[1]]);
  expect(remarks.join()).toContain("a.pem");
});

test("a person's own rules leave out and let in, by the syntax of .gitignore", async () => {
  const { travels, restored } = await travel({
    ...files(
      "ComfyUI/a.psd",
      "ComfyUI/A.PSD",
      "ComfyUI/custom_nodes/good_plugin/docs/a.md",
      "ComfyUI/custom_nodes/good_plugin/keep.log",
      ".cache/triton/a.so",
    ),
    ".comfyuiignore": "# ours\n*.psd\n/ComfyUI/custom_nodes/*/docs/\n!keep.log\n!/.cache/triton/\n",
  });

  expect(travels).toEqual(["ComfyUI/A.PSD", "ComfyUI/custom_nodes/good_plugin/keep.log", ".cache/triton/a.so"]);
  expect(restored).toHaveProperty([".comfyuiignore"]);
});

test("sockets and named pipes stay, with a remark", async () => {
  execFileSync("mkfifo", [at("env/ComfyUI/pipe")]);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(at("env/ComfyUI/socket"), resolve));
  try {
    const { restored, remarks } = await travel({});

    expect(restored).not.toHaveProperty(["ComfyUI/pipe"]);
    expect(remarks).toEqual([
      "ComfyUI/pipe is a named pipe and was left out",
      "ComfyUI/socket is a socket and was left out",
    ]);
  } finally {
    server.close();
  }
});

test("a part that lies in a folder that stays out travels all the same", async () => {
  environment = { ...environment, layout: { ...environment.layout, cache: "ComfyUI/user/cache" } };

  const { travels } = await travel(files("ComfyUI/user/cache/clip/a.pt", "ComfyUI/user/comfyui.db"));

  expect(travels).toEqual(["ComfyUI/user/cache/clip/a.pt"]);
});

test("with a base directory, its folders for people stay", async () => {
  mkdirSync(at("env/base/custom_nodes"), { recursive: true });
  environment = {
    ...environment,
    layout: { ...environment.layout, plugins: "base/custom_nodes", models: "base/models" },
  };

  const { travels } = await travel(
    files("base/user/default/a.json", "base/output/a.png", "base/custom_nodes/a/input/a.py"),
  );

  expect(travels).toEqual(["base/custom_nodes/a/input/a.py"]);
});

test("the root itself may be ComfyUI's source", async () => {
  const root = at("flat");
  makeEnvironment(root);
  writeFiles(root, { "main.py": "", "custom_nodes/a/__init__.py": "", "models/a.pt": "m", "output/a.png": "o" });
  const layout = { comfyui: ".", plugins: "custom_nodes", dependencies: "venv", cache: ".cache", models: "models" };
  const flat = { root, layout };

  const packed = await pack({
    environment: flat,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("index"),
  });
  await restore({ reference: packed.reference, target: at("restored") });

  expect(packed.head.layout.comfyui).toBe(".");
  expect(packed.head.summary.plugins).toHaveProperty("a");
  const restored = describeTree(at("restored"));
  expect(restored).toHaveProperty(["main.py"]);
  expect(restored).toHaveProperty(["custom_nodes/a/__init__.py"]);
  expect(restored).not.toHaveProperty(["output"]);
  expect(restored).not.toHaveProperty(["models/a.pt"]);
});
