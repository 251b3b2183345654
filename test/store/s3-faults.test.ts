import { createHash, randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { DamagedObjectError, S3Store, type StoreSettings, UnconditionalWritesError } from "../../runtime/store";
import { waitFor } from "../../runtime/waiting";
import { type Fault, type FaultyProxy, type Seen, startFaultyProxy } from "../support/s3-faults";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";

const MiB = 1024 * 1024;
const bytes = (...texts: string[]) => texts.map((text) => Buffer.from(text));
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");
const slowDown: Fault = { kind: "answer", status: 503, code: "SlowDown" };
const inParts = { multipartFrom: 5 * MiB, part: 5 * MiB };

/** The fault for the first requests that fit, no matter what comes between. */
function firstOf(count: number, fault: Fault, fits: (seen: Seen) => boolean = () => true) {
  let left = count;
  return (seen: Seen): Fault | undefined => {
    if (left === 0 || !fits(seen)) return undefined;
    left -= 1;
    return fault;
  };
}

const isPut = ({ method, url }: Seen) => method === "PUT" && !url.includes("probes");
const isGet = ({ method, url }: Seen) => method === "GET" && !url.includes("list-type");
const isPart = ({ method, url }: Seen) => method === "PUT" && url.includes("partNumber") && !url.includes("probes");
const isEnd = ({ method, url }: Seen) => method === "POST" && url.includes("uploadId") && !url.includes("probes");

describe.each(s3Servers)("in front of %s", (name) => {
  let server: S3Server;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    server = await startS3Server(name);
    proxy = await startFaultyProxy(server.endpoint);
  });
  afterEach(() => {
    proxy.plan = () => undefined;
    proxy.forget();
  });
  afterAll(async () => {
    await proxy.stop();
    await server.stop();
  });

  const newLocation = () => `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;
  const quick = { attempts: 5, firstPause: 1, longestPause: 8 };

  function newStore(settings: StoreSettings = {}, sizes = {}, progress: string[] = []) {
    const all = { ...server.settings, endpoint: proxy.endpoint, retries: quick, ...settings };
    return new S3Store(newLocation(), all, { progress: (text) => progress.push(text) }, sizes);
  }

  async function uploadsLeft(): Promise<number> {
    return (await server.client.listMultipartUploads({ Bucket: server.bucket })).Uploads?.length ?? 0;
  }

  test("answers of 503 are lived through by every operation, and told of", async () => {
    const progress: string[] = [];
    const store = newStore({}, {}, progress);
    proxy.plan = ({ number }) => (number % 3 === 0 ? undefined : slowDown);

    expect(await store.create("packs/ab/ab", bytes("content"))).toBe(true);
    expect((await store.get("packs/ab/ab")).toString()).toBe("content");
    expect(await store.find("packs/ab/ab")).toMatchObject({ size: 7 });
    for await (const { key } of store.list("packs/")) expect(key).toBe("packs/ab/ab");
    await store.remove("packs/ab/ab");

    expect(progress.join("\n")).toMatch(/SlowDown at s3:.*trying again in \d+ms \(attempt 2\)/);
  });

  test("a server that fails for ever is given up after the attempts, and named", async () => {
    const store = newStore();
    proxy.plan = () => ({ kind: "answer", status: 500, code: "InternalError" });

    await expect(store.get("snapshots/01")).rejects.toThrow(
      /cannot read s3:.*snapshots\/01, tried 5 times in .*InternalError/,
    );
    expect(proxy.seen).toHaveLength(5);
  });

  test("an operation ends at its deadline, however often its attempts gain a byte", async () => {
    const store = newStore({ timeouts: { operation: 400 } });
    await store.create("packs/ab/ab", [randomBytes(200_000)]);
    proxy.plan = () => ({ kind: "cut-answer", at: 1 });

    await expect(store.get("packs/ab/ab")).rejects.toThrow(/cannot read .*tried \d+ times in .*s/);
  });

  test("a write whose answer is lost is known as its own, and made once", async () => {
    const store = newStore();
    proxy.plan = firstOf(1, { kind: "lose-answer" }, isPut);

    expect(await store.create("packs/ab/ab", bytes("content"))).toBe(true);

    expect((await store.get("packs/ab/ab")).toString()).toBe("content");
    expect(await store.create("packs/ab/ab", bytes("content"))).toBe(false);
  });

  test("a write whose answers are all lost is known as its own by a look", async () => {
    const store = newStore();
    proxy.plan = (seen) => (isPut(seen) ? { kind: "lose-answer" } : undefined);

    expect(await store.create("packs/ab/ab", bytes("content"))).toBe(true);

    expect(proxy.seen.filter(isPut)).toHaveLength(1);
  });

  test("a large object that is there is not sent again", async () => {
    const store = newStore();
    const content = randomBytes(2 * MiB);
    await store.create("packs/ab/ab", [content]);
    proxy.forget();

    expect(await store.create("packs/ab/ab", [content], sha256(content))).toBe(false);

    expect(proxy.seen.map(({ method }) => method)).toEqual(["HEAD", "HEAD"]);
  });

  test.each([7, 3 * MiB])(
    "a server that refuses what another wrote meanwhile by breaking the connection is understood: %d bytes",
    async (size) => {
      const store = newStore();
      const content = randomBytes(size);
      const Key = `${store.location.split("/").at(-1)}/packs/ab/ab`;
      const refuse = async () => {
        await server.client.putObject({ Bucket: server.bucket, Key, Body: content });
        throw new Error("reset on purpose");
      };
      proxy.plan = (seen) => (isPut(seen) ? { kind: "first", act: refuse } : undefined);

      expect(await store.create("packs/ab/ab", [content], sha256(content))).toBe(false);

      expect(proxy.seen.filter(isPut)).toHaveLength(1);
    },
  );

  test("an upload whose last answer is lost is known as its own, and leaves no upload", async () => {
    const store = newStore({}, inParts);
    const content = randomBytes(11 * MiB);
    proxy.plan = firstOf(1, { kind: "lose-answer" }, isEnd);

    expect(await store.create("packs/ab/ab", [content])).toBe(true);

    expect(sha256(await store.get("packs/ab/ab"))).toBe(sha256(content));
    expect(await uploadsLeft()).toBe(0);
  });

  test("broken and damaged requests are sent again, and what is stored is right", async () => {
    const store = newStore({}, inParts);
    const content = randomBytes(11 * MiB);
    const faults: Fault[] = [
      { kind: "cut-request", at: 100_000 },
      { kind: "damage-request", at: 12_345 },
      { kind: "reset" },
      { kind: "lose-answer" },
    ];
    proxy.plan = (seen) => (isPart(seen) ? faults.shift() : undefined);

    expect(await store.create("packs/ab/ab", [content])).toBe(true);

    expect(faults).toEqual([]);
    expect(sha256(await store.get("packs/ab/ab"))).toBe(sha256(content));
  });

  test("a damaged request is never stored", async () => {
    const store = newStore();
    proxy.plan = (seen) => (isPut(seen) ? { kind: "damage-request", at: 3 } : undefined);

    await expect(store.create("packs/ab/ab", bytes("content"))).rejects.toThrow("cannot write");

    proxy.plan = () => undefined;
    expect(await store.find("packs/ab/ab")).toBeNull();
  });

  test("an upload that fails for good ends its other parts, is aborted, and leaves no object", async () => {
    const store = newStore({}, inParts);
    proxy.plan = (seen) => (isPart(seen) && seen.url.includes("partNumber=2") ? slowDown : undefined);

    await expect(store.create("packs/ab/ab", [randomBytes(16 * MiB)])).rejects.toThrow("cannot write part 2 of 4 of");

    proxy.plan = () => undefined;
    expect(await uploadsLeft()).toBe(0);
    expect(await store.find("packs/ab/ab")).toBeNull();
  });

  test("a body that breaks off is continued where it broke, as the same object", async () => {
    const content = randomBytes(3 * MiB);
    const store = newStore();
    await store.create("packs/ab/ab", [content]);
    proxy.forget();
    proxy.plan = firstOf(3, { kind: "cut-answer", at: 700_000 }, isGet);

    expect(sha256(await store.get("packs/ab/ab"))).toBe(sha256(content));

    const continued = proxy.seen.filter(({ headers }) => headers.range !== undefined);
    expect(continued).toHaveLength(3);
    for (const { headers } of continued) expect(headers["if-match"]).toMatch(/^"/);
    expect(proxy.bytesSent).toBe(content.length);
  });

  test("ranges are continued as well", async () => {
    const content = randomBytes(MiB);
    const store = newStore();
    await store.create("packs/ab/ab", [content]);
    const faults: Fault[] = (["cut-answer", "reset-answer", "reset-answer", "cut-answer"] as const).map((kind) => {
      return { kind, at: 50_000 };
    });
    proxy.plan = (seen) => (isGet(seen) ? faults.shift() : undefined);

    const part = await store.getRange("packs/ab/ab", 1000, 500_000);

    expect(part.equals(content.subarray(1000, 501_000))).toBe(true);
  });

  test("an object that is replaced while it is read is reported, and its halves are not put together", async () => {
    const store = newStore();
    await store.create("packs/ab/ab", [Buffer.alloc(500_000, "a")]);
    const Key = `${store.location.split("/").at(-1)}/packs/ab/ab`;
    const replace = () => server.client.putObject({ Bucket: server.bucket, Key, Body: Buffer.alloc(500_000, "b") });
    const faults: Fault[] = [
      { kind: "cut-answer", at: 200_000 },
      { kind: "first", act: replace },
    ];
    proxy.plan = (seen) => (isGet(seen) ? faults.shift() : undefined);

    await expect(store.get("packs/ab/ab")).rejects.toThrow(DamagedObjectError);

    expect((await store.get("packs/ab/ab")).equals(Buffer.alloc(500_000, "b"))).toBe(true);
  });

  test("a range that is silently short, and a body that was damaged on its way, are read again", async () => {
    const content = randomBytes(100_000);
    const store = newStore();
    await store.create("packs/ab/ab", [content]);

    proxy.plan = firstOf(2, { kind: "shorten-answer", at: 777 }, isGet);
    expect((await store.getRange("packs/ab/ab", 5, 50_000)).equals(content.subarray(5, 50_005))).toBe(true);
    proxy.plan = firstOf(2, { kind: "damage-answer", at: 777 }, isGet);
    expect((await store.get("packs/ab/ab")).equals(content)).toBe(true);
    proxy.plan = firstOf(2, { kind: "shorten-answer", at: 777 }, isGet);
    expect((await store.get("packs/ab/ab")).equals(content)).toBe(true);
  });

  test.each(["shorten-answer", "damage-answer"] as const)(
    "a body that is never right is given up after the attempts, however many bytes of it came: %s",
    async (kind) => {
      const store = newStore();
      await store.create("packs/ab/ab", [randomBytes(100_000)]);
      proxy.forget();
      proxy.plan = () => ({ kind, at: 777 });

      await expect(store.get("packs/ab/ab")).rejects.toThrow(/cannot read s3:.*packs.ab.ab, tried 5 times/);
      expect(proxy.seen).toHaveLength(5);

      if (kind === "damage-answer") return; // Ranges have no checksum: a manifest's hash is what finds it.
      proxy.forget();
      await expect(store.getRange("packs/ab/ab", 5, 50_000)).rejects.toThrow(/cannot read s3:.*tried 5 times/);
      expect(proxy.seen).toHaveLength(5);
    },
  );

  test("listings that break off are asked for again, and miss nothing", async () => {
    const store = newStore({}, { page: 2 });
    const keys = Array.from({ length: 5 }, (_, number) => `snapshots/0${number}`);
    for (const key of keys) await store.create(key, []);
    const isList = ({ url }: Seen) => url.includes("list-type");
    proxy.plan = (seen) =>
      isList(seen) && seen.number % 2 === 0
        ? { kind: seen.number % 4 === 0 ? "cut-answer" : "shorten-answer", at: 150 }
        : undefined;

    const found: string[] = [];
    for await (const { key } of store.list("snapshots/")) found.push(key);

    expect(found).toEqual(keys);
  });

  test("a connection that falls silent is given up and made anew, before an answer and within a body", async () => {
    const content = randomBytes(300_000);
    const store = newStore({ timeouts: { idle: 300 } });
    await store.create("packs/ab/ab", [content]);
    const faults: Fault[] = [
      { kind: "stall", at: 0 },
      { kind: "stall", at: 100_000 },
    ];
    proxy.plan = (seen) => (isGet(seen) ? faults.shift() : undefined);

    expect((await store.get("packs/ab/ab")).equals(content)).toBe(true);

    expect(faults).toEqual([]);
  });

  test("a slow answer is waited for as long as bytes come", async () => {
    const content = randomBytes(400_000);
    const store = newStore({ timeouts: { idle: 2000 } });
    await store.create("packs/ab/ab", [content]);
    proxy.forget();
    proxy.plan = () => ({ kind: "trickle", piece: 1000 });

    expect((await store.get("packs/ab/ab")).equals(content)).toBe(true);

    expect(proxy.seen).toHaveLength(1);
  });

  test("a signal ends a wait for a silent server", async () => {
    const stop = new AbortController();
    const settings = { ...server.settings, endpoint: proxy.endpoint };
    const store = new S3Store(newLocation(), settings, { signal: stop.signal });
    await store.create("packs/ab/ab", bytes("content"));
    proxy.forget();
    proxy.plan = () => ({ kind: "stall", at: 0 });

    const reading = store.get("packs/ab/ab");
    reading.catch(() => undefined);
    await waitFor({ what: "the request", deadline: 10_000, look: () => proxy.seen[0] });
    stop.abort(new Error("the person stopped it"));

    await expect(reading).rejects.toThrow("the person stopped it");
  });

  test("no more connections are made than allowed, and they are used again", async () => {
    const store = newStore({ connections: 3 });
    await store.create("packs/00/00", bytes("content"));
    proxy.forget();

    await Promise.all(Array.from({ length: 20 }, () => store.get("packs/00/00")));

    expect(proxy.seen).toHaveLength(20);
    expect(new Set(proxy.seen.map(({ port }) => port)).size).toBeLessThanOrEqual(3);
  });

  test("a conflict is tried again; one at the end of an upload begins another upload", async () => {
    const conflict: Fault = { kind: "answer", status: 409, code: "ConditionalRequestConflict" };
    const store = newStore({}, inParts);
    const content = randomBytes(6 * MiB);

    proxy.plan = firstOf(2, conflict, isPut);
    expect(await store.create("packs/ab/ab", bytes("small"))).toBe(true);
    proxy.forget();
    proxy.plan = firstOf(1, conflict, isEnd);
    expect(await store.create("packs/cd/cd", [content])).toBe(true);

    expect(sha256(await store.get("packs/cd/cd"))).toBe(sha256(content));
    expect(proxy.seen.filter(({ method, url }) => method === "POST" && url.includes("uploads"))).toHaveLength(2);
    expect(await uploadsLeft()).toBe(0);
  });

  test("a store whose uploads may not be listed says so, and still removes what else was abandoned", async () => {
    const progress: string[] = [];
    const store = newStore({}, {}, progress);
    await store.create(`probes/${"0".repeat(32)}`, bytes("probe"));
    proxy.plan = ({ url }) =>
      /[?&]uploads/.test(url) ? { kind: "answer", status: 403, code: "AccessDenied" } : undefined;

    expect(await store.removeAbandoned({ look: false, wait: -60_000 })).toEqual({ objects: 1, bytes: 5 });

    expect(progress.join("\n")).toMatch(
      /uploads .* not removed: .*s3:ListBucketMultipartUploads on arn:aws:s3:::test-bucket /,
    );
  });

  test("a server that ignores If-None-Match is refused before anything is stored", async () => {
    // As another server, so that it has not passed the probe yet: the probe's result is kept by endpoint.
    const ignoring = await startFaultyProxy(server.endpoint);
    try {
      const settings = { ...server.settings, endpoint: ignoring.endpoint, retries: quick };
      const store = new S3Store(newLocation(), settings);
      ignoring.plan = ({ method, url, headers }) => {
        if (method !== "PUT" || headers["if-none-match"] === undefined) return undefined;
        const Key = decodeURIComponent(new URL(url, server.endpoint).pathname.split("/").slice(2).join("/"));
        // Replacing what is there is what such a server does.
        return { kind: "first", act: () => server.client.deleteObject({ Bucket: server.bucket, Key }) };
      };

      const error: unknown = await store.create("packs/ab/ab", bytes("content")).catch((error) => error);

      expect(error).toBeInstanceOf(UnconditionalWritesError);
      expect((error as Error).message).toContain(
        `${store.location} cannot be a store: its server ignores If-None-Match`,
      );
      const Prefix = `${store.location.split("/").at(-1)}/`;
      expect((await server.client.listObjectsV2({ Bucket: server.bucket, Prefix })).Contents ?? []).toEqual([]);
    } finally {
      await ignoring.stop();
    }
  });

  test("a server that ignores it only at the end of uploads gets its objects whole", async () => {
    const ignoring = await startFaultyProxy(server.endpoint);
    try {
      const settings = { ...server.settings, endpoint: ignoring.endpoint, retries: quick };
      const store = new S3Store(newLocation(), settings, {}, inParts);
      const content = randomBytes(6 * MiB);
      ignoring.plan = ({ method, url, headers }) => {
        if (method !== "POST" || headers["if-none-match"] === undefined) return undefined;
        const Key = decodeURIComponent(new URL(url, server.endpoint).pathname.split("/").slice(2).join("/"));
        return { kind: "first", act: () => server.client.deleteObject({ Bucket: server.bucket, Key }) };
      };

      expect(await store.create("packs/ab/ab", [content])).toBe(true);

      expect(sha256(await store.get("packs/ab/ab"))).toBe(sha256(content));
      expect(ignoring.seen.filter(isPart)).toEqual([]);
    } finally {
      await ignoring.stop();
    }
  });
});
