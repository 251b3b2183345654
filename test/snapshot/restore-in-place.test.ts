import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack, restore, scan } from "../../runtime/snapshot";
import { incompleteMarker } from "../../runtime/snapshot/incomplete";
import { buildEngine, type EngineProcess } from "../support/engine-process";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

const isRoot = process.getuid?.() === 0;

let program: ReturnType<typeof temporaryFolder>;
let folder: ReturnType<typeof temporaryFolder>;
let engine: EngineProcess;
let environment: EnvironmentLocation;
let packed: PackedSnapshot;
const disks: string[] = [];
beforeAll(async () => {
  program = temporaryFolder();
  engine = await buildEngine(program.path);
});
afterAll(() => program.remove());
beforeEach(async () => {
  folder = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", at("user-cache"));
  const many = Array.from({ length: 300 }, (_, number) => [`ComfyUI/many/${number}.py`, `number = ${number}\n`]);
  environment = makeEnvironment(at("env"), Object.fromEntries(many));
  packed = await pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const disk of disks.splice(0)) execFileSync("umount", [disk]);
  folder.remove();
});

const at = (...names: string[]) => join(folder.path, ...names);
const request = (target: string) => ({ reference: packed.reference, target, inPlace: true });

/** A file system of its own at a path. */
function mountAt(name: string, options: string): string {
  mkdirSync(at(name));
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", at(name)]);
  disks.push(at(name));
  return at(name);
}

test.runIf(isRoot)("a mount point is filled, which cannot get its name at the end", async () => {
  const target = mountAt("mount", "size=64m");
  mkdirSync(join(target, "lost+found"));

  const { location } = await restore(request(target));

  expect(location.root).toBe(target);
  rmSync(join(target, "lost+found"), { recursive: true });
  await restore({ reference: packed.reference, target: at("plain"), location: target });
  expect(withoutTimes(describeTree(target))).toEqual(withoutTimes(describeTree(at("plain"))));
});

test.runIf(isRoot)("another user's volume is filled, and noted for a later restore over it", async () => {
  const target = mountAt("volume", "size=64m,mode=0777");
  chmodSync(folder.path, 0o777);
  process.seteuid?.(65534);
  try {
    const { remarks } = await restore({ ...request(target), location: at("env") });
    expect(remarks).toEqual([]);
    const { remarks: again } = await restore({ reference: packed.reference, target, location: at("env"), over: true });
    expect(again).toEqual([]);
  } finally {
    process.seteuid?.(0);
  }
  expect(statSync(target).uid).toBe(0);
  expect(statSync(join(target, "ComfyUI")).uid).toBe(65534);
});

test("what a kill left is refused by a scan, and gone on with, by a process of another container as well", async () => {
  const target = at("target");
  mkdirSync(target);
  const killed = await engine.restore(request(target), {
    module: "node:fs",
    function: "symlinkSync",
    call: 1,
    when: "before",
    action: { kill: true },
  });
  expect(killed.killed).toBe(true);
  const inode = statSync(join(target, "ComfyUI/many/7.py")).ino;
  writeFileSync(join(target, "ComfyUI/many/8.py"), "number = ");
  await expect(scan({ environment: { ...environment, root: target }, models: "referenced" })).rejects.toThrow(
    /is incomplete/,
  );
  const mark = JSON.parse(readFileSync(join(target, incompleteMarker), "utf8"));
  const foreign = { ...mark, token: mark.token.replace(/^[0-9a-f]{8}/, "00000000") };
  writeFileSync(join(target, incompleteMarker), JSON.stringify(foreign));
  await expect(restore({ reference: packed.reference, target, location: at("env"), over: true })).rejects.toThrow(
    /another process restores/,
  );

  await restore(request(target));

  await restore({ reference: packed.reference, target: at("plain"), location: target });
  expect(withoutTimes(describeTree(target))).toEqual(withoutTimes(describeTree(at("plain"))));
  expect(statSync(join(target, "ComfyUI/many/7.py")).ino).toBe(inode);
});

test("a complete one is recognised, and nothing of it is written again", async () => {
  const target = at("target");
  await restore(request(target));
  const before = describeTree(target);
  const inode = statSync(join(target, "ComfyUI/many/7.py")).ino;

  await restore(request(target));

  expect(withoutTimes(describeTree(target))).toEqual(withoutTimes(before));
  expect(statSync(join(target, "ComfyUI/many/7.py")).ino).toBe(inode);
});

test("a folder with anything else in it is refused, and so is a link", async () => {
  mkdirSync(at("target"));
  writeFileSync(at("target/mine"), "mine");
  symlinkSync(at("elsewhere"), at("link"));

  await expect(restore(request(at("target")))).rejects.toThrow(/is not known to be an earlier restore/);
  await expect(restore(request(at("link")))).rejects.toThrow(/is a link/);
  expect(readdirSync(at("target"))).toEqual(["mine"]);
});

test.runIf(isRoot)("a file system that fills up is named and given its room back", async () => {
  // Some of the 300 small files fit.
  const target = mountAt("mount", "size=1m,nr_inodes=200");

  await expect(restore(request(target))).rejects.toThrow(`${target}: no space is left on it`);

  expect(readdirSync(target)).toEqual([]);
  execFileSync("mount", ["-o", "remount,size=64m,nr_inodes=10000", target]);
  await restore(request(target));
  expect(readFileSync(join(target, "ComfyUI/many/299.py"), "utf8")).toBe("number = 299\n");
});

test("an environment for another container needs no interpreter here", async () => {
  const python = at("env/venv/bin/python");
  rmSync(python);
  writeFileSync(at("python3.11"), "", { mode: 0o755 });
  symlinkSync(at("python3.11"), python);
  const { reference } = await pack({
    environment,
    models: "referenced",
    store: at("store"),
    plugins: [],
    index: at("index"),
  });
  rmSync(at("python3.11"));

  await expect(restore({ reference, target: at("here") })).rejects.toThrow(`needs the interpreter ${at("python3.11")}`);
  const { remarks } = await restore({ reference, target: at("target"), usedElsewhere: true });

  expect(remarks.filter((remark) => remark.includes("machine"))).toEqual([]);
});
