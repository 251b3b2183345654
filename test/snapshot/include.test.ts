import { chmodSync, existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type PackedSnapshot, pack, restore } from "../../runtime/snapshot";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let packed: PackedSnapshot;
beforeEach(async () => {
  folder = temporaryFolder();
  const environment = makeEnvironment(at("env"), {
    "ComfyUI/custom_nodes/other/__init__.py": "x = 1\n",
    "ComfyUI/custom_nodes/other/web/app.js": "app\n",
    "ComfyUI/custom_nodes/other/README.md": "text\n",
    "ComfyUI/notes/README.md": "text\n",
  });
  chmodSync(at("env/ComfyUI/custom_nodes/other/web"), 0o500);
  packed = await pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const restoreOnly = (include: readonly string[], name = "part") =>
  restore({ reference: packed.reference, target: at(name), include });
const files = (name = "part") =>
  Object.entries(describeTree(at(name))).flatMap(([path, { type }]) => (type === "directory" ? [] : [path]));

test.each<[string, string[], string[]]>([
  [
    "a folder, with all it holds",
    ["ComfyUI/custom_nodes/other/"],
    [
      "ComfyUI/custom_nodes/other/README.md",
      "ComfyUI/custom_nodes/other/__init__.py",
      "ComfyUI/custom_nodes/other/web/app.js",
    ],
  ],
  ["a name anywhere", ["README.md"], ["ComfyUI/custom_nodes/other/README.md", "ComfyUI/notes/README.md"]],
  ["a path from the root", ["/ComfyUI/notes/*.md"], ["ComfyUI/notes/README.md"]],
  ["several patterns", ["app.js", "/ComfyUI/main.py"], ["ComfyUI/custom_nodes/other/web/app.js", "ComfyUI/main.py"]],
  [
    "all but what a later pattern leaves out",
    ["*.md", "!**/notes/README.md"],
    ["ComfyUI/custom_nodes/other/README.md"],
  ],
  ["upper and lower case as they are", ["readme.md", "six.py"], ["venv/lib/python3.11/site-packages/six.py"]],
])("patterns restore %s, and nothing else", async (_, include, expected) => {
  const { partial } = await restoreOnly(include);

  expect(files()).toEqual(expected);
  expect(partial?.entries).toBe(Object.keys(describeTree(at("part"))).length);
  expect(partial?.of).toBe(packed.head.summary.files);
});

test("what is restored in part is what a whole restore has there, permissions included", async () => {
  const whole = await restore({ reference: packed.reference, target: at("whole"), location: at("same") });
  await restore({ reference: packed.reference, target: at("part"), location: at("same"), include: ["other/", "pip"] });

  const [part, all] = [describeTree(at("part")), describeTree(at("whole"))];
  const same = Object.fromEntries(Object.keys(part).flatMap((path) => (all[path] ? [[path, all[path]]] : [])));
  expect(withoutTimes(part)).toEqual(withoutTimes(same));
  expect(Object.keys(part)).toContain("venv/bin/pip");
  expect(statSync(at("part/ComfyUI/custom_nodes/other/web")).mode & 0o777).toBe(0o500);
  expect(whole.partial).toBeNull();
  expect(existsSync(at("part/ComfyUI/models"))).toBe(false);
});

test("patterns that match nothing are bad input, and nothing is restored", async () => {
  await expect(restoreOnly(["*.rs", "nowhere/"])).rejects.toThrow('nothing of the snapshot matches "*.rs", "nowhere/"');

  expect(readdirSync(folder.path)).not.toContain("part");
});

test("a part needs no interpreter when the virtual environment's is not in it, and fills no cache", async () => {
  await restore({
    reference: packed.reference,
    target: at("part"),
    include: ["main.py"],
    cache: at("cache"),
    location: "/srv/elsewhere",
  });

  expect(existsSync(at("cache"))).toBe(false);
  expect(files()).toEqual(["ComfyUI/main.py"]);
});
