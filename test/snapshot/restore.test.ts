import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack, restore, scan } from "../../runtime/snapshot";
import { processToken } from "../../runtime/store";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"));
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const stays = (path: string) => path === "ComfyUI/models/checkpoints";
const packIt = (): Promise<PackedSnapshot> =>
  pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
const inode = (...names: string[]) => statSync(at(...names)).ino;

test("the target may be an empty folder, and nothing else that is there", async () => {
  const { reference } = await packIt();
  mkdirSync(at("empty"));
  writeFiles(folder.path, { "full/a": "", file: "" });

  await restore({ reference, target: at("empty") });

  expect(readdirSync(at("empty")).sort()).toEqual([".cache", "ComfyUI", "venv"]);
  await expect(restore({ reference, target: at("full") })).rejects.toThrow("is not empty");
  await expect(restore({ reference, target: at("file") })).rejects.toThrow("is a file");
  await expect(restore({ reference, target: "relative" })).rejects.toThrow("is not an absolute path");
});

test("a restore says where the environment and its interpreter are", async () => {
  const { reference, head } = await packIt();

  const here = await restore({ reference, target: at("here") });
  const elsewhere = await restore({ reference, target: at("there"), location: "/srv/final" });

  expect(here).toMatchObject({
    head,
    location: { root: at("here"), layout: head.layout },
    python: at("here/venv/bin/python"),
  });
  expect(elsewhere).toMatchObject({ location: { root: "/srv/final" }, python: "/srv/final/venv/bin/python" });
});

test("folders without permission to be written are filled all the same", async () => {
  writeFiles(at("env"), { "ComfyUI/read-only/inner/a.txt": "a" });
  chmodSync(at("env/ComfyUI/read-only/inner"), 0o555);
  chmodSync(at("env/ComfyUI/read-only"), 0o555);

  await restore({ reference: (await packIt()).reference, target: at("restored"), cache: at("cache") });

  expect(statSync(at("restored/ComfyUI/read-only/inner")).mode & 0o777).toBe(0o555);
  expect(readFileSync(at("restored/ComfyUI/read-only/inner/a.txt"), "utf8")).toBe("a");
});

test("at another location, scripts, settings and links name that location, and the identity is the same", async () => {
  const packages = "venv/lib/python3.11/site-packages";
  writeFiles(at("env"), {
    "venv/bin/activate": `VIRTUAL_ENV="${at("env")}/venv"\nother="${at("env")}-2/venv"\nmounted="/mnt${at("env")}/venv"\n`,
    [`${packages}/__editable__.mine.pth`]: `${at("env")}/ComfyUI/custom_nodes/mine\n`,
    [`${packages}/mine-1.dist-info/direct_url.json`]: `{"dir_info": {"editable": true}, "url": "file://${at("env")}/ComfyUI"}`,
    [`${packages}/package/data.txt`]: `${at("env")} stays`,
    "venv/bin/binary": Buffer.from(`\0ELF ${at("env")}/venv`),
    "ComfyUI/inside": `→ ${at("env")}/ComfyUI/main.py`,
  });
  const { reference, head } = await packIt();

  const { remarks } = await restore({ reference, target: at("moved place") });

  const moved = at("moved place");
  const read = (path: string) => readFileSync(join(moved, path), "utf8");
  expect(read("venv/bin/activate")).toBe(
    `VIRTUAL_ENV="${moved}/venv"\nother="${at("env")}-2/venv"\nmounted="/mnt${at("env")}/venv"\n`,
  );
  expect(read("venv/bin/pip")).toBe(`#!/bin/sh\n'''exec' "${moved}/venv/bin/python" "$0" "$@"\n' '''\nimport pip\n`);
  expect(statSync(join(moved, "venv/bin/pip")).mode & 0o777).toBe(0o755);
  expect(read("venv/pyvenv.cfg")).toContain(`-m venv ${moved}/venv`);
  expect(read(`${packages}/__editable__.mine.pth`)).toBe(`${moved}/ComfyUI/custom_nodes/mine\n`);
  expect(JSON.parse(read(`${packages}/mine-1.dist-info/direct_url.json`)).url).toBe(
    `file://${encodeURI(moved)}/ComfyUI`,
  );
  expect(read(`${packages}/package/data.txt`)).toBe(`${at("env")} stays`);
  expect(read("venv/bin/binary")).toContain(`${at("env")}/venv`);
  expect(readlinkSync(join(moved, "ComfyUI/inside"))).toBe(`${moved}/ComfyUI/main.py`);
  expect(remarks).toEqual([
    expect.stringMatching(/^5 files of the virtual environment named .*bin\/activate/),
    expect.stringMatching(/^1 links led into .*ComfyUI\/inside/),
    expect.stringContaining("bin/activate may not work there"),
  ]);
  const scanned = await scan({
    environment: { ...environment, root: moved },
    models: "referenced",
    index: at("other-index"),
  });
  expect(scanned.summary.id).toBe(head.summary.id);
});

test("at its own location nothing is rewritten", async () => {
  const { reference } = await packIt();

  const { remarks } = await restore({ reference, target: at("new"), location: at("env") });

  expect(remarks).toEqual([]);
  expect(withoutTimes(describeTree(at("new"), stays))).toEqual(withoutTimes(describeTree(at("env"), stays)));
});

