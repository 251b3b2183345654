import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { tlsOnly } from "../../components/aws/bucket-parts";
import { type AccessKind, accessPolicy, neverReplace } from "../../components/aws/store-access";
import { listSnapshots, pack, readHead, restore, SnapshotNotFoundError, verify } from "../../runtime/snapshot";
import { S3Store, type StoreSettings } from "../../runtime/store";
import { type FaultyProxy, startFaultyProxy } from "../support/s3-faults";
import { type S3Server, startS3Server } from "../support/s3-servers";
import { type S3Session, startSession } from "../support/s3-sessions";
import { describeTree, makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

/** The very policies of `SnapshotAccess`, enforced by MinIO, and by the proxy in front of it where that is not as AWS. */
let server: S3Server;
let proxy: FaultyProxy;
let folder: ReturnType<typeof temporaryFolder>;
beforeAll(async () => {
  server = await startS3Server("minio");
  proxy = await startFaultyProxy(server.endpoint);
  proxy.plan = ({ method, url, headers }) => {
    if (method === "GET" || method === "HEAD") return { kind: "hide-missing" };
    // The conditions of the statement that MinIO is not given.
    const query = new URL(url, proxy.endpoint).searchParams;
    const creates = method === "PUT" ? !query.has("partNumber") : method === "POST" && query.has("uploadId");
    return creates && headers["if-none-match"] === undefined
      ? { kind: "answer", status: 403, code: "AccessDenied" }
      : undefined;
  };
});
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());
afterAll(async () => {
  await proxy?.stop();
  await server?.stop();
});

/** Somebody with one kind of access to what is below a prefix. */
const session = (access: AccessKind, prefix: string): Promise<S3Session> => {
  const policy = accessPolicy(access, { bucketArn: `arn:aws:s3:::${server.bucket}`, prefix, kmsKeyArn: undefined });
  const Statement = policy.Statement.filter((statement) => !("Sid" in statement && statement.Sid === neverReplace));
  return startSession(server, { ...policy, Statement }, proxy.endpoint);
};

const newPrefix = () => `studio-${randomBytes(4).toString("hex")}`;
const storeOf = (prefix: string) => `s3://${server.bucket}/${prefix}`;

function packTo(store: string, settings: StoreSettings, told: string[] = [], name = "studio") {
  const environment = makeEnvironment(join(folder.path, name), {
    "venv/lib/python3.11/site-packages/library.so": randomBytes(20_000_000),
  });
  const request = { environment, models: "included" as const, store, settings, plugins: [] };
  const progress = (text: string) => void told.push(text);
  return pack({ ...request, index: join(folder.path, `${name}-index`), progress });
}

const keysBelow = async (prefix: string): Promise<readonly string[]> => {
  const { Contents = [] } = await server.client.listObjectsV2({ Bucket: server.bucket, Prefix: prefix });
  return Contents.map(({ Key = "" }) => Key);
};

/** What a request comes to: `allowed`, or the code of the refusal. */
const outcome = (request: Promise<unknown>): Promise<string> =>
  request.then(
    () => "allowed",
    // An answer to HEAD has no code.
    (error: { name: string; $metadata?: { httpStatusCode?: number } }) =>
      error.$metadata?.httpStatusCode === 403 ? "AccessDenied" : error.name,
  );

