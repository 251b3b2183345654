import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation, PluginRecord } from "../../runtime/environment";
import { pack, scan } from "../../runtime/snapshot";
import { makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const plugins = "ComfyUI/custom_nodes";
const look = () => scan({ environment, models: "referenced", index: at("index") });
const commit = "0123456789abcdef0123456789abcdef01234567";

test("plugins are what ComfyUI imports: folders, .py files and links to them", async () => {
  writeFiles(at("env", plugins), {
    "single.py": "",
    "example.py.example": "",
    "README.md": "",
    "off.disabled/__init__.py": "",
    "off.py.disabled": "",
    "__pycache__/single.cpython-311.pyc": "",
    "with.dots-1.0/__init__.py": "",
    "without_init/a.txt": "",
    linked: "→ good_plugin",
    "linked.txt": "→ README.md",
    dangling: "→ nowhere",
  });

  const { summary, pluginHashes, remarks } = await look();

  const names = ["dangling", "good_plugin", "linked", "single.py", "with.dots-1.0", "without_init"];
  expect(Object.keys(pluginHashes)).toEqual(names);
  expect(Object.keys(summary.plugins)).toEqual(names);
  expect(remarks).toEqual([expect.stringContaining("dangling")]);
});

test("a hidden folder among the plugins gets a remark: ComfyUI takes it for a plugin", async () => {
  writeFiles(at("env", plugins), { ".hidden/a.txt": "" });

  expect((await look()).remarks).toEqual([expect.stringContaining(`${plugins}/.hidden is a hidden directory`)]);
});

test("a plugin that is a link to elsewhere gets a remark: it would not travel", async () => {
  writeFiles(folder.path, { "dev/mine/__init__.py": "", [`env/${plugins}/mine`]: "→ ../../../dev/mine" });

  expect((await look()).remarks).toEqual([expect.stringContaining("mine is a link to ../../../dev/mine")]);
});

test("a plugin's version is its project's, else its commit, else only its content", async () => {
  writeFiles(at("env", plugins), {
    "a/pyproject.toml":
      '[build-system]\nversion = "9"\n\n[project]\nname = "a"\ndynamic = []\nversion = "2.0.1" # new\n[tool.x]\nversion = "7"\n',
    "b/.git/HEAD": "ref: refs/heads/main\n",
    "b/.git/refs/heads/main": `${commit}\n`,
    "b/__init__.py": "",
    "c/.git/HEAD": "ref: refs/heads/main\n",
    "c/.git/packed-refs": `# pack-refs with: peeled\n${commit} refs/heads/main\n`,
    "c/pyproject.toml": '[project]\nname = "c"\ndynamic = ["version"]\n',
    "d/.git": "gitdir: ../../../git/modules/d\n",
    "d/__init__.py": "",
    "e/__init__.py": "",
  });
  writeFiles(at("env/git/modules/d"), { HEAD: `${commit}\n` });

  const { summary, pluginHashes } = await look();

  const content = (name: string) => pluginHashes[name]?.slice(0, 8);
  expect(summary.plugins).toMatchObject({
    a: `2.0.1 (${content("a")})`,
    b: `0123456 (${content("b")})`,
    c: `0123456 (${content("c")})`,
    d: `0123456 (${content("d")})`,
    e: content("e"),
  });
});

test("a real git checkout's commit is found without git", async () => {
  const checkout = at("env", plugins, "checkout");
  writeFiles(checkout, { "__init__.py": "" });
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.org", ...args], {
      cwd: checkout,
      encoding: "utf8",
    });
  git("init", "-q");
  git("add", ".");
  git("commit", "-q", "-m", "first");

  expect((await look()).summary.plugins.checkout).toContain(git("rev-parse", "HEAD").slice(0, 7));
});

test("a plugin's record becomes its baseline only while its content is the recorded one", async () => {
  writeFiles(at("env", plugins), { "edited.py": "", "unknown.py": "" });
  const { pluginHashes } = await look();
  const record = (name: string, contentHash: string | null): PluginRecord => ({
    name,
    contentHash,
    state: "loaded",
    classes: ["A"],
  });
  const records = [
    record("good_plugin", pluginHashes.good_plugin ?? null),
    record("edited.py", "0".repeat(64)),
    record("unknown.py", null),
    record("gone", "1".repeat(64)),
  ];

  const { head } = await pack({
    environment,
    models: "referenced",
    store: at("store"),
    plugins: records,
    index: at("index"),
  });

  expect(head.plugins).toEqual([
    { name: "edited.py", contentHash: pluginHashes["edited.py"], baseline: null },
    { name: "good_plugin", contentHash: pluginHashes.good_plugin, baseline: records[0] },
    { name: "unknown.py", contentHash: pluginHashes["unknown.py"], baseline: null },
  ]);
});

test("distributions are listed by their normalised names, and torch's CUDA build is noted", async () => {
  const packages = "venv/lib/python3.11/site-packages";
  writeFiles(at("env", packages), {
    "Zope.Interface-7.0.dist-info/METADATA":
      "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 7.0\n\nName: other\n",
    "old.egg-info/PKG-INFO": "Name: Old_Package\nVersion: 0.1\n",
    "flat-3.egg-info": "Name: flat\nVersion: 3\n",
    "package/METADATA": "Name: no\nVersion: 1\n",
    "torch/version.py": "from typing import Optional\n__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\n",
  });

  const { head } = await pack({
    environment,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("index"),
  });

  expect(head.summary.distributions).toEqual({
    flat: "3",
    "old-package": "0.1",
    six: "1.17.0",
    "zope-interface": "7.0",
  });
  expect(head.platform.cuda).toBe("13.0");
});