test("without the interpreter that the environment needs, nothing is restored, and the error says what is missing", async () => {
  writeFiles(folder.path, { "python/bin/python3.11": "" });
  chmodSync(at("python/bin/python3.11"), 0o755);
  rmSync(at("env/venv/bin/python"));
  symlinkSync(at("python/bin/python3.11"), at("env/venv/bin/python"));
  writeFileSync(at("env/venv/pyvenv.cfg"), `home = ${at("python/bin")}\nversion = 3.11.7\n`);
  const { reference, head } = await packIt();
  expect(head.interpreter).toBe(at("python/bin/python3.11"));
  rmSync(at("python"), { recursive: true });

  await expect(restore({ reference, target: at("restored") })).rejects.toThrow(
    `needs the interpreter ${at("python/bin/python3.11")} (Python 3.11.7)`,
  );

  expect(readdirSync(folder.path).filter((name) => name.startsWith("restored"))).toEqual([]);
});

test("with a cache, the virtual environment and ComfyUI's source are shared, and all that may be written to is private", async () => {
  const { reference, digest } = await packIt();

  await restore({ reference, target: at("one"), cache: at("cache") });
  await restore({ reference, target: at("two"), cache: at("cache") });

  const shared = ["ComfyUI/main.py", "venv/lib/python3.11/site-packages/six.py"];
  for (const path of shared) {
    expect(inode("one", path)).toBe(inode("two", path));
    expect(inode("one", path)).toBe(inode("cache", digest, path));
  }
  const apart = [
    "ComfyUI/custom_nodes/good_plugin/__init__.py",
    ".cache/huggingface/hub/models--a/blobs/0f",
    "venv/bin/pip",
    "venv/pyvenv.cfg",
  ];
  for (const path of apart) expect(inode("one", path)).not.toBe(inode("two", path));
  expect(readFileSync(at("one/venv/bin/pip"), "utf8")).toContain(at("one/venv/bin/python"));
  expect(readFileSync(at("cache", digest, "venv/bin/pip"), "utf8")).toContain(at("env/venv/bin/python"));
  expect(readdirSync(at("cache"))).toEqual([digest]);
});

test("a restore by way of a cache is the same as one without", async () => {
  const { reference } = await packIt();

  await restore({ reference, target: at("direct"), location: "/srv/x" });
  await restore({ reference, target: at("cached"), location: "/srv/x", cache: at("cache") });

  expect(withoutTimes(describeTree(at("cached")))).toEqual(withoutTimes(describeTree(at("direct"))));
  for (const path of ["ComfyUI/main.py", "ComfyUI/custom_nodes/good_plugin/__init__.py"]) {
    expect(lstatSync(at("cached", path)).mtimeMs).toBe(lstatSync(at("direct", path)).mtimeMs);
  }
});

test("a shared file that an instance wrote to does not reach the next one", async () => {
  const { reference } = await packIt();
  await restore({ reference, target: at("one"), cache: at("cache") });
  appendFileSync(at("one/ComfyUI/main.py"), "# written by an instance\n");

  await restore({ reference, target: at("two"), cache: at("cache") });

  expect(readFileSync(at("two/ComfyUI/main.py"), "utf8")).toBe("print('ComfyUI')\n");
  expect(readFileSync(at("one/ComfyUI/main.py"), "utf8")).toContain("written by an instance");
});

test("many restores that need the same cache at once make it once and all succeed", async () => {
  const { reference, digest } = await packIt();
  const targets = ["a", "b", "c", "d"];

  await Promise.all(targets.map((name) => restore({ reference, target: at("many", name), cache: at("cache") })));

  expect(new Set(targets.map((name) => inode("many", name, "ComfyUI/main.py"))).size).toBe(1);
  expect(readdirSync(at("cache"))).toEqual([digest]);
});

test("the lock of a process that was killed is taken over", async () => {
  const { reference, digest } = await packIt();
  const [machine] = processToken().split("-");
  mkdirSync(at("cache"));
  symlinkSync(`${machine}-4194305-1-00000001`, at("cache", `${digest}.lock`));

  await restore({ reference, target: at("restored"), cache: at("cache") });

  expect(readdirSync(at("cache"))).toEqual([digest]);
});

test("a restore that waits for another process's lock can be stopped, and says what it waits for", async () => {
  const { reference, digest } = await packIt();
  mkdirSync(at("cache"));
  symlinkSync(`${processToken()}-00000001`, at("cache", `${digest}.lock`));
  const stop = new AbortController();
  const seen: string[] = [];
  const progress = (message: string) => {
    seen.push(message);
    stop.abort(new Error("enough"));
  };

  const restoring = restore({ reference, target: at("restored"), cache: at("cache"), progress, signal: stop.signal });

  await expect(restoring).rejects.toThrow(/enough|abort/);
  expect(seen).toEqual([expect.stringContaining("waiting for another process to restore")]);
  expect(readdirSync(folder.path).filter((name) => name.startsWith("restored"))).toEqual([]);
});

test("hard links of the original are files of their own", async () => {
  linkSync(at("env/ComfyUI/main.py"), at("env/ComfyUI/same.py"));

  await restore({ reference: (await packIt()).reference, target: at("restored") });

  expect(inode("restored/ComfyUI/main.py")).not.toBe(inode("restored/ComfyUI/same.py"));
});
