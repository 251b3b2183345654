import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack, restore, scan } from "../../runtime/snapshot";
import { incompleteMarker } from "../../runtime/snapshot/incomplete";
import { restoreBy } from "../../runtime/snapshot/restore";
import { processToken } from "../../runtime/store";
import { waitFor } from "../../runtime/waiting";
import { buildEngine, type EngineProcess } from "../support/engine-process";
import {
  describeTree,
  differentTimes,
  makeEnvironment,
  temporaryFolder,
  withoutTimes,
  writeFiles,
} from "../support/trees";

let program: ReturnType<typeof temporaryFolder>;
let folder: ReturnType<typeof temporaryFolder>;
let engine: EngineProcess;
let environment: EnvironmentLocation;
let before: PackedSnapshot;
beforeAll(async () => {
  program = temporaryFolder();
  engine = await buildEngine(program.path);
});
afterAll(() => program.remove());
beforeEach(async () => {
  folder = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", at("user-cache"));
  environment = makeEnvironment(at("env"), {
    "ComfyUI/large.bin": Buffer.alloc(2_500_000, "large"),
    "ComfyUI/custom_nodes/old_plugin/__init__.py": "old = 1\n",
    "ComfyUI/custom_nodes/old_plugin/data/weights.txt": "1 2 3",
    "ComfyUI/becomes-folder": "file",
    "ComfyUI/becomes-file/inner.py": "inner = 1\n",
    "ComfyUI/link": "→ main.py",
    "venv/lib/python3.11/site-packages/read_only/a.py": "a = 1\n",
  });
  chmodSync(at("env/venv/lib/python3.11/site-packages/read_only"), 0o555);
  before = await packIt();
});
afterEach(() => {
  vi.unstubAllEnvs();
  folder.remove();
});

const at = (...names: string[]) => join(folder.path, ...names);
const stays = (path: string) => path === "ComfyUI/models/checkpoints";
const packIt = () => pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
const readOnly = "venv/lib/python3.11/site-packages/read_only";

/** Another version of the environment, which differs in every way that a tree can. */
function change(): void {
  writeFileSync(at("env/ComfyUI/main.py"), "print('changed')\n");
  rmSync(at("env/ComfyUI/custom_nodes/old_plugin"), { recursive: true });
  rmSync(at("env/ComfyUI/becomes-folder"));
  rmSync(at("env/ComfyUI/becomes-file"), { recursive: true });
  rmSync(at("env/ComfyUI/link"));
  writeFiles(at("env"), {
    "ComfyUI/becomes-folder/inner.py": "inner = 2\n",
    "ComfyUI/becomes-file": "file",
    "ComfyUI/link": "→ large.bin",
    "ComfyUI/custom_nodes/new_plugin/__init__.py": "new = 1\n",
    "ComfyUI/custom_nodes/new_plugin/empty.txt": "",
  });
  chmodSync(at("env/ComfyUI/comfyui_version.py"), 0o755);
  utimesSync(at("env/ComfyUI/custom_nodes/good_plugin/__init__.py"), 1_600_000_000, 1_600_000_000);
  chmodSync(at("env", readOnly), 0o755);
  writeFileSync(at("env", readOnly, "a.py"), "a = 2\n");
  chmodSync(at("env", readOnly), 0o555);
}

/** Inode and time of change of every file: another one was written, or touched. */
function inodes(root: string): Record<string, string> {
  const files = Object.entries(describeTree(root)).filter(([, { type }]) => type === "file");
  return Object.fromEntries(
    files.map(([path]) => {
      const { ino, ctimeNs } = lstatSync(join(root, path), { bigint: true });
      return [path, `${ino} ${ctimeNs}`];
    }),
  );
}

function expectSame(target: string): void {
  const [restored, original] = [describeTree(target), describeTree(at("env"), stays)];
  expect(withoutTimes(restored)).toEqual(withoutTimes({ ...original, ...modelsFolder(restored) }));
  expect(differentTimes(original, restored)).toEqual([]);
}

const modelsFolder = (tree: ReturnType<typeof describeTree>) => {
  const models = tree["ComfyUI/models"];
  return models === undefined ? {} : { "ComfyUI/models": models };
};

