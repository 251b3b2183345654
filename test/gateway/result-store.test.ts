import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ResultStore } from "../../runtime/gateway/result-store";

let folder: string;
let store: ResultStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "result-store-"));
  store = await ResultStore.open(folder, () => undefined);
});
afterEach(() => rm(folder, { recursive: true }));

async function keep(record: string, { lost = false, current = true } = {}): Promise<void> {
  const result = { promptId: "mine", instance: "r1/0", epoch: 1, clients: [], lost };
  await store.keep(await store.stage(), result, record, () => current);
}

test("a result that is no longer its prompt's replaces nothing, also after a restart", async () => {
  await keep('"good"');
  await keep('"late"', { lost: true, current: false });
  expect(await store.record("mine")).toBe('"good"');
  expect(await readdir(join(folder, "results"))).toHaveLength(1);
  store = await ResultStore.open(folder, () => undefined);
  expect(await store.record("mine")).toBe('"good"');
});

test("a loss is removed when its prompt runs anew, a result is not", async () => {
  await keep('"good"');
  await store.removeLoss("mine");
  expect(await store.record("mine")).toBe('"good"');
  await keep('"lost"', { lost: true });
  store = await ResultStore.open(folder, () => undefined);
  await store.removeLoss("mine");
  expect(store.has("mine")).toBe(false);
  expect(await readdir(join(folder, "results"))).toEqual([]);
});
