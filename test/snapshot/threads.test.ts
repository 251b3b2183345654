import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LazyThreadPool, ThreadPool } from "../../runtime/snapshot/threads/pool";

let folder: string;
let pool: ThreadPool | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "threads-"));
});

afterEach(async () => {
  await pool?.close();
  pool = undefined;
  rmSync(folder, { recursive: true, force: true });
});

/** A pool whose threads run a program that has `port` and `answer(id, result)`. */
function poolOf(program: string, size = 2, patience = 10_000): ThreadPool {
  const file = join(folder, "thread.js");
  writeFileSync(
    file,
    `const { parentPort: port, threadId } = require("node:worker_threads");
     const answer = (id, result) => port.postMessage({ id, result });
     ${program}`,
  );
  pool = new ThreadPool({ size, program: file, patience });
  return pool;
}

test("threads do the tasks that they are given", async () => {
  pool = new ThreadPool({ size: 2 });
  const texts = Array.from({ length: 50 }, (_, number) => `task ${number}`);
  const running = pool;
  expect(await Promise.all(texts.map((text) => running.run("echo", text)))).toEqual(texts);
  expect(pool.pending).toBe(0);
});

test("a task that is given to one thread is done by that one, in the order in which it was given", async () => {
  const threads = poolOf(
    `let done = 0;
     port.on("message", ({ id, request }) => answer(id, threadId + ":" + request + ":" + done++));`,
    3,
  );
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, number) => threads.run("echo", `${number}`, { on: 1 })),
  );
  expect(new Set(answers.map((text) => text.split(":")[0])).size).toBe(1);
  expect(answers.map((text) => text.split(":").slice(1).join(":"))).toEqual(
    Array.from({ length: 12 }, (_, number) => `${number}:${number}`),
  );
});

test("an error in a task rejects that task with its code and cause, and no other", async () => {
  const threads = poolOf(
    `port.on("message", ({ id, request }) => {
       if (request !== "bad") return answer(id, request);
       const cause = { name: "TypeError", message: "deep" };
       port.postMessage({ id, error: { name: "Error", message: "no room", code: "ENOSPC", cause } });
     });`,
  );
  const [good, bad, later] = await Promise.allSettled(
    ["good", "bad", "later"].map((text) => threads.run("echo", text)),
  );
  expect([good, later]).toMatchObject([{ value: "good" }, { value: "later" }]);
  expect(bad).toMatchObject({ reason: { message: "no room", code: "ENOSPC", cause: { message: "deep" } } });
});

test("a thread that dies rejects what it had, what waits and what comes later, and nothing hangs", async () => {
  const threads = poolOf(`port.on("message", ({ request }) => { if (request === "die") process.exit(7); });`);
  const tasks = ["die", "a", "b", "c", "d", "e"].map((text) => threads.run("echo", text));
  for (const outcome of await Promise.allSettled(tasks)) {
    expect(outcome).toMatchObject({ reason: { message: "a thread of the snapshot engine ended with code 7" } });
  }
  await expect(threads.run("echo", "later")).rejects.toThrow("ended with code 7");
});

test("a thread that fails outside of a task rejects everything and says why", async () => {
  const threads = poolOf(`port.on("message", () => setImmediate(() => { throw new Error("out of memory"); }));`);
  await expect(threads.run("echo", "x")).rejects.toMatchObject({
    message: "a thread of the snapshot engine failed",
    cause: { message: "out of memory" },
  });
});

test("a program that is not there is an error of every task", async () => {
  pool = new ThreadPool({ size: 1, program: join(folder, "missing.js") });
  await expect(pool.run("echo", "x")).rejects.toThrow("a thread of the snapshot engine failed");
});

test("closing lets threads end what they have begun, and begins nothing more", async () => {
  const done = join(folder, "done");
  const threads = poolOf(
    `const stop = require("node:worker_threads").workerData;
     const { appendFileSync } = require("node:fs");
     port.on("message", (message) => {
       if (message === null) return port.close();
       if (Atomics.load(stop, 0) !== 0) return;
       answer(message.id, "begun");
       // Until it is told to stop.
       while (Atomics.load(stop, 0) === 0);
       appendFileSync(${JSON.stringify(done)}, message.request);
     });`,
    1,
  );
  const tasks = ["a", "b", "c"].map((text) => threads.run("echo", text));
  expect(await tasks[0]).toBe("begun");
  await threads.close();
  for (const outcome of await Promise.allSettled(tasks.slice(1))) {
    expect(outcome).toMatchObject({ reason: { message: "the threads were ended" } });
  }
  expect(readFileSync(done, "utf8")).toBe("a");
});

test("closing terminates a thread that hangs", async () => {
  const threads = poolOf(`port.on("message", () => { for (;;); });`, 2, 100);
  const task = threads.run("echo", "x");
  await threads.close();
  await expect(task).rejects.toThrow("the threads were ended");
});

test("a lazy pool has no threads until they are needed, the same ones from then on, and others after it was closed", async () => {
  const lazy = new LazyThreadPool(1);
  await lazy.close();
  const first = lazy.start();
  expect(lazy.start()).toBe(first);
  expect(await first.run("echo", "a")).toBe("a");
  await lazy.close();
  await expect(first.run("echo", "b")).rejects.toThrow("the threads were ended");
  const second = lazy.start();
  expect(await second.run("echo", "c")).toBe("c");
  await lazy.close();
});
