import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation, Layout } from "../../runtime/environment";
import { checkEnvironment, pack, scan } from "../../runtime/snapshot";
import { makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const withLayout = (layout: Partial<Layout>) => ({ ...environment, layout: { ...environment.layout, ...layout } });

test("a usable environment has no problems", async () => {
  expect(await checkEnvironment(environment)).toEqual([]);
});

test.each<[string, string, string]>([
  ["relative/folder", "root", "is not an absolute path"],
  ["/nowhere/at/all", "root", "does not exist"],
  [process.execPath, "root", "is not a folder"],
])("the root %s is a problem", async (root, path, reason) => {
  expect(await checkEnvironment({ ...environment, root })).toMatchObject([
    { path, reason: expect.stringContaining(reason) },
  ]);
});

test.each<[Partial<Layout>, string, string]>([
  [{ comfyui: "/opt/ComfyUI" }, "layout.comfyui", "is absolute"],
  [{ comfyui: "../ComfyUI" }, "layout.comfyui", "leaves the root"],
  [{ cache: "a/../../b" }, "layout.cache", "leaves the root"],
  [{ dependencies: "" }, "layout.dependencies", "is not a path"],
  [{ dependencies: "." }, "layout.dependencies", "is the root itself"],
  [{ plugins: "ComfyUI/plugins" }, "layout.plugins", "does not end in custom_nodes"],
  [{ models: "venv" }, "layout.dependencies", "is the folder of layout.models as well"],
  [{ comfyui: "missing" }, "layout.comfyui", "is not a folder"],
  [{ comfyui: "venv/bin", dependencies: "venv" }, "layout.comfyui", "has no main.py"],
  [{ plugins: "custom_nodes" }, "layout.plugins", "is not a folder"],
  [{ dependencies: "missing" }, "layout.dependencies", "python3 -m venv"],
  [{ dependencies: "ComfyUI/custom_nodes/good_plugin" }, "layout.dependencies", "has no pyvenv.cfg"],
])("the layout %j is a problem", async (layout, path, reason) => {
  expect(await checkEnvironment(withLayout(layout))).toContainEqual({ path, reason: expect.stringContaining(reason) });
});

test("all problems are found at once", async () => {
  rmSync(at("env/ComfyUI/main.py"));
  rmSync(at("env/venv/bin/python"));

  const problems = await checkEnvironment(withLayout({ plugins: "/custom_nodes", models: "../models" }));

  expect(problems.map(({ path }) => path).sort()).toEqual([
    "layout.comfyui",
    "layout.dependencies",
    "layout.models",
    "layout.plugins",
  ]);
});

test("a part behind a link that leaves the root is a problem, and so is one that stays inside", async () => {
  renameSync(at("env/ComfyUI/custom_nodes"), at("custom_nodes"));
  symlinkSync("../../custom_nodes", at("env/ComfyUI/custom_nodes"));
  renameSync(at("env/venv"), at("env/venv-3.11"));
  symlinkSync("venv-3.11", at("env/venv"));

  expect(await checkEnvironment(environment)).toEqual([
    { path: "layout.plugins", reason: expect.stringContaining("which leaves the root") },
    { path: "layout.dependencies", reason: expect.stringContaining("name the folder that it leads to") },
  ]);
});

test("models may be a link to anywhere", async () => {
  renameSync(at("env/ComfyUI/models"), at("models"));
  symlinkSync(at("models"), at("env/ComfyUI/models"));

  expect(await checkEnvironment(environment)).toEqual([]);
  const { head } = await pack({
    environment,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("index"),
  });
  expect(head.models.files).toEqual([{ path: "checkpoints/tiny.safetensors", size: 7 }]);
});

test.each<[string, () => void, string]>([
  ["has no interpreter", () => rmSync(at("env/venv/bin/python")), "has no bin/python"],
  [
    "leads to an interpreter that is gone",
    () => {
      rmSync(at("env/venv/bin/python"));
      symlinkSync("/nowhere/python3", at("env/venv/bin/python"));
    },
    "leads to an interpreter that is gone",
  ],
  [
    "names a base interpreter that is gone",
    () => writeFileSync(at("env/venv/pyvenv.cfg"), "home = /nowhere/bin\nversion = 3.11.7\n"),
    "/nowhere/bin/python3.11, named in pyvenv.cfg, is gone",
  ],
  [
    "has an interpreter that cannot be executed",
    () => {
      rmSync(at("env/venv/bin/python"));
      writeFiles(at("env"), { "venv/bin/python": "" });
      chmodSync(at("env/venv/bin/python"), 0o644);
    },
    "is not executable",
  ],
])("a virtual environment that %s is a problem", async (_, spoil, reason) => {
  spoil();

  expect(await checkEnvironment(environment)).toEqual([
    { path: "layout.dependencies", reason: expect.stringContaining(reason) },
  ]);
});

test("an environment that cannot be started is not packed, and an unusable root or layout is not scanned", async () => {
  rmSync(at("env/ComfyUI/main.py"));
  mkdirSync(at("store"));

  const packing = pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });

  await expect(packing).rejects.toMatchObject({ name: "InvalidInputError", problems: [{ path: "layout.comfyui" }] });
  await expect(scan({ environment: withLayout({ cache: "../x" }), models: "referenced" })).rejects.toMatchObject({
    problems: [{ path: "layout.cache" }],
  });
});