describe("a packer", () => {
  test("does its whole job: packs, packs what changed, lists, verifies and restores", async () => {
    const prefix = newPrefix();
    const { settings } = await session("pack", prefix);
    const told: string[] = [];

    const first = await packTo(storeOf(prefix), settings, told);
    writeFiles(join(folder.path, "studio"), { "ComfyUI/new.txt": "new" });
    const environment = { root: join(folder.path, "studio"), layout: first.head.layout };
    const second = await pack({
      environment,
      models: "included",
      store: storeOf(prefix),
      settings,
      plugins: [],
      index: join(folder.path, "studio-index"),
    });

    expect(second.bytesStored).toBeLessThan(100_000);
    expect(await listSnapshots(storeOf(prefix), undefined, settings)).toHaveLength(2);
    expect((await verify({ reference: second.reference, deep: true, settings })).problems).toEqual([]);
    await restore({ reference: first.reference, target: join(folder.path, "restored"), settings });
    expect(told.filter((text) => /left behind|denied|trying again/i.test(text))).toEqual([]);
    expect((await keysBelow(prefix)).filter((key) => key.includes("/probes/"))).toEqual([]);
  });

  test("writes in parts what is large, and ends an upload that comes to nothing", async () => {
    const prefix = newPrefix();
    const { settings, client } = await session("pack", prefix);
    const sizes = { multipartFrom: 6_000_000, part: 5 * 1024 * 1024 };
    const store = new S3Store(storeOf(prefix), settings, {}, sizes);
    const content = randomBytes(12_000_000);

    expect(await store.create("packs/01", [content])).toBe(true);
    expect(await store.create("packs/01", [content])).toBe(false);

    const target = { Bucket: server.bucket, Key: `${prefix}/packs/02` };
    const { UploadId } = await client.createMultipartUpload(target);
    expect(await outcome(client.abortMultipartUpload({ ...target, UploadId }))).toBe("allowed");
  });

  test("deletes nothing of a snapshot, one object or several at once, and nothing that it wrote itself", async () => {
    const prefix = newPrefix();
    const { settings, client } = await session("pack", prefix);
    await packTo(storeOf(prefix), settings);
    const keys = await keysBelow(prefix);
    expect(new Set(keys.map((key) => key.split("/")[1]))).toEqual(new Set(["ids", "packs", "snapshots"]));

    for (const Key of keys) {
      expect(await outcome(client.deleteObject({ Bucket: server.bucket, Key })), Key).toBe("AccessDenied");
    }
    const { Errors = [], Deleted = [] } = await client.deleteObjects({
      Bucket: server.bucket,
      Delete: { Objects: keys.map((Key) => ({ Key })) },
    });

    expect(Deleted).toEqual([]);
    expect(Errors.map(({ Code }) => Code)).toEqual(keys.map(() => "AccessDenied"));
    expect(await keysBelow(prefix)).toEqual(keys);
    expect(await outcome(client.deleteBucket({ Bucket: server.bucket }))).toBe("AccessDenied");
  });
});

describe("a reader", () => {
  test("does its whole job: lists, looks at, verifies and restores", async () => {
    const prefix = newPrefix();
    const { reference } = await packTo(storeOf(prefix), (await session("pack", prefix)).settings);
    const { settings } = await session("read", prefix);

    const listed = await listSnapshots(storeOf(prefix), undefined, settings);
    expect(listed.map((snapshot) => snapshot.reference)).toEqual([reference]);
    expect((await verify({ reference, deep: true, settings })).problems).toEqual([]);
    const target = join(folder.path, "restored");
    await restore({ reference, target, location: join(folder.path, "studio"), settings });
    const files = (root: string) => Object.entries(describeTree(root)).map(([path, { content }]) => [path, content]);
    expect(files(target)).toEqual(files(join(folder.path, "studio")));
  });

  test("is told that a snapshot is missing, as whoever may list the whole bucket is", async () => {
    const prefix = newPrefix();
    const { settings } = await session("read", prefix);

    const reference = `${storeOf(prefix)}#sha256:${"0".repeat(64)}`;
    await expect(readHead(reference, settings)).rejects.toBeInstanceOf(SnapshotNotFoundError);
  });

  test("who may not list either is told which right is missing, not that a snapshot is", async () => {
    const Statement = [{ Effect: "Allow", Action: ["s3:GetObject"], Resource: `arn:aws:s3:::${server.bucket}/*` }];
    const { settings } = await startSession(server, { Version: "2012-10-17", Statement }, proxy.endpoint);

    const reference = `${storeOf(newPrefix())}#sha256:${"0".repeat(64)}`;
    await expect(readHead(reference, settings)).rejects.toThrow(/AccessDenied.*s3:GetObject/);
  });

  test("writes nothing, neither whole nor in parts, and deletes nothing, no probe either", async () => {
    const prefix = newPrefix();
    await packTo(storeOf(prefix), (await session("pack", prefix)).settings);
    await server.client.putObject({ Bucket: server.bucket, Key: `${prefix}/probes/01`, Body: "left" });
    const keys = await keysBelow(prefix);
    const { client, settings } = await session("read", prefix);

    for (const Key of [...keys, `${prefix}/packs/new`, `${prefix}/probes/new`]) {
      const target = { Bucket: server.bucket, Key };
      expect(await outcome(client.putObject({ ...target, Body: "other" })), `put ${Key}`).toBe("AccessDenied");
      expect(await outcome(client.createMultipartUpload(target)), `upload ${Key}`).toBe("AccessDenied");
      expect(await outcome(client.deleteObject(target)), `delete ${Key}`).toBe("AccessDenied");
    }
    await expect(packTo(storeOf(prefix), settings, [], "other")).rejects.toThrow(/s3:PutObject/);
    expect(await keysBelow(prefix)).toEqual(keys);
  });
});

