import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DamagedObjectError, ObjectNotFoundError, openStore, S3Error, S3Store } from "../../runtime/store";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";

const MiB = 1024 * 1024;
const bytes = (...texts: string[]) => texts.map((text) => Buffer.from(text));
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");

describe.each(s3Servers)("on %s", (name) => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server(name);
  });
  afterAll(() => server.stop());

  /** A store under a prefix of its own. */
  function newStore(sizes = {}, settings = {}) {
    const prefix = randomBytes(6).toString("hex");
    return new S3Store(`s3://${server.bucket}/${prefix}`, { ...server.settings, ...settings }, {}, sizes);
  }

  async function keysIn(store: S3Store, prefix: string): Promise<readonly string[]> {
    const keys: string[] = [];
    for await (const { key } of store.list(prefix)) keys.push(key);
    return keys;
  }

  async function allKeys(store: S3Store): Promise<readonly string[]> {
    const Prefix = `${store.location.split("/").at(-1)}/`;
    const { Contents = [] } = await server.client.listObjectsV2({ Bucket: server.bucket, Prefix });
    return Contents.map(({ Key = "" }) => Key.slice(Prefix.length));
  }

  test("an object is made of its pieces, and found with its size and time", async () => {
    const store = newStore();

    expect(await store.create("packs/ab/abcd", bytes("one ", "two"))).toBe(true);

    expect((await store.get("packs/ab/abcd")).toString()).toBe("one two");
    expect((await store.getRange("packs/ab/abcd", 4, 2)).toString()).toBe("tw");
    const found = await store.find("packs/ab/abcd");
    expect(found).toMatchObject({ key: "packs/ab/abcd", size: 7 });
    expect(Math.abs(Date.now() - (found?.storedAt.getTime() ?? 0))).toBeLessThan(600_000);
  });

  test("the probe of the first write leaves nothing behind", async () => {
    const store = newStore();

    await store.create("snapshots/01", bytes("first"));

    expect(await allKeys(store)).toEqual(["snapshots/01"]);
    const uploads = await server.client.listMultipartUploads({ Bucket: server.bucket });
    expect(uploads.Uploads ?? []).toEqual([]);
  });

  test("an object that is there is not written again", async () => {
    const store = newStore();
    await store.create("snapshots/01", bytes("first"));

    expect(await store.create("snapshots/01", bytes("other"))).toBe(false);

    expect((await store.get("snapshots/01")).toString()).toBe("first");
  });

  test("an object of another size than it should have is reported instead of taken for good", async () => {
    const store = newStore();
    await store.create("snapshots/01", bytes("whole"));

    await expect(store.create("snapshots/01", bytes("whole object"))).rejects.toBeInstanceOf(DamagedObjectError);
    await expect(store.getRange("snapshots/01", 3, 10)).rejects.toBeInstanceOf(DamagedObjectError);
    await expect(store.getRange("snapshots/01", 5, 1)).rejects.toBeInstanceOf(DamagedObjectError);
  });

  test("of many that create one object at once, one does", async () => {
    const store = newStore();

    const created = await Promise.all(Array.from({ length: 12 }, () => store.create("snapshots/02", bytes("same"))));

    expect(created.filter(Boolean)).toHaveLength(1);
    expect((await store.get("snapshots/02")).toString()).toBe("same");
  });

  test("empty objects are objects, and have an empty range", async () => {
    const store = newStore();

    expect(await store.create("ids/01/02", [])).toBe(true);
    expect(await store.create("ids/01/02", [])).toBe(false);

    expect(await store.get("ids/01/02")).toHaveLength(0);
    expect(await store.getRange("ids/01/02", 0, 0)).toHaveLength(0);
    expect(await store.find("ids/01/02")).toMatchObject({ size: 0 });
  });

  test("listings go on over pages, in order, and hold the store's own objects only", async () => {
    const store = newStore({ page: 3 });
    expect(await keysIn(store, "packs/")).toEqual([]);
    const keys = Array.from({ length: 10 }, (_, number) => `packs/${number % 3}a/0${number}`);
    for (const key of [...keys, "ids/01/02"]) await store.create(key, []);
    const foreign = `${store.location.split("/").at(-1)}/packs/README.txt`;
    await server.client.putObject({ Bucket: server.bucket, Key: foreign, Body: "not ours" });

    expect(await keysIn(store, "packs/")).toEqual(keys.toSorted());
    expect(await keysIn(store, "ids/")).toEqual(["ids/01/02"]);
    expect(await keysIn(store, "marks/")).toEqual([]);
  });

  test("what is missing is said to be", async () => {
    const store = newStore();

    await expect(store.get("snapshots/03")).rejects.toBeInstanceOf(ObjectNotFoundError);
    await expect(store.getRange("snapshots/03", 0, 1)).rejects.toBeInstanceOf(ObjectNotFoundError);
    await expect(store.getRange("snapshots/03", 0, 0)).rejects.toBeInstanceOf(ObjectNotFoundError);
    expect(await store.find("snapshots/03")).toBeNull();
  });

  test("what was removed is gone, and may be removed again and written anew", async () => {
    const store = newStore();
    await store.create("marks/0a", bytes("old"));

    await store.remove("marks/0a");
    await store.remove("marks/0a");

    expect(await store.find("marks/0a")).toBeNull();
    expect(await store.create("marks/0a", bytes("newer"))).toBe(true);
  });

  test("a large object goes up in parts, the last one smaller, its pieces across them, and comes back whole", async () => {
    const store = newStore({ multipartFrom: 6 * MiB, part: 5 * MiB });
    const content = randomBytes(11 * MiB + 13);
    const pieces = [0, 3, 4, 9, 11].map((at, index, all) => content.subarray(at * MiB, (all[index + 1] ?? 99) * MiB));

    expect(await store.create("packs/ff/ff", pieces)).toBe(true);
    expect(await store.create("packs/ff/ff", pieces)).toBe(false);

    expect(sha256(await store.get("packs/ff/ff"))).toBe(sha256(content));
    const middle = await store.getRange("packs/ff/ff", 4 * MiB - 5, 2 * MiB);
    expect(middle.equals(content.subarray(4 * MiB - 5, 6 * MiB - 5))).toBe(true);
    const head = await server.client.headObject({
      Bucket: server.bucket,
      Key: `${store.location.split("/").at(-1)}/packs/ff/ff`,
    });
    expect(head.ETag).toMatch(/-3"$/); // S3's form for three parts.
  });

  test("of two that upload one object in parts at once, one does, and no upload is left", async () => {
    const store = newStore({ multipartFrom: 5 * MiB, part: 5 * MiB });
    const content = randomBytes(6 * MiB);

    const created = await Promise.all([store.create("packs/ee/ee", [content]), store.create("packs/ee/ee", [content])]);

    expect(created.filter(Boolean)).toHaveLength(1);
    expect(sha256(await store.get("packs/ee/ee"))).toBe(sha256(content));
    const uploads = await server.client.listMultipartUploads({ Bucket: server.bucket });
    expect(uploads.Uploads ?? []).toEqual([]);
  });

  test("uploads that a killed process began are counted and aborted once they are old, and no other's", async () => {
    const Bucket = server.bucket;
    const store = newStore();
    const begin = async (Key: string, parts: readonly number[]) => {
      const { UploadId } = await server.client.createMultipartUpload({ Bucket, Key });
      for (const [index, size] of parts.entries()) {
        const part = { Bucket, Key, UploadId, PartNumber: index + 1, Body: Buffer.alloc(size) };
        await server.client.uploadPart(part);
      }
      return { Bucket, Key, UploadId };
    };
    const prefix = store.location.split("/").at(-1);
    const others = [
      await begin(`${prefix}-other/packs/ab/ab`, [5]),
      await begin(`${prefix}/a person's file`, [5]),
      await begin("packs/ab/ab", [5]),
    ];
    await begin(`${prefix}/packs/ab/ab`, []);
    await begin(`${prefix}/packs/cd/cd`, [5 * MiB, 7]);

    expect(await store.removeAbandoned({ look: false })).toEqual({ objects: 0, bytes: 0 });
    const old = { objects: 2, bytes: 5 * MiB + 7 };
    expect(await store.removeAbandoned({ look: true, wait: 0 })).toEqual(old);
    expect(await store.removeAbandoned({ look: false, wait: 0 })).toEqual(old);
    expect(await store.removeAbandoned({ look: false, wait: 0 })).toEqual({ objects: 0, bytes: 0 });

    const { Uploads = [] } = await server.client.listMultipartUploads({ Bucket });
    expect(Uploads.map(({ Key }) => Key).sort()).toEqual(others.map(({ Key }) => Key).sort());
    for (const upload of others) await server.client.abortMultipartUpload(upload);
  });

  test("a bucket that does not exist is named with what to do, by every operation", async () => {
    const store = openStore("s3://no-such-bucket-here/x", server.settings);
    const fix = /no-such-bucket-here.*make it, or correct the store's location or its endpoint/s;

    await expect(store.get("snapshots/01")).rejects.toThrow(fix);
    await expect(store.find("snapshots/01")).rejects.toThrow(fix);
    await expect(store.create("snapshots/01", [])).rejects.toThrow(fix);
    await expect(keysIn(store as S3Store, "packs/")).rejects.toThrow(fix);
  });

  test("keys that the server does not know are refused at once, and no secret is shown", async () => {
    const secretAccessKey = "wrong-secret-that-must-not-be-shown";
    const credentials = { accessKeyId: "UNKNOWN-ACCESS-KEY", secretAccessKey };
    const store = newStore({}, { credentials });

    const attempts = [
      () => store.get("snapshots/01"),
      () => store.find("snapshots/01"),
      () => store.create("snapshots/01", []),
    ];
    for (const attempt of attempts) {
      const error: unknown = await attempt().catch((error) => error);
      expect(error).toBeInstanceOf(S3Error);
      expect((error as Error).message).toContain("does not know these keys");
      expect(`${(error as Error).stack}${JSON.stringify(error)}`).not.toContain(secretAccessKey);
    }
  });

  // versitygw has no key management.
  if (name === "minio") {
    test("objects are encrypted with the given key, whole ones and ones in parts, and read without naming it", async () => {
      const store = newStore({ multipartFrom: 5 * MiB, part: 5 * MiB }, { kmsKeyId: "test-key" });
      const large = randomBytes(6 * MiB);

      await store.create("packs/ab/ab", bytes("small"));
      await store.create("packs/cd/cd", [large]);

      for (const key of ["packs/ab/ab", "packs/cd/cd"]) {
        const Key = `${store.location.split("/").at(-1)}/${key}`;
        const { ServerSideEncryption, SSEKMSKeyId } = await server.client.headObject({ Bucket: server.bucket, Key });
        expect(ServerSideEncryption).toBe("aws:kms");
        expect(SSEKMSKeyId).toMatch(/test-key$/);
      }
      const reader = new S3Store(store.location, server.settings);
      expect((await reader.get("packs/cd/cd")).equals(large)).toBe(true);
      expect((await reader.getRange("packs/ab/ab", 1, 3)).toString()).toBe("mal");
    });
  }

  test("a signal ends what is under way with its reason", async () => {
    const stop = new AbortController();
    const store = new S3Store(`s3://${server.bucket}/signal`, server.settings, { signal: stop.signal });
    await store.create("snapshots/01", bytes("x"));

    stop.abort(new Error("the person stopped it"));

    await expect(store.get("snapshots/01")).rejects.toThrow("the person stopped it");
    await expect(store.create("snapshots/02", bytes("y"))).rejects.toThrow("the person stopped it");
  });
});