test("over an earlier restore, only what differs is written, and the result is that of a new restore", async () => {
  await restore({ reference: before.reference, target: at("target"), location: at("env") });
  const earlier = inodes(at("target"));
  change();
  const after = await packIt();

  const { head } = await restore({ reference: after.reference, target: at("target"), location: at("env"), over: true });

  expect(head.summary.id).toBe(after.head.summary.id);
  expectSame(at("target"));
  const later = inodes(at("target"));
  const written = Object.keys(later).filter((path) => later[path] !== earlier[path]);
  expect(written.sort()).toEqual([
    "ComfyUI/becomes-file",
    "ComfyUI/becomes-folder/inner.py",
    "ComfyUI/comfyui_version.py",
    "ComfyUI/custom_nodes/good_plugin/__init__.py",
    "ComfyUI/custom_nodes/new_plugin/__init__.py",
    "ComfyUI/custom_nodes/new_plugin/empty.txt",
    "ComfyUI/main.py",
    `${readOnly}/a.py`,
  ]);
  expect(existsSync(at("target", incompleteMarker))).toBe(false);
});

test("threads that look before the snapshot is read find what was added to folders, changed and removed since", async () => {
  const again = () =>
    restoreBy({ threads: 2 }, { reference: before.reference, target: at("target"), location: at("env"), over: true });
  await again();
  // From a restore over it on, its folders have been as they are for long enough.
  const written = Date.now();
  await waitFor({
    what: "a later time",
    deadline: 10_000,
    interval: 20,
    look: () => Date.now() > written + 100 || undefined,
  });
  await again();
  const earlier = inodes(at("target"));
  await again();
  expect(inodes(at("target"))).toEqual(earlier);

  writeFiles(at("target"), { "ComfyUI/custom_nodes/old_plugin/added.py": "", "ComfyUI/user/mine.json": "{}" });
  rmSync(at("target/ComfyUI/becomes-file"), { recursive: true });
  appendFileSync(at("target/ComfyUI/main.py"), "changed");
  await again();
  expect(existsSync(at("target/ComfyUI/user/mine.json"))).toBe(true);
  rmSync(at("target/ComfyUI/user"), { recursive: true });
  expectSame(at("target"));

  // As if a process that restored something else had been killed in the middle.
  writeFileSync(at("target", incompleteMarker), "");
  rmSync(at("target/ComfyUI/becomes-file"), { recursive: true });
  await again();
  expectSame(at("target"));
});

test("at another location, places that were rewritten before are not written again", async () => {
  await restore({ reference: before.reference, target: at("target") });
  const earlier = inodes(at("target"));
  writeFileSync(at("env/ComfyUI/main.py"), "print('changed')\n");
  const after = await packIt();

  await restore({ reference: after.reference, target: at("target"), over: true });

  const later = inodes(at("target"));
  const written = Object.keys(later).filter((path) => later[path] !== earlier[path]);
  // What was written in the last moment of the first restore is not trusted, and rewritten: the smallest trees are.
  const rewritten = ["venv/bin/pip", "venv/pyvenv.cfg"];
  expect(written.filter((path) => !rewritten.includes(path))).toEqual(["ComfyUI/main.py"]);
  expect(readFileSync(at("target/venv/bin/pip"), "utf8")).toContain(at("target/venv/bin/python"));
  await restore({ reference: after.reference, target: at("fresh"), location: at("target") });
  expect(withoutTimes(describeTree(at("target")))).toEqual(withoutTimes(describeTree(at("fresh"))));
});

test("what was done to a restore is undone where it travels, and stays where it does not", async () => {
  await restore({ reference: before.reference, target: at("target"), location: at("env") });
  const size = statSync(at("target/ComfyUI/main.py")).size;
  const { mtime } = statSync(at("target/ComfyUI/main.py"));
  writeFileSync(at("target/ComfyUI/main.py"), "#".repeat(size));
  utimesSync(at("target/ComfyUI/main.py"), mtime, mtime);
  rmSync(at("target/ComfyUI/large.bin"));
  symlinkSync("/etc", at("target/ComfyUI/custom_nodes/stray"));
  writeFiles(at("target"), {
    "ComfyUI/custom_nodes/good_plugin/__pycache__/x.cpython-311.pyc": "byte code",
    "ComfyUI/custom_nodes/unknown/__init__.py": "",
    "ComfyUI/output/picture.png": "picture",
    "ComfyUI/models/loras/own.safetensors": "own",
    "ComfyUI/run.log": "log",
  });

  await restore({ reference: before.reference, target: at("target"), location: at("env"), over: true });

  const kept = ["ComfyUI/output/picture.png", "ComfyUI/models/loras/own.safetensors", "ComfyUI/run.log"];
  for (const path of kept) {
    expect(existsSync(at("target", path))).toBe(true);
    rmSync(at("target", path));
  }
  rmSync(at("target/ComfyUI/output"), { recursive: true });
  rmSync(at("target/ComfyUI/models/loras"), { recursive: true });
  expectSame(at("target"));
});

