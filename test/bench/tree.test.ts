import { chmodSync, cpSync, linkSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { changeOnePercent, sizeOf } from "../../bench/tree";
import { describeTree, temporaryFolder, withoutTimes, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
  const files = Array.from({ length: 500 }, (_, number): [string, string | Buffer] => [
    `venv/lib/python3.11/site-packages/p${number % 7}/file-${number}${number % 3 === 0 ? ".so" : ".py"}`,
    number % 3 === 0 ? Buffer.from([0, number % 256, 1, 2, 3, ...Buffer.alloc(100 + number)]) : `x = ${number}\n`,
  ]);
  writeFiles(at("one"), {
    ...Object.fromEntries(files),
    "ComfyUI/comfyui_version.py": "__version__ = '1'\n",
    "ComfyUI/custom_nodes/good/__init__.py": "x = 1\n",
    "venv/bin/activate": "text\n",
    "venv/pyvenv.cfg": "home = /usr\n",
    "venv/lib/python3.11/site-packages/pip/__init__.py": "x = 1\n",
    "venv/lib/empty.py": "",
    "venv/lib/huge.bin": Buffer.alloc(1024 * 1024 + 1),
    "venv/lib/link": "→ empty.py",
  });
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const contents = (root: string) => withoutTimes(describeTree(root));

test("of equal trees, wherever they are and in whatever order they are listed, the same files change to the same content", () => {
  cpSync(at("one"), at("else", "two"), { recursive: true, verbatimSymlinks: true });

  const [one, two] = [changeOnePercent(at("one")), changeOnePercent(at("else", "two"))];

  expect(one).toHaveLength(Math.ceil(sizeOf(at("one")).files / 100));
  expect(two).toEqual(one);
  expect(contents(at("else", "two"))).toEqual(contents(at("one")));
});

test("no other file changes, no mode does, and nothing that pip or the environment needs", () => {
  for (const name of readdirSync(at("one/venv/lib/python3.11/site-packages/p1"))) {
    chmodSync(at("one/venv/lib/python3.11/site-packages/p1", name), 0o755);
  }
  const before = describeTree(at("one"));

  const chosen = changeOnePercent(at("one"));

  const after = describeTree(at("one"));
  expect(Object.keys(after)).toEqual(Object.keys(before));
  const changed = Object.keys(after).filter((path) => after[path]?.content !== before[path]?.content);
  expect(changed.sort()).toEqual([...chosen].sort());
  for (const path of Object.keys(after)) expect(after[path]?.mode).toBe(before[path]?.mode);
  for (const path of chosen) {
    expect(path).toMatch(/site-packages\/p\d\//);
    const [old, now] = [before[path], after[path]];
    expect(now?.type).toBe(old?.type);
  }
});

test("text gets a line, and other files keep their size", () => {
  cpSync(at("one"), at("before"), { recursive: true, verbatimSymlinks: true });

  for (const path of changeOnePercent(at("one"))) {
    const [before, after] = [readFileSync(at("before", path)), readFileSync(at("one", path))];
    if (path.endsWith(".py")) expect(after.toString()).toMatch(/^x = \d+\n\n# [0-9a-f]{16}\n$/);
    else expect(after.length).toBe(before.length);
    expect(after.equals(before)).toBe(false);
  }
});

test("what shares its files with another tree by hard links is changed without that one", () => {
  mkdirSync(at("shared"));
  const link = (path: string) => {
    for (const entry of readdirSync(at("one", path), { withFileTypes: true })) {
      const inside = join(path, entry.name);
      if (entry.isDirectory()) {
        mkdirSync(at("shared", inside));
        link(inside);
      } else if (entry.isFile()) linkSync(at("one", inside), at("shared", inside));
    }
  };
  link("");
  const before = contents(at("shared"));

  const chosen = changeOnePercent(at("one"));

  expect(contents(at("shared"))).toEqual(before);
  for (const path of chosen) expect(statSync(at("one", path)).ino).not.toBe(statSync(at("shared", path)).ino);
});
