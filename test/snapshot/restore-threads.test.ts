import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { packageRoot } from "../../runtime/package-root";
import { DamagedSnapshotError, pack, parseReference, restore } from "../../runtime/snapshot";
import { readManifest } from "../../runtime/snapshot/manifest-file";
import { restoreBy } from "../../runtime/snapshot/restore";
import { Verified, verifyIn } from "../../runtime/snapshot/verify";
import { timeOf } from "../../runtime/snapshot/write-plan";
import { writeTree } from "../../runtime/snapshot/write-tree";
import { FolderStore, type ObjectStore, openStore } from "../../runtime/store";
import { waitFor } from "../../runtime/waiting";
import { type FramedSnapshot, writeFramedSnapshot } from "../support/framed-snapshot";
import { placeNodes, randomNodes } from "../support/random-trees";
import { describeTree, differentTimes, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", at("user-cache"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  folder.remove();
});

const at = (...names: string[]) => join(folder.path, ...names);
const mebibyte = 1024 * 1024;
const compiled = join(packageRoot(), "dist", "runtime", "snapshot");
const usualProgram = join(packageRoot(), "dist", "bundles", "snapshot-threads.js");
/** Frames of which a task takes three at most, so that there are six tasks or more. */
const manyTasks = (): FramedSnapshot => writeFramedSnapshot(at("store"), 18, mebibyte);

/** A program of threads that does something else first. */
function programThat(what: string): string {
  const file = at("program.js");
  writeFileSync(file, `const { parentPort: port } = require("node:worker_threads");\n${what}\n`);
  return file;
}

const diesAtTask = (number: number) =>
  programThat(`let tasks = 0;
    port.on("message", () => { tasks += 1; if (tasks === ${number}) process.exit(7); });
    require(${JSON.stringify(usualProgram)});`);

test("any tree comes out the same with one thread, with three and with none, anew and over another one", {
  timeout: 240_000,
}, async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(randomNodes, randomNodes, async (nodes, others) => {
      const of = (name: string) => at(`${name}-${run}`);
      run += 1;
      const references: string[] = [];
      for (const [version, what] of [nodes, others].entries()) {
        const environment = makeEnvironment(of(`env-${version}`));
        placeNodes(join(environment.root, "ComfyUI/custom_nodes/any"), what);
        const request = { environment, models: "referenced", store: at("store"), plugins: [] } as const;
        references.push((await pack({ ...request, index: at("index") })).reference);
      }
      const [first = "", second = ""] = references;
      const location = of("env-1");
      await restoreBy({ threads: 0 }, { reference: second, target: of("none"), location });
      const expected = describeTree(of("none"));

      for (const threads of [1, 3]) {
        const target = of(`new-${threads}`);
        await restoreBy({ threads }, { reference: second, target, location });
        const over = of(`over-${threads}`);
        await restoreBy({ threads }, { reference: first, target: over, location });
        await restoreBy({ threads }, { reference: second, target: over, location, over: true });

        for (const restored of [describeTree(target), describeTree(over)]) {
          expect(withoutTimes(restored)).toEqual(withoutTimes(expected));
          expect(differentTimes(restored, expected)).toEqual([]);
        }
      }
    }),
    { numRuns: 8 },
  );
});

test("by way of a cache, threads link what is shared and copy the rest", async () => {
  const environment = makeEnvironment(at("env"), { "ComfyUI/large.bin": Buffer.alloc(3 * mebibyte, "large") });
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  const { reference, digest } = await pack(request);

  await restoreBy({ threads: 2 }, { reference, target: at("one"), location: at("env"), cache: at("cache") });

  const stays = (path: string) => path === "ComfyUI/models/checkpoints";
  const [restored, original] = [describeTree(at("one")), describeTree(at("env"), stays)];
  expect(withoutTimes(restored)).toEqual(withoutTimes(original));
  expect(differentTimes(restored, original)).toEqual([]);
  const inode = (...names: string[]) => statSync(at(...names)).ino;
  expect(inode("one/ComfyUI/large.bin")).toBe(inode("cache", digest, "ComfyUI/large.bin"));
  const plugin = "ComfyUI/custom_nodes/good_plugin/__init__.py";
  expect(inode("one", plugin)).not.toBe(inode("cache", digest, plugin));
});

test("files that threads write in pieces have their content, permissions and time", async () => {
  const { reference, frames, whole, fileOf } = manyTasks();

  await restoreBy({ threads: 3 }, { reference, target: at("target") });

  expect(readFileSync(at("target", whole)).equals(Buffer.concat(frames.map(({ content }) => content)))).toBe(true);
  for (const path of [whole, fileOf(7)]) {
    expect(statSync(at("target", path))).toMatchObject({ mtimeMs: 1_600_000_000_250, mode: 0o100640 });
  }
});