test("nothing is written through a link that was put in the way, or into a file that has other names", async () => {
  await restore({ reference: before.reference, target: at("target"), location: at("env") });
  mkdirSync(at("elsewhere"));
  rmSync(at("target/ComfyUI/custom_nodes"), { recursive: true });
  symlinkSync(at("elsewhere"), at("target/ComfyUI/custom_nodes"));
  linkSync(at("target/ComfyUI/comfyui_version.py"), at("elsewhere/other-name"));
  const mode = statSync(at("elsewhere/other-name")).mode;
  change();
  const after = await packIt();

  await restore({ reference: after.reference, target: at("target"), location: at("env"), over: true });

  expect(Object.keys(describeTree(at("elsewhere")))).toEqual(["other-name"]);
  expect(statSync(at("elsewhere/other-name")).mode).toBe(mode);
  expectSame(at("target"));
});

test("killed at any of its writes, the folder is refused, and the same command completes it", {
  timeout: 900_000,
}, async () => {
  await restore({ reference: before.reference, target: at("target"), location: at("env") });
  change();
  const after = await packIt();
  const request = { reference: after.reference, target: at("target"), location: at("env"), over: true };
  const target = { root: at("target"), layout: environment.layout };
  let kills = 0;
  for (let call = 1; ; call += 1) {
    await engine.restore({ ...request, reference: before.reference }, null);
    const incident = { module: "node:fs", function: "*", call, when: "after", action: { kill: true } } as const;

    const { killed, error } = await engine.restore(request, incident);

    expect(error).toBeNull();
    if (!killed) break;
    kills += 1;
    if (existsSync(at("target", incompleteMarker))) {
      await expect(scan({ environment: target, models: "referenced", index: at("other") })).rejects.toMatchObject({
        problems: [{ path: "root", reason: expect.stringContaining("is incomplete") }],
      });
      await expect(
        pack({ environment: target, models: "referenced", store: at("store"), plugins: [] }),
      ).rejects.toThrow("restore over it again");
    }
    await restore(request);
    expectSame(at("target"));
    expect(call).toBeLessThan(80);
  }
  expect(kills).toBeGreaterThan(15);
});

test("a folder that is no restore is refused and left as it is; one that is not there is made", async () => {
  writeFiles(at("target"), { "mine.txt": "mine" });
  const request = { reference: before.reference, target: at("target"), location: at("env"), over: true };

  await expect(restore(request)).rejects.toThrow("is not known to be an earlier restore");

  expect(readFileSync(at("target/mine.txt"), "utf8")).toBe("mine");
  expect(existsSync(at("target", incompleteMarker))).toBe(false);
  await restore({ ...request, target: at("new") });
  expectSame(at("new"));
});

test("a folder that another process restores over is refused", async () => {
  await restore({ reference: before.reference, target: at("target"), location: at("env") });
  const text = JSON.stringify({ token: `${processToken()}-00000001`, reference: before.reference });
  writeFileSync(at("target", incompleteMarker), text);
  const request = { reference: before.reference, target: at("target"), location: at("env"), over: true };

  await expect(restore(request)).rejects.toThrow("another process restores");

  expect(readFileSync(at("target", incompleteMarker), "utf8")).toBe(text);
});

test("without the record of what was restored, a marked folder is compared by its content", async () => {
  await restore({ reference: before.reference, target: at("target"), location: at("env") });
  rmSync(at("user-cache"), { recursive: true });
  writeFileSync(at("target", incompleteMarker), "");
  appendFileSync(at("target/ComfyUI/main.py"), "#");

  await restore({ reference: before.reference, target: at("target"), location: at("env"), over: true });

  expectSame(at("target"));
  expect(readlinkSync(at("target/ComfyUI/link"))).toBe("main.py");
});