describe.each(["read", "pack"] as const)("whoever may %s below one prefix", (access) => {
  test("reaches no other one: neither its objects nor their names, although they begin alike", async () => {
    const prefix = newPrefix();
    const neighbour = `${prefix}2`;
    const Bucket = server.bucket;
    for (const Key of [`${neighbour}/packs/01`, "top"]) {
      await server.client.putObject({ Bucket, Key, Body: "somebody's" });
    }
    const { client } = await session(access, prefix);

    for (const Key of [`${neighbour}/packs/01`, `${neighbour}/probes/01`, `${prefix}`, "top", "probes/01"]) {
      expect(await outcome(client.getObject({ Bucket, Key })), `get ${Key}`).toBe("AccessDenied");
      expect(await outcome(client.headObject({ Bucket, Key })), `head ${Key}`).toBe("AccessDenied");
      expect(await outcome(client.putObject({ Bucket, Key, Body: "other" })), `put ${Key}`).toBe("AccessDenied");
      expect(await outcome(client.deleteObject({ Bucket, Key })), `delete ${Key}`).toBe("AccessDenied");
    }
    for (const Prefix of [undefined, "", prefix, neighbour, `${neighbour}/`]) {
      expect(await outcome(client.listObjectsV2({ Bucket, ...(Prefix === undefined ? {} : { Prefix }) })), Prefix).toBe(
        "AccessDenied",
      );
    }
    expect(await outcome(client.listObjectsV2({ Bucket, Prefix: `${prefix}/` }))).toBe("allowed");
  });

  test("changes nothing of the bucket itself", async () => {
    const { client } = await session(access, "");
    const Bucket = server.bucket;

    const Policy = JSON.stringify({ Version: "2012-10-17", Statement: [] });
    expect(await outcome(client.putBucketPolicy({ Bucket, Policy }))).toBe("AccessDenied");
    const VersioningConfiguration = { Status: "Enabled" } as const;
    expect(await outcome(client.putBucketVersioning({ Bucket, VersioningConfiguration }))).toBe("AccessDenied");
    expect(await outcome(client.deleteBucketLifecycle({ Bucket }))).toBe("AccessDenied");
  });
});

test("a store that is the whole bucket is packed to and read by those who may only do that", async () => {
  const store = `s3://${server.bucket}`;
  const { reference } = await packTo(store, (await session("pack", "")).settings);

  await restore({ reference, target: join(folder.path, "restored"), settings: (await session("read", "")).settings });
});

test("the policy of a bucket refuses whoever comes without TLS, also to what everybody may read", async () => {
  const Bucket = "open-bucket";
  await server.client.createBucket({ Bucket });
  await server.client.putObject({ Bucket, Key: "packs/01", Body: "content" });
  const arn = `arn:aws:s3:::${Bucket}`;
  const open = { Effect: "Allow", Principal: "*", Action: ["s3:GetObject"], Resource: [`${arn}/*`] };
  // MinIO does not know the version of TLS.
  const [withoutTls] = tlsOnly(arn).Statement.filter((statement) =>
    JSON.stringify(statement).includes("SecureTransport"),
  );
  const read = async (...Statement: unknown[]) => {
    const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
    await server.client.putBucketPolicy({ Bucket, Policy });
    return (await fetch(`${server.endpoint}/${Bucket}/packs/01`)).status;
  };

  expect(await read(open)).toBe(200);
  expect(await read(open, withoutTls)).toBe(403);
});
