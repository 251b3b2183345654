import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack, prune, restore } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { buildEngine, type EngineProcess, type StartedEngine } from "../support/engine-process";
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

const isPack = ({ method, url }: Seen) => method === "PUT" && url.includes("/packs/");
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
    // Cannot be compressed: enough for two packs, which are written at the same time.
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
  function packAndDie(
    store: string,
    dies: (request: Seen) => boolean,
    death: Death,
    tree: EnvironmentLocation = environment,
  ): Promise<boolean> {
    const settings = { ...server.settings, endpoint: proxy.endpoint };
    return die(engine.startPack({ ...requestFor(store), environment: tree, settings }), dies, death);
  }

  /** Has a process die at one of its requests, and tells whether it got that far. */
  async function die(run: StartedEngine, dies: (request: Seen) => boolean, death: Death): Promise<boolean> {
    proxy.forget();
    let dead = false;
    proxy.plan = (request) => {
      // What it had sent before, and comes now.
      if (dead) return { kind: "reset" };
      if (!dies(request)) return undefined;
      dead = true;
      return death(run.kill);
    };
    const { killed, error } = await run.outcome;
    proxy.plan = () => undefined;
    expect(error).toBeNull();
    expect(killed).toBe(dead);
    return killed;
  }

  // Some twenty runs, each followed by another one and by two looks at every byte of the store.
  test("a pack that is killed at any of its requests spoils nothing for the next one", {
    timeout: 900_000,
  }, async () => {
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
    // The probe, the listings, two packs, the identity's entry, and the manifest.
    expect(kills).toBeGreaterThan(14);
    // The probe's, which is all that is written in parts here.
    expect(uploads).toBeGreaterThan(0);
  });

  test("what runs that were killed in the middle of a write left does not pile up: a prune removes it", async () => {
    const store = newStore();
    const packs = async () => (await objectsOf(server, store)).filter(({ key }) => key.startsWith("packs/"));
    const doomed = makeEnvironment(at("doomed"), { "ComfyUI/noise.bin": randomBytes(17_500_000) });
    expect(await packAndDie(store, isPack, seen, doomed)).toBe(true);
    const left = await waitFor({
      what: "the pack whose sender is dead",
      deadline: 20_000,
      look: async () => (await packs())[0],
    });
    for (const [parts, expected] of [1, 2].entries()) {
      let left = parts + 1;
      const lastPart = (request: Seen) => isPart(request) && --left === 0;
      const settings = { ...server.settings, endpoint: proxy.endpoint };
      // Larger than a manifest or a pack often is.
      const request = { store, settings, key: `snapshots/${randomBytes(32).toString("hex")}`, size: 40_000_000 };
      expect(await die(engine.startCreate(request), lastPart, seen)).toBe(true);
      expect(await uploadsTo(server, store)).toHaveLength(expected);
    }
    const packed = await pack(requestFor(store));
    const request = { store, settings: server.settings, keep: { newest: 1 }, protect: [], dryRun: false } as const;

    const young = await prune(request);
    expect(young.freed.abandoned).toEqual({ objects: 0, bytes: 0 });
    expect(await uploadsTo(server, store)).toHaveLength(2);
    expect(await packs()).toContainEqual(left);

    // As if a day had passed; nothing packs now.
    const { freed } = await prune({ ...request, wait: 0 });
    expect(freed.abandoned.objects).toBeGreaterThanOrEqual(2);
    expect(freed.abandoned.bytes).toBeGreaterThan(16_000_000);
    expect(await uploadsTo(server, store)).toEqual([]);
    await waitFor({
      what: "prunes to remove the pack that no snapshot needs; servers' times are of whole seconds",
      deadline: 20_000,
      look: async () => {
        await prune({ ...request, wait: 1 });
        return (await packs()).some(({ key }) => key === left.key) ? undefined : true;
      },
    });
    expect((await objectsOf(server, store)).filter(({ key }) => key.startsWith("probes/"))).toEqual([]);
    const { snapshots } = await expectWholeStore(server, store);
    expect(snapshots.map(({ reference }) => reference)).toEqual([packed.reference]);
  });

  test("two processes that pack the same tree at once write each pack at once, and give the same snapshot", async () => {
    const store = newStore();
    const requests = [1, 2].map(() => ({
      ...requestFor(store),
      settings: { ...server.settings, endpoint: proxy.endpoint },
    }));
    const meetings = new Map<string, () => Promise<void>>();
    const sent: string[] = [];
    proxy.plan = (request) => {
      if (!isPack(request)) return undefined;
      const { pathname } = new URL(request.url, server.endpoint);
      sent.push(pathname);
      const together = meetings.get(pathname) ?? meeting(2);
      meetings.set(pathname, together);
      return { kind: "first", act: together };
    };

    const outcomes = await Promise.all(requests.map((request) => engine.pack(request, null)));

    proxy.plan = () => undefined;
    expect(outcomes.map(({ error }) => error)).toEqual([null, null]);
    expect(meetings.size).toBe(2);
    expect(sent.length).toBeGreaterThanOrEqual(4);
    const [one, other] = outcomes.map(({ result }) => result as PackedSnapshot);
    expect(one?.reference).toBe(other?.reference);
    // Each pack was written by one of them, and found by the other.
    const packs = (await objectsOf(server, store)).filter(({ key }) => key.startsWith("packs/"));
    expect(packs).toHaveLength(2);
    expect((one?.bytesStored ?? 0) + (other?.bytesStored ?? 0)).toBe(packs.reduce((sum, { size }) => sum + size, 0));
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
    expect(await uploadsTo(server, store)).toEqual([]);
  });

  test("two processes that pack different trees at once give a snapshot each", async () => {
    const store = newStore();
    const roots = ["one", "two"].map((tree) => {
      const files = { "ComfyUI/noise.bin": randomBytes(17_500_000), "ComfyUI/main.py": `print("${tree}")\n` };
      return makeEnvironment(at(tree), files);
    });
    const settings = { ...server.settings, endpoint: proxy.endpoint };
    // Both packs of either, none of which waits for another.
    const together = meeting(4);
    proxy.plan = (request) => (isPack(request) ? { kind: "first", act: together } : undefined);

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