test("a store whose objects are no files of this machine gives the same", async () => {
  const { reference, frames, whole } = manyTasks();
  const { digest } = parseReference(reference);
  const files = new FolderStore(at("store"));
  let fetched = 0;
  const remote: ObjectStore = {
    location: files.location,
    create: (key, pieces) => files.create(key, pieces),
    get: (key) => files.get(key),
    getRange: (...args) => {
      fetched += 1;
      return files.getRange(...args);
    },
    find: (key) => files.find(key),
    list: (prefix) => files.list(prefix),
    remove: (key) => files.remove(key),
  };
  mkdirSync(at("target"));

  await writeTree(await readManifest(remote, digest), remote, at("target"), { threads: 2 });

  expect(readFileSync(at("target", whole)).equals(Buffer.concat(frames.map(({ content }) => content)))).toBe(true);
  expect(fetched).toBeGreaterThan(4);
});

test.each([1, 2, 5])(
  "a thread that dies at its task %i ends the restore, and nothing of it is left",
  async (number) => {
    const { reference } = manyTasks();
    mkdirSync(at("place"));

    const restoring = restoreBy({ threads: 1, program: diesAtTask(number) }, { reference, target: at("place/target") });

    await expect(restoring).rejects.toThrow("a thread of the snapshot engine ended with code 7");
    expect(readdirSync(at("place"))).toEqual([]);
  },
);

test("a thread that dies while an earlier restore is looked at leaves it as it is, marked, and the next one completes it", async () => {
  const { reference, whole } = manyTasks();
  const request = { reference, target: at("target"), over: true };
  await restore(request);
  const before = describeTree(at("target"));

  await expect(restoreBy({ threads: 1, program: diesAtTask(1) }, request)).rejects.toThrow("ended with code 7");

  expect(existsSync(at("target/.comfyui-incomplete"))).toBe(true);
  writeFileSync(at("target", whole), "changed");
  await restoreBy({ threads: 2 }, request);
  expect(withoutTimes(describeTree(at("target")))).toEqual(withoutTimes(before));
});

test.each([0, 4, 17])(
  "frame %i, damaged, is named with its pack, nothing of it is written, and there is no target",
  async (frame) => {
    const { reference, packFile, key, frames, fileOf, whole } = manyTasks();
    const { digest } = parseReference(reference);
    const { offset, length } = frames[frame] ?? { offset: 0, length: 0 };
    const bytes = readFileSync(packFile);
    const middle = offset + Math.floor(length / 2);
    bytes.writeUInt8((bytes[middle] ?? 0) ^ 0xff, middle);
    writeFileSync(packFile, bytes);
    mkdirSync(at("place"));
    mkdirSync(at("tree"));

    for (const threads of [0, 1, 3]) {
      const error = await restoreBy({ threads }, { reference, target: at("place/target") }).catch((reason) => reason);

      expect(error).toBeInstanceOf(DamagedSnapshotError);
      expect((error as Error).message).toContain(`${at("store")}/${key} is damaged: the frame at byte ${offset} `);
      expect(readdirSync(at("place"))).toEqual([]);
    }
    const store = openStore(at("store"));
    const written = writeTree(await readManifest(store, digest), store, at("tree"), { threads: 2 });
    await expect(written).rejects.toBeInstanceOf(DamagedSnapshotError);
    expect(existsSync(at("tree", fileOf(frame)))).toBe(false);
    const piece = readFileSync(at("tree", whole)).subarray(frame * mebibyte, (frame + 1) * mebibyte);
    expect(piece.every((byte) => byte === 0)).toBe(true);
  },
);

test("threads find damaged and missing packs in a deep verification, as one thread does", async () => {
  const good = manyTasks();
  const lies = writeFramedSnapshot(at("lying"), 3, mebibyte);
  const digestOf = (reference: string) => parseReference(reference).digest;
  const check = async (threads: number, { reference }: FramedSnapshot, where: string) => {
    const request = { deep: true, verified: new Verified(), threads };
    return (await verifyIn(openStore(at(where)), digestOf(reference), request)).problems;
  };

  for (const threads of [0, 2]) expect(await check(threads, good, "store")).toEqual([]);

  const bytes = readFileSync(good.packFile);
  bytes.writeUInt8((bytes[100] ?? 0) ^ 0xff, 100);
  writeFileSync(good.packFile, bytes);
  rmSync(lies.packFile);
  for (const threads of [0, 2]) {
    const name = `${at("store")}/${good.key}`;
    expect(await check(threads, good, "store")).toEqual([`${name} is damaged: its content is not what its name says`]);
    expect(await check(threads, lies, "lying")).toEqual([`${at("lying")}/${lies.key} is missing`]);
  }
});

test("a pack that is missing or ends early is named", async () => {
  const { reference, packFile, key, frames } = manyTasks();
  const restoring = () => restoreBy({ threads: 2 }, { reference, target: at("target") });
  const last = frames.at(-1) ?? { offset: 0, length: 0 };
  truncateSync(packFile, last.offset + last.length - 1);

  await expect(restoring()).rejects.toThrow(`${at("store")}/${key} ends before byte ${last.offset + last.length}`);

  rmSync(packFile);
  await expect(restoring()).rejects.toThrow(`${at("store")}/${key} is missing`);
  await expect(restoring()).rejects.toBeInstanceOf(DamagedSnapshotError);
});

