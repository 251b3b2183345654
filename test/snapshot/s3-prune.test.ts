import { hash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { listSnapshots, type Pruning, pack, prune, restore } from "../../runtime/snapshot";
import { openStore } from "../../runtime/store";
import { waitFor } from "../../runtime/waiting";
import { expectWholeStore, objectsOf, uploadsTo } from "../support/s3-contents";
import { type FaultyProxy, type Seen, startFaultyProxy } from "../support/s3-faults";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes, writeFiles } from "../support/trees";

const isPart = ({ method, url }: Seen) => method === "PUT" && url.includes("partNumber") && !url.includes("probes");
const isEntry = ({ method, url }: Seen) => method === "PUT" && url.includes("/ids/");
const isManifest = ({ method, url }: Seen) => method === "PUT" && url.includes("/snapshots/");
const isPack = ({ method, url }: Seen) => method === "PUT" && url.includes("/packs/");

describe.each(s3Servers)("with a store on %s", (name) => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: S3Server;
  let proxy: FaultyProxy;
  let store: string;
  beforeAll(async () => {
    server = await startS3Server(name);
    proxy = await startFaultyProxy(server.endpoint);
    // So that no run under test begins with the probe.
    await pack(requestFor(makeEnvironment(join(temporary().path, "env")), newStore()));
  });
  beforeEach(() => {
    folder = temporary();
    store = newStore();
  });
  afterEach(() => {
    proxy.plan = () => undefined;
    for (const { remove } of folders.splice(0)) remove();
  });
  afterAll(async () => {
    await proxy.stop();
    await server.stop();
  });

  const folders: ReturnType<typeof temporaryFolder>[] = [];
  const temporary = () => {
    const made = temporaryFolder();
    folders.push(made);
    return made;
  };
  const at = (...names: string[]) => join(folder.path, ...names);
  const stays = (path: string) => path === "ComfyUI/models/checkpoints";
  const newStore = () => `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;
  const requestFor = (environment: EnvironmentLocation, where = store) => {
    const settings = { ...server.settings, endpoint: proxy.endpoint };
    const index = `${environment.root}-index`;
    return { environment, models: "referenced", store: where, settings, plugins: [], index } as const;
  };

  /** An environment that shares no file but empty ones with others. */
  const environmentOf = (name: string) =>
    makeEnvironment(at(name), {
      ...Object.fromEntries(
        [
          "ComfyUI/main.py",
          "ComfyUI/comfyui_version.py",
          "ComfyUI/custom_nodes/good_plugin/__init__.py",
          "ComfyUI/custom_nodes/good_plugin/pyproject.toml",
          "venv/lib/python3.11/site-packages/six.py",
          "venv/lib/python3.11/site-packages/six-1.17.0.dist-info/METADATA",
          ".cache/huggingface/hub/models--a/blobs/0f",
        ].map((path) => [path, `# ${path} of ${name}\n`]),
      ),
      "ComfyUI/own.bin": randomBytes(200_000),
    });

  /** A prune that waits next to nothing. Server times are of whole seconds: it is repeated until it has found what it is to find. */
  const pruneUntil = (what: string, found: (pruning: Pruning) => boolean) =>
    waitFor({
      what,
      // Less than a request of the packer under test waits for its answer.
      deadline: 20_000,
      look: async () => {
        const request = { store, settings: server.settings, keep: { newest: 1 }, protect: [], dryRun: false, wait: 1 };
        const pruning = await prune(request);
        return found(pruning) ? pruning : undefined;
      },
    });

  /** Has something done at the first request that fits, before the server sees it. */
  function once(fits: (seen: Seen) => boolean, act: () => Promise<unknown>): () => boolean {
    let done = false;
    proxy.plan = (seen) => {
      if (done || !fits(seen)) return undefined;
      done = true;
      return { kind: "first", act };
    };
    return () => done;
  }

  async function expectRestored(reference: string, environment: EnvironmentLocation): Promise<void> {
    const target = at(`restored-${randomBytes(3).toString("hex")}`);
    await restore({ reference, target, location: environment.root, settings: server.settings });
    expect(withoutTimes(describeTree(target, stays))).toEqual(withoutTimes(describeTree(environment.root, stays)));
  }

  test("packs that a prune marks between their upload and the manifest are packed again under other names", async () => {
    const environment = environmentOf("kept");
    // The listing of marks before the manifest is the second one of a run.
    let listings = 0;
    const beforeManifest = ({ url }: Seen) => /prefix=[^&]*marks/.test(url) && ++listings === 2;
    const happened = once(beforeManifest, () => pruneUntil("a mark", ({ marked }) => marked.packs > 0));

    const packed = await pack(requestFor(environment));

    expect(happened()).toBe(true);
    const packs = async () => (await objectsOf(server, store)).filter(({ key }) => key.startsWith("packs/"));
    expect(await packs()).toHaveLength(2);
    await pruneUntil("the removal of the marked pack", ({ freed }) => freed.packs > 0);
    expect(await packs()).toHaveLength(1);
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
    await expectRestored(packed.reference, environment);
  });

  test("a snapshot whose packs belong to one that expires while it is packed stays restorable", async () => {
    const [environment, other] = [environmentOf("kept"), environmentOf("other")];
    const first = await pack(requestFor(environment));
    await pruneUntil("a second that is later than the first snapshot's", ({ kept }) => isPast(kept[0]?.storedAt));
    const newest = await pack(requestFor(other));
    // Of two of the same second, either may be the newest.
    await waitFor({
      what: "a second that is later than the other snapshot's",
      deadline: 20_000,
      look: async () => {
        const listed = await listSnapshots(store, undefined, server.settings);
        return listed.every(({ storedAt }) => isPast(storedAt)) ? true : undefined;
      },
    });
    writeFiles(environment.root, { "ComfyUI/new.txt": "new" });
    let pruning: Pruning | undefined;
    const happened = once(isPack, async () => {
      pruning = await pruneUntil("the mark on the first snapshot's pack", ({ marked }) => marked.packs > 0);
    });

    const packed = await pack(requestFor(environment));

    expect(happened()).toBe(true);
    expect(pruning?.kept.map(({ reference }) => reference)).toEqual([newest.reference]);
    await pruneUntil("the removal of the first snapshot's pack", ({ freed }) => freed.packs > 0);
    const { snapshots } = await expectWholeStore(server, store);
    expect(snapshots.map(({ reference }) => reference)).toContain(packed.reference);
    expect(snapshots.map(({ reference }) => reference)).not.toContain(first.reference);
    await expectRestored(packed.reference, environment);
  });

  test("a prune between the identity's entry and the manifest takes neither", async () => {
    const environment = environmentOf("kept");
    const request = { store, settings: server.settings, keep: { newest: 1 }, protect: [], dryRun: false } as const;
    const happened = once(isEntry, () => prune(request));

    const packed = await pack(requestFor(environment));

    expect(happened()).toBe(true);
    await prune(request);
    expect((await objectsOf(server, store)).filter(({ key }) => key.startsWith("ids/"))).toHaveLength(1);
    await expectWholeStore(server, store);
    await expectRestored(packed.reference, environment);
  });

  test("a pack of a run that failed, which a prune marks while it is packed again, is packed under another name", async () => {
    const environment = environmentOf("kept");
    proxy.plan = (seen) => (isManifest(seen) ? { kind: "answer", status: 403, code: "AccessDenied" } : undefined);
    await expect(pack(requestFor(environment))).rejects.toThrow(/cannot write s3:.*\/snapshots\//);
    const packs = async () => (await objectsOf(server, store)).filter(({ key }) => key.startsWith("packs/"));
    expect(await packs()).toHaveLength(1);
    const happened = once(isPack, () => pruneUntil("a mark", ({ marked }) => marked.packs > 0));

    const packed = await pack(requestFor(environment));

    expect(happened()).toBe(true);
    expect(await packs()).toHaveLength(2);
    await pruneUntil("the removal of the marked pack", ({ freed }) => freed.packs > 0);
    expect(await packs()).toHaveLength(1);
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
    await expectRestored(packed.reference, environment);
  });

  test("an upload in parts that a prune with next to no wait ends under its writer is begun anew", async () => {
    const { reference } = await pack(requestFor(environmentOf("kept")));
    const content = randomBytes(17_500_000);
    const name = hash("sha256", content);
    const key = `packs/${name.slice(0, 2)}/${name}`;
    const happened = once(isPart, () => pruneUntil("an upload", ({ freed }) => freed.abandoned.objects > 0));

    const created = await openStore(store, { ...server.settings, endpoint: proxy.endpoint }).create(key, [content]);

    expect(happened()).toBe(true);
    expect(created).toBe(true);
    expect(await uploadsTo(server, store)).toEqual([]);
    expect(await objectsOf(server, store)).toContainEqual({ key, size: content.length });
    const { snapshots } = await expectWholeStore(server, store);
    expect(snapshots.map((snapshot) => snapshot.reference)).toEqual([reference]);
  });
});

function isPast(time: string | undefined): boolean {
  return time !== undefined && Math.floor(Date.now() / 1000) > Math.floor(Date.parse(time) / 1000);
}
