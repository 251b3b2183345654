import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack, prune, restore } from "../../runtime/snapshot";
import { buildEngine, type EngineProcess } from "../support/engine-process";
import { expectWholeStore, objectsOf, uploadsTo } from "../support/s3-contents";
import { type Fault, type FaultyProxy, type Seen, startFaultyProxy } from "../support/s3-faults";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

/** How a packer dies at one of its requests; `kill` ends it at once. */
type Death = (kill: () => void) => Fault;

/** The server does not see the request, or it does: bodies are passed on when they are complete, and outlive their sender. */
const unseen: Death = (kill) => {
  kill();
  return { kind: "reset" };
};
const seen: Death = (kill) => ({ kind: "first", act: async () => kill() });

const isPart = ({ method, url }: Seen) => method === "PUT" && url.includes("partNumber") && !url.includes("probes");

describe.each(s3Servers)("with a store on %s", (name) => {
  let folder: ReturnType<typeof temporaryFolder>;
  let engine: EngineProcess;
  let server: S3Server;
  let proxy: FaultyProxy;
  let environment: EnvironmentLocation;
  let runs = 0;
  beforeAll(async () => {
    folder = temporaryFolder();
    engine = await buildEngine(folder.path);
    server = await startS3Server(name);
    proxy = await startFaultyProxy(server.endpoint);
    // Cannot be compressed: enough for a pack that is written in parts.
    environment = makeEnvironment(at("env"), { "ComfyUI/noise.bin": randomBytes(17_500_000) });
  });
  afterAll(async () => {
    await proxy.stop();
    await server.stop();
    folder.remove();
  });

  const at = (...names: string[]) => join(folder.path, ...names);
  const stays = (path: string) => path === "ComfyUI/models/checkpoints";
  const newStore = () => `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;
  /** Each with an index of its own, as if it came from another machine. */
  const requestFor = (store: string) => {
    runs += 1;
    const index = at(`index-${runs}`);
    return { environment, models: "referenced", store, settings: server.settings, plugins: [], index } as const;
  };

  /** Packs in a process that dies at one of its requests, and tells whether it got that far. */
  async function packAndDie(store: string, dies: (request: Seen) => boolean, death: Death): Promise<boolean> {
    proxy.forget();
    const settings = { ...server.settings, endpoint: proxy.endpoint };
    const engineRun = engine.startPack({ ...requestFor(store), settings });
    let dead = false;
    proxy.plan = (request) => {
      // What it had sent before, and comes now.
      if (dead) return { kind: "reset" };
      if (!dies(request)) return undefined;
      dead = true;
      return death(engineRun.kill);
    };
    const { killed, error } = await engineRun.outcome;
    proxy.plan = () => undefined;
    expect(error).toBeNull();
    expect(killed).toBe(dead);
    return killed;
  }

  test("a pack that is killed at any of its requests spoils nothing for the next one", async () => {
    let digest = "";
    let kills = 0;
    let uploads = 0;
    for (let number = 1; ; number += 1) {
      const store = newStore();

      const death = number % 2 === 0 ? unseen : seen;
      const killed = await packAndDie(store, (request) => request.number === number, death);

      uploads += (await uploadsTo(server, store)).length;
      await expectWholeStore(server, store);
      const packed = await pack(requestFor(store));
      expect((await expectWholeStore(server, store)).snapshots.map(({ reference }) => reference)).toEqual([
        packed.reference,
      ]);
      // The same tree gives the same snapshot, whatever was there already.
      digest ||= packed.digest;
      expect(packed.digest).toBe(digest);
      expect(number).toBeLessThan(60);
      if (!killed) break;
      kills += 1;
      if (number === 1) {
        const target = at(`restored-${runs}`);
        await restore({ reference: packed.reference, target, location: environment.root, settings: server.settings });
        expect(withoutTimes(describeTree(target, stays))).toEqual(withoutTimes(describeTree(environment.root, stays)));
      }
    }
    // The probe, the listings, a pack in two parts, the identity's entry, and the manifest.
    expect(kills).toBeGreaterThan(14);
    expect(uploads).toBeGreaterThan(0);
  });

  test("what packs that were killed in the middle of an upload left does not pile up: a prune removes it", async () => {
    const store = newStore();
    for (const [parts, expected] of [1, 2].entries()) {
      let left = parts + 1;
      const lastPart = (request: Seen) => isPart(request) && --left === 0;
      expect(await packAndDie(store, lastPart, seen)).toBe(true);
      expect(await uploadsTo(server, store)).toHaveLength(expected);
    }
    const packed = await pack(requestFor(store));
    const request = { store, settings: server.settings, keep: { newest: 1 }, protect: [], dryRun: false } as const;

    const young = await prune(request);
    expect(young.freed.abandoned).toEqual({ objects: 0, bytes: 0 });
    expect(await uploadsTo(server, store)).toHaveLength(2);

    // As if a day had passed; nothing packs now.
    const { freed } = await prune({ ...request, wait: 0 });
    expect(freed.abandoned.objects).toBeGreaterThanOrEqual(2);
    expect(freed.abandoned.bytes).toBeGreaterThan(8_000_000);
    expect(await uploadsTo(server, store)).toEqual([]);
    expect((await objectsOf(server, store)).filter(({ key }) => key.startsWith("probes/"))).toEqual([]);
    const { snapshots } = await expectWholeStore(server, store);
    expect(snapshots.map(({ reference }) => reference)).toEqual([packed.reference]);
  });

  test("two processes that pack the same tree at once end their uploads at once, and give the same snapshot", async () => {
    const store = newStore();
    const requests = [1, 2].map(() => ({
      ...requestFor(store),
      settings: { ...server.settings, endpoint: proxy.endpoint },
    }));
    const together = meeting(2);
    const ended: string[] = [];
    proxy.plan = (request) => {
      if (!isEnd(request)) return undefined;
      ended.push(new URL(request.url, server.endpoint).pathname);
      return { kind: "first", act: together };
    };

    const outcomes = await Promise.all(requests.map((request) => engine.pack(request, null)));

    proxy.plan = () => undefined;
    expect(outcomes.map(({ error }) => error)).toEqual([null, null]);
    expect(new Set(ended).size).toBe(1);
    expect(ended.length).toBeGreaterThanOrEqual(2);
    const [one, other] = outcomes.map(({ result }) => result as PackedSnapshot);
    expect(one?.reference).toBe(other?.reference);
    // One of them has written the pack, the other found it.
    expect([one?.bytesStored, other?.bytesStored].filter((bytes) => bytes === 0)).toHaveLength(1);
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
    expect((await objectsOf(server, store)).filter(({ key }) => key.startsWith("packs/"))).toHaveLength(1);
    expect(await uploadsTo(server, store)).toEqual([]);
  });

  test("two processes that pack different trees at once give a snapshot each", async () => {
    const store = newStore();
    const roots = ["one", "two"].map((tree) => {
      const files = { "ComfyUI/noise.bin": randomBytes(17_500_000), "ComfyUI/main.py": `print("${tree}")\n` };
      return makeEnvironment(at(tree), files);
    });
    const settings = { ...server.settings, endpoint: proxy.endpoint };
    const together = meeting(2);
    proxy.plan = (request) => (isEnd(request) ? { kind: "first", act: together } : undefined);

    const outcomes = await Promise.all(
      roots.map((root) => engine.pack({ ...requestFor(store), environment: root, settings }, null)),
    );

    proxy.plan = () => undefined;
    expect(outcomes.map(({ error }) => error)).toEqual([null, null]);
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(2);
    for (const [number, { result }] of outcomes.entries()) {
      const { reference } = result as PackedSnapshot;
      const [root = environment, target] = [roots[number], at(`target-${number}`)];
      await restore({ reference, target, location: root.root, settings: server.settings });
      expect(withoutTimes(describeTree(target, stays))).toEqual(withoutTimes(describeTree(root.root, stays)));
    }
  });
});

const isEnd = ({ method, url }: Seen) => method === "POST" && url.includes("uploadId") && !url.includes("probes");

/** Lets nobody pass until so many have come. */
function meeting(count: number): () => Promise<void> {
  let come = 0;
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return () => {
    come += 1;
    if (come >= count) open();
    return opened;
  };
}
