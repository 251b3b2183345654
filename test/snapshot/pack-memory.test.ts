import { createHash, randomFillSync } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { PackWriter } from "../../runtime/snapshot/pack-writer";
import { InOrder } from "../../runtime/snapshot/threads/in-order";
import { frameRoom, Slots } from "../../runtime/snapshot/threads/pack-memory";
import { PackWorkers } from "../../runtime/snapshot/threads/pack-workers";
import { ThreadPool } from "../../runtime/snapshot/threads/pool";
import type { ObjectStore } from "../../runtime/store";

const megabyte = 1024 * 1024;
const place = {
  root: "/nowhere",
  parts: { comfyui: "", plugins: "", dependencies: "venv", cache: ".cache", models: "models" },
};

let pool: ThreadPool | undefined;
afterEach(async () => {
  await pool?.close();
  pool = undefined;
});

/** A store that takes objects, and keeps its callers waiting until it is told to go on. */
class SlowStore implements ObjectStore {
  readonly location = "/slow";
  readonly objects = new Map<string, string>();
  underWay = 0;
  mostUnderWay = 0;
  bytes = 0;
  readonly #waiting: (() => void)[] = [];
  #opened = false;

  constructor(readonly parallelWrites: number) {}

  goOn(): void {
    this.#opened = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async create(key: string, pieces: readonly Uint8Array[]): Promise<boolean> {
    this.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    if (!this.#opened) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const sum = createHash("sha256");
    for (const piece of pieces) {
      sum.update(piece);
      this.bytes += piece.byteLength;
    }
    this.objects.set(key, sum.digest("hex"));
    this.underWay -= 1;
    return true;
  }

  get = () => Promise.reject(new Error("is not read"));
  getRange = () => Promise.reject(new Error("is not read"));
  find = () => Promise.resolve(null);
  async *list(): AsyncIterable<never> {}
  remove = () => Promise.resolve();
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 60_000; !condition(); await setImmediate()) {
    if (performance.now() > end) throw new Error(`not within a minute: ${what}`);
  }
}

function workersWith(threads: number): PackWorkers {
  const workers = new PackWorkers({
    place,
    threads,
    pool: () => {
      pool ??= new ThreadPool({ size: threads });
      return pool;
    },
  });
  workers.start();
  return workers;
}

test.each([1, 3])(
  "however slow the store is, no more is read than has a place, with packs for %s writes",
  async (writes) => {
    const store = new SlowStore(writes);
    const workers = workersWith(2);
    const { slots } = workers;
    const writer = new PackWriter(store, new Set(), workers, () => undefined);
    const total = 120;
    let added = 0;
    const adding = (async () => {
      for (; added < total; added++) {
        const slot = await slots.take();
        randomFillSync(slot.bytes.subarray(0, megabyte));
        writer.addChunk(slot, megabyte, () => undefined);
      }
    })();

    await until(
      () => store.underWay === writes && slots.taken === slots.count && pool?.pending === 0,
      "everything is full",
    );
    // Each pack holds 15 of these frames; one more is full and waits.
    expect(added).toBe(15 * (writes + 1) + slots.count);
    store.goOn();
    await adding;
    await writer.finish();

    expect(store.mostUnderWay).toBeLessThanOrEqual(writes);
    expect(slots.taken).toBe(0);
    expect(store.bytes).toBeGreaterThan(total * megabyte);
    for (const [key, sha256] of store.objects) expect(key.endsWith(sha256)).toBe(true);
    expect(writer.bytesAdded).toBe(total * megabyte);
  },
);

test("a store that fails ends the waits for places, and the writer", async () => {
  const workers = workersWith(1);
  const store = new SlowStore(1);
  store.create = () => Promise.reject(new Error("no more room"));
  const writer = new PackWriter(store, new Set(), workers, () => undefined);
  const adding = (async () => {
    for (;;) {
      const slot = await workers.slots.take();
      randomFillSync(slot.bytes);
      writer.addChunk(slot, megabyte, () => undefined);
    }
  })();

  await expect(adding).rejects.toThrow("no more room");
  await expect(writer.finish()).rejects.toThrow("no more room");
});

test("places are given to those who wait in the order of asking, and to nobody once the work has failed", async () => {
  const slots = new Slots(new SharedArrayBuffer(2 * frameRoom), 2);
  const [first, second] = [await slots.take(), await slots.take()];
  const order: string[] = [];
  const waiting = ["a", "b"].map((name) => slots.take().then(() => order.push(name)));
  expect(slots.takeFree()).toBeUndefined();
  slots.give(second);
  slots.give(first);
  await Promise.all(waiting);
  expect(order).toEqual(["a", "b"]);
  const last = slots.take();
  slots.fail(new Error("broken"));
  await expect(last).rejects.toThrow("broken");
  await expect(slots.take()).rejects.toThrow("broken");
});

test("results are dealt with in the order of asking, and not after the first failure", async () => {
  const failures: unknown[] = [];
  const results = new InOrder((error) => failures.push(error));
  const dealt: number[] = [];
  const { promise, resolve } = Promise.withResolvers<number>();
  results.add(promise, (result) => void dealt.push(result));
  results.add(Promise.resolve(2), (result) => void dealt.push(result));
  await setImmediate();
  expect(dealt).toEqual([]);
  resolve(1);
  await results.done();
  expect(dealt).toEqual([1, 2]);
  const broken = new Error("broken");
  results.add(Promise.reject(broken), () => undefined);
  results.add(Promise.resolve(4), (result) => void dealt.push(result));

  await expect(results.done()).rejects.toBe(broken);

  expect(dealt).toEqual([1, 2]);
  expect(failures[0]).toBe(broken);
});
