import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { listSnapshots, pack, restore, verify } from "../../runtime/snapshot";
import { buildEngine } from "../support/engine-process";
import { makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

/*
 * A disk that is full: a file system of a few megabytes in memory, which takes root to mount. Without root, one whose files may not
 * grow stands in for it: the shell's limit on a file's size, which answers differently, so only what is left is compared.
 */
const isRoot = process.getuid?.() === 0;

const disks: string[] = [];
let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  for (const disk of disks.splice(0)) execFileSync("umount", [disk]);
  folder.remove();
});

const at = (...names: string[]) => join(folder.path, ...names);

/** A folder on a file system of its own with so many megabytes. */
function smallDisk(name: string, megabytes: number): string {
  mkdirSync(at(name));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", at(name)]);
  disks.push(at(name));
  return at(name);
}

/** Bytes that no compression makes smaller. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let position = 0; position + 4 <= size; position += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 15)) >>> 0, position);
  }
  return bytes;
}

const requestFor = (environment: EnvironmentLocation, store: string) =>
  ({ environment, models: "referenced", store, plugins: [], index: at("index") }) as const;

test.runIf(isRoot)("a disk that is full before a restore is said to be, and nothing is begun", async () => {
  const environment = makeEnvironment(at("env"), { "ComfyUI/large.bin": noise(6_000_000, 1) });
  const { reference } = await pack(requestFor(environment, at("store")));
  const disk = smallDisk("disk", 4);

  await expect(restore({ reference, target: join(disk, "target") })).rejects.toThrow(
    /4 MiB free, but the snapshot takes 5\.\d MiB; make room/,
  );

  expect(readdirSync(disk)).toEqual([]);
});

test.runIf(isRoot).each([
  ["without a cache", null],
  ["by way of a cache on that disk", "cache"],
])("a disk that fills up in the middle of a restore %s is named, and nothing is left on it", async (_, cache) => {
  // Each of these takes a block, far more than its byte.
  const files = Object.fromEntries(Array.from({ length: 1500 }, (_, number) => [`ComfyUI/many/${number}.txt`, "x"]));
  const environment = makeEnvironment(at("env"), files);
  const { reference, digest } = await pack(requestFor(environment, at("store")));
  const disk = smallDisk("disk", 4);
  const request = {
    reference,
    target: join(disk, "target"),
    ...(cache === null ? {} : { cache: join(disk, cache) }),
  };

  const error = await restore(request).then(
    () => null,
    (reason: unknown) => reason,
  );

  expect((error as Error).message).toContain(`${cache === null ? disk : join(disk, cache)}: no space is left on it`);
  expect(readdirSync(disk)).toEqual(cache === null ? [] : [cache]);
  if (cache !== null) expect(readdirSync(join(disk, cache))).toEqual([]);
  execFileSync("mount", ["-o", "remount,size=64m", disk]);
  await restore(request);
  expect(readFileSync(join(disk, "target/ComfyUI/many/7.txt"), "utf8")).toBe("x");
  if (cache !== null) expect(readdirSync(join(disk, cache))).toEqual([digest]);
});

test.runIf(isRoot)("a disk that fills up in the middle of a pack is named, and the store is right", async () => {
  const environment = makeEnvironment(at("env"));
  const disk = smallDisk("disk", 4);
  const store = join(disk, "store");
  const first = await pack(requestFor(environment, store));
  writeFiles(at("env"), { "ComfyUI/large.bin": noise(6_000_000, 2) });

  await expect(pack(requestFor(environment, store))).rejects.toThrow(
    `${store}: no space is left on it, so 6`.slice(0, -1),
  );

  expect(readdirSync(join(store, "partial"))).toEqual([]);
  expect((await listSnapshots(store)).map(({ reference }) => reference)).toEqual([first.reference]);
  expect(await verify({ reference: first.reference, deep: true })).toMatchObject({ problems: [] });
  execFileSync("mount", ["-o", "remount,size=64m", disk]);
  const second = await pack(requestFor(environment, store));
  expect(await verify({ reference: second.reference, deep: true })).toMatchObject({ problems: [] });
});

test("a file that may not grow any more ends a restore and a pack, and leaves neither a target nor an object", {
  timeout: 120_000,
}, async () => {
  const engine = await buildEngine(folder.path);
  const environment = makeEnvironment(at("env"), { "ComfyUI/large.bin": noise(6_000_000, 3) });
  const { reference } = await pack(requestFor(environment, at("store")));
  rmSync(at("index"), { force: true });
  // Blocks of 512 bytes in a POSIX shell: two megabytes.
  const limited = engine.under(["sh", "-c", 'ulimit -f 4096; trap "" XFSZ; exec "$0" "$@"']);

  const restored = await limited.restore({ reference, target: at("target") }, null);
  const packed = await limited.pack(requestFor(environment, at("other-store")), null);

  expect([restored.error?.message, packed.error?.message]).toEqual([
    expect.stringContaining("EFBIG"),
    expect.stringContaining("EFBIG"),
  ]);
  expect(existsSync(at("target"))).toBe(false);
  expect(readdirSync(folder.path).filter((name) => name.includes(".partial"))).toEqual([]);
  expect(readdirSync(at("other-store/partial"))).toEqual([]);
  expect(await listSnapshots(at("other-store"))).toEqual([]);
  writeFileSync(at("env/ComfyUI/other.bin"), "other");
  const again = await pack(requestFor(environment, at("other-store")));
  expect(await verify({ reference: again.reference, deep: true })).toMatchObject({ problems: [] });
});