test("a restore by threads tells how far it is, and can be stopped", async () => {
  const { reference } = writeFramedSnapshot(at("store"), 40, mebibyte);
  const stop = new AbortController();
  const seen: string[] = [];
  const program = programThat(`
    port.on("message", () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 350));
    require(${JSON.stringify(usualProgram)});`);
  const progress = (message: string) => {
    seen.push(message);
    if (/^restored \d/.test(message)) stop.abort(new Error("enough"));
  };
  mkdirSync(at("place"));

  const restoring = restoreBy(
    { threads: 2, program },
    { reference, target: at("place/target"), progress, signal: stop.signal },
  );

  await expect(restoring).rejects.toThrow("enough");
  expect(seen.at(-1)).toMatch(/^restored [\d.]+ MiB of 80 MiB$/);
  expect(readdirSync(at("place"))).toEqual([]);
});

test("little is restored without a thread", async () => {
  const { reference } = writeFramedSnapshot(at("store"), 4, 1000);
  const program = at("there-is-none.js");
  const request = { reference, target: at("target") };

  await restoreBy({ program }, request);
  await restoreBy({ program }, { ...request, over: true });
  await restoreBy({ program }, { ...request, target: at("cached"), cache: at("cache") });

  expect(readdirSync(at("cached"))).toContain("file-003");
  await expect(restoreBy({ program, threads: 1 }, { ...request, target: at("other") })).rejects.toThrow(
    "a thread of the snapshot engine failed",
  );
});

test("a worker thread can restore by threads of its own", async () => {
  const { reference, whole } = manyTasks();
  const worker = new Worker(
    `const { restoreBy } = require(${JSON.stringify(join(compiled, "restore.js"))});
     restoreBy({ threads: 2 }, ${JSON.stringify({ reference, target: at("target") })})
       .then(() => require("node:worker_threads").parentPort.postMessage("done"));`,
    { eval: true },
  );

  const [answer] = await new Promise<unknown[]>((resolve, reject) => {
    worker.once("message", (...args: unknown[]) => resolve(args));
    worker.once("error", reject);
  });

  expect(answer).toBe("done");
  expect(statSync(at("target", whole)).size).toBe(18 * mebibyte);
});

test("a worker thread that is ended in a restore leaves no thread behind", async () => {
  const { reference } = manyTasks();
  // A thread that never ends by itself keeps its process from ending.
  const program = programThat(`
    require("node:fs").writeFileSync(${JSON.stringify(at("started"))}, "");
    port.on("message", () => { for (;;); });`);
  const request = { reference, target: at("target") };
  writeFileSync(
    at("main.js"),
    `const { Worker } = require("node:worker_threads");
     const { existsSync } = require("node:fs");
     const worker = new Worker(
       "require(" + ${JSON.stringify(JSON.stringify(join(compiled, "restore.js")))} + ").restoreBy(" +
         ${JSON.stringify(JSON.stringify({ threads: 2, program }))} + ", " + ${JSON.stringify(JSON.stringify(request))} + ")",
       { eval: true },
     );
     const timer = setInterval(() => {
       if (!existsSync(${JSON.stringify(at("started"))})) return;
       clearInterval(timer);
       worker.terminate().then(() => console.log("ended"));
     }, 10);`,
  );

  const child = spawn(process.execPath, [at("main.js")], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    let output = "";
    child.stdout.on("data", (text) => {
      output += String(text);
    });
    await waitFor({
      what: "the process to end by itself",
      deadline: 60_000,
      interval: 10,
      look: () => child.exitCode ?? undefined,
      seen: () => output,
    });
    expect(output).toBe("ended\n");
    expect(child.exitCode).toBe(0);
  } finally {
    child.kill("SIGKILL");
  }
});

test("permissions that the process's mask takes away are given all the same", async () => {
  const environment = makeEnvironment(at("env"), { "ComfyUI/shared/all.txt": "all", "ComfyUI/shared/b/c.txt": "c" });
  chmodSync(at("env/ComfyUI/shared"), 0o777);
  chmodSync(at("env/ComfyUI/shared/all.txt"), 0o666);
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  const { reference } = await pack(request);

  const before = process.umask(0o077);
  try {
    await restoreBy({ threads: 2 }, { reference, target: at("target") });
  } finally {
    process.umask(before);
  }

  const mode = (path: string) => statSync(at("target/ComfyUI", path)).mode & 0o777;
  expect([mode("shared"), mode("shared/all.txt"), mode("main.py")]).toEqual([0o777, 0o666, 0o644]);
});

test("a time is never in another second than the manifest's, and as close as a number gets", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 4_000_000_000 }),
      fc.integer({ min: 0, max: 999_999_999 }),
      (seconds, rest) => {
        const time = timeOf(`${seconds}.${String(rest).padStart(9, "0")}`);
        expect(Math.floor(time)).toBe(seconds);
        expect(Math.abs(time - seconds - rest / 1e9)).toBeLessThan(2e-6);
      },
    ),
  );
  expect(timeOf("1700000000.999999999")).toBeLessThan(1_700_000_001);
  expect(timeOf("-5.000000000")).toBe(0);
});
