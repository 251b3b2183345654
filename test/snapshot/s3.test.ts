import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  listSnapshots,
  pack,
  readCounted,
  readHead,
  restore,
  SnapshotNotFoundError,
  verify,
} from "../../runtime/snapshot";
import { type FaultyProxy, type Seen, startFaultyProxy } from "../support/s3-faults";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";
import { describeTree, makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

/** Times are other tests' concern. */
function contentsOf(root: string) {
  return Object.entries(describeTree(root)).map(([path, { type, mode, content }]) => ({ path, type, mode, content }));
}

describe.each(s3Servers)("with a store on %s", (name) => {
  let server: S3Server;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    server = await startS3Server(name);
    proxy = await startFaultyProxy(server.endpoint);
  });
  afterEach(() => proxy.forget());
  afterAll(async () => {
    await proxy.stop();
    await server.stop();
  });

  const retries = { attempts: 6, firstPause: 1, longestPause: 4 };
  const settings = () => ({ ...server.settings, endpoint: proxy.endpoint, retries });
  const newStore = () => `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;

  /** Something to compress, and something that cannot be. */
  function makeLargerEnvironment() {
    const root = join(folder.path, "studio");
    return makeEnvironment(root, {
      "venv/lib/python3.11/site-packages/library.so": randomBytes(20_000_000),
      "ComfyUI/large.txt": "much of the same\n".repeat(200_000),
    });
  }

  const packTo = (store: string, environment: ReturnType<typeof makeEnvironment>) =>
    pack({
      environment,
      models: "included",
      store,
      settings: settings(),
      plugins: [],
      index: join(folder.path, "index"),
    });

  test("a snapshot is packed, listed, looked at, verified and restored", async () => {
    const environment = makeLargerEnvironment();
    const store = newStore();

    const packed = await packTo(store, environment);

    const { reference } = packed;
    expect(reference).toBe(`${store}#sha256:${packed.digest}`);
    const listed = await listSnapshots(store, undefined, settings());
    expect(listed.map(({ reference }) => reference)).toEqual([reference]);
    expect((await readHead(reference, settings())).summary.id).toBe(packed.head.summary.id);
    expect(await readCounted(reference, settings())).not.toHaveLength(0);
    for (const deep of [false, true]) {
      expect((await verify({ reference, deep, settings: settings() })).problems).toEqual([]);
    }
    const target = join(folder.path, "restored");
    await restore({ reference, target, location: environment.root, settings: settings() });
    expect(contentsOf(target)).toEqual(contentsOf(environment.root));
  });

  test("a second snapshot sends only what is new", async () => {
    const environment = makeLargerEnvironment();
    const store = newStore();
    await packTo(store, environment);
    writeFiles(environment.root, { "ComfyUI/new.txt": "new" });

    const second = await packTo(store, environment);

    expect(second.bytesStored).toBeLessThan(100_000);
    expect(await listSnapshots(store, undefined, settings())).toHaveLength(2);
  });

  test("packs that one that failed has stored are not sent again", async () => {
    const environment = makeLargerEnvironment();
    const store = newStore();
    const isPut = (folder: string) => (seen: Seen) => seen.method === "PUT" && seen.url.includes(`/${folder}/`);
    try {
      proxy.plan = (seen) =>
        isPut("snapshots")(seen) ? { kind: "answer", status: 403, code: "AccessDenied" } : undefined;
      await expect(packTo(store, environment)).rejects.toThrow(/cannot write s3:.*\/snapshots\//);
    } finally {
      proxy.plan = () => undefined;
    }
    expect(proxy.seen.filter(isPut("packs"))).toHaveLength(2);
    proxy.forget();

    const { bytesStored } = await packTo(store, environment);

    expect(bytesStored).toBe(0);
    expect(proxy.seen.filter(isPut("packs"))).toEqual([]);
    expect(await listSnapshots(store, undefined, settings())).toHaveLength(1);
  });

  test("a pack and a restore live through failing answers and broken connections", async () => {
    const environment = makeLargerEnvironment();
    const store = newStore();
    proxy.plan = ({ number, method }) => {
      if (number % 4 === 1) return { kind: "answer", status: 503, code: "SlowDown" };
      if (number % 7 === 3) return method === "GET" ? { kind: "cut-answer", at: 3000 } : { kind: "lose-answer" };
      return undefined;
    };
    try {
      const { reference } = await packTo(store, environment);
      const target = join(folder.path, "restored");
      await restore({ reference, target, location: environment.root, settings: settings() });
      expect(contentsOf(target)).toEqual(contentsOf(environment.root));
    } finally {
      proxy.plan = () => undefined;
    }
  });

  test("a restore whose content is damaged on the way for good fails, and leaves nothing", async () => {
    const environment = makeLargerEnvironment();
    const { reference } = await packTo(newStore(), environment);
    const target = join(folder.path, "restored");
    proxy.plan = ({ url }) => (url.includes("/packs/") ? { kind: "damage-answer", at: 500 } : undefined);
    try {
      await expect(restore({ reference, target, settings: settings() })).rejects.toThrow(
        /is damaged|Checksum mismatch/,
      );
      expect(existsSync(target)).toBe(false);
    } finally {
      proxy.plan = () => undefined;
    }
  });

  test("a snapshot that is not there is said to be missing", async () => {
    const reference = `${newStore()}#sha256:${"0".repeat(64)}`;

    await expect(readHead(reference, settings())).rejects.toBeInstanceOf(SnapshotNotFoundError);
  });
});
