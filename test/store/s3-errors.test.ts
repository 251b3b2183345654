import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { openStore, S3Error, S3Store, type StoreSettings } from "../../runtime/store";
import { type Fault, type FaultyProxy, type Seen, startFaultyProxy } from "../support/s3-faults";
import { freePort, keys, type S3Server, startS3Server } from "../support/s3-servers";
import { temporaryFolder } from "../support/trees";

const MiB = 1024 * 1024;

let server: S3Server;
let proxy: FaultyProxy;
let folder: ReturnType<typeof temporaryFolder>;
beforeAll(async () => {
  server = await startS3Server("versitygw");
  proxy = await startFaultyProxy(server.endpoint);
});
beforeEach(() => {
  folder = temporaryFolder();
  // The SDK's chain of this test, not of the person who runs it.
  for (const name of Object.keys(process.env).filter((name) => name.startsWith("AWS_"))) vi.stubEnv(name, undefined);
  vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
  vi.stubEnv("AWS_CONFIG_FILE", join(folder.path, "config"));
  vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", join(folder.path, "credentials"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  proxy.plan = () => undefined;
  proxy.forget();
  folder.remove();
});
afterAll(async () => {
  await proxy.stop();
  await server.stop();
});

const retries = { attempts: 3, firstPause: 1, longestPause: 2 };

function newStore(settings: StoreSettings = {}, sizes = {}) {
  const location = `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;
  return new S3Store(location, { endpoint: proxy.endpoint, region: "us-east-1", retries, ...settings }, {}, sizes);
}

/** Answers as a server does that these keys have expired for, and lets all others through. */
const expiredFor =
  (accessKeyId: string, when: (seen: Seen) => boolean = () => true) =>
  (seen: Seen): Fault | undefined =>
    seen.headers.authorization?.includes(`Credential=${accessKeyId}/`) && when(seen)
      ? { kind: "answer", status: 400, code: "ExpiredToken" }
      : undefined;

function writeCredentials({ accessKeyId, secretAccessKey }: typeof keys): void {
  mkdirSync(folder.path, { recursive: true });
  const lines = ["[default]", `aws_access_key_id = ${accessKeyId}`, `aws_secret_access_key = ${secretAccessKey}`];
  writeFileSync(join(folder.path, "credentials"), `${lines.join("\n")}\n`);
}

const old = { accessKeyId: "old-access-key", secretAccessKey: "old-secret-key-9876543210" };

describe("credentials", () => {
  test("without any given, the SDK's chain finds them", async () => {
    writeCredentials(keys);
    const store = newStore();

    expect(await store.create("snapshots/01", [])).toBe(true);
  });

  test("when they expire, the chain is asked once more, also in the middle of an upload and for a look", async () => {
    writeCredentials(keys);
    const store = newStore({}, { multipartFrom: 5 * MiB, part: 5 * MiB });
    await store.create("snapshots/01", []);
    const content = randomBytes(11 * MiB);
    // The keys are renewed in the shared file once the first of them is refused.
    let renewed = false;
    const expired = expiredFor(keys.accessKeyId, ({ url }) => !renewed && url.includes("partNumber=2"));
    proxy.plan = (seen) => {
      const fault = expired(seen);
      if (fault !== undefined) renewed = true;
      return fault;
    };

    expect(await store.create("packs/ab/ab", [content])).toBe(true);
    expect(renewed).toBe(true);
    expect((await store.get("packs/ab/ab")).equals(content)).toBe(true);

    writeCredentials(old);
    const other = newStore();
    proxy.plan = (seen) => {
      const fault = expiredFor(old.accessKeyId)(seen);
      if (fault !== undefined) writeCredentials(keys);
      return fault;
    };
    expect(await other.find("snapshots/01")).toBeNull();
  });

  test("when they stay expired, the error says so and what to do, and shows none of them", async () => {
    writeCredentials(old);
    const store = newStore();
    proxy.plan = expiredFor(old.accessKeyId);

    for (const attempt of [() => store.get("snapshots/01"), () => store.find("snapshots/01")]) {
      const error: unknown = await attempt().catch((error) => error);
      expect(error).toBeInstanceOf(S3Error);
      expect((error as Error).message).toContain("the credentials have expired; sign in again");
      expect(`${(error as Error).stack}`).not.toContain(old.secretAccessKey);
    }
  });

  test("given ones that expire are not looked for elsewhere", async () => {
    writeCredentials(keys);
    const store = newStore({ credentials: old });
    proxy.plan = expiredFor(old.accessKeyId);

    await expect(store.get("snapshots/01")).rejects.toThrow("the credentials have expired");
    expect(proxy.seen).toHaveLength(1);
  });

  test("where there are none, the error says how to give some", async () => {
    await expect(newStore().get("snapshots/01")).rejects.toThrow("no usable credentials were found; set AWS_PROFILE");
  });

  test("a secret that a server repeats is not repeated in the error", async () => {
    const credentials = { ...keys, sessionToken: "session-token-of-the-test" };
    const store = newStore({ credentials });
    proxy.plan = () => ({
      kind: "answer",
      status: 403,
      code: `${credentials.secretAccessKey} and ${credentials.sessionToken}`,
    });

    const error: unknown = await store.get("snapshots/01").catch((error) => error);

    const text = `${(error as Error).stack}${JSON.stringify(error)}`;
    expect(text).toContain("***");
    for (const secret of [credentials.secretAccessKey, credentials.sessionToken]) expect(text).not.toContain(secret);
  });
});

describe("errors name bucket, operation and fix", () => {
  const answers: readonly (readonly [string, Fault, RegExp])[] = [
    [
      "access denied",
      { kind: "answer", status: 403, code: "AccessDenied" },
      /cannot (read|look at) s3:\/\/test-bucket\/.*AccessDenied.*these credentials need s3:GetObject on arn:aws:s3:::test-bucket\/.*snapshots\/01/,
    ],
    [
      "a bucket of another region",
      { kind: "answer", status: 301, code: "PermanentRedirect", headers: { "x-amz-bucket-region": "eu-west-1" } },
      /the bucket test-bucket is in eu-west-1; name it: settings.region, --region eu-west-1 or AWS_REGION/,
    ],
    [
      "a signature for another region",
      { kind: "answer", status: 400, code: "AuthorizationHeaderMalformed", headers: { "x-amz-bucket-region": "ap-1" } },
      /the bucket test-bucket is in ap-1/,
    ],
    [
      "keys that are unknown",
      { kind: "answer", status: 403, code: "InvalidAccessKeyId" },
      /the server does not know these keys/,
    ],
    [
      "a clock that is wrong",
      {
        kind: "answer",
        status: 403,
        code: "RequestTimeTooSkewed",
        headers: { date: new Date(Date.now() + 3_600_000).toUTCString() },
      },
      /this machine's clock differs from the server's by 3\d\d\d s; set it right/,
    ],
    ["anything else", { kind: "answer", status: 400, code: "SomethingNew" }, /On purpose: SomethingNew.*HTTP 400/],
  ];

  test.each(answers)("%s", async (_name, fault, text) => {
    const store = newStore({ credentials: keys });
    proxy.plan = () => fault;

    await expect(store.get("snapshots/01")).rejects.toThrow(text);
    await expect(store.find("snapshots/01")).rejects.toThrow(text);
  });

  test("a clock that is a little wrong is corrected for by the server's", async () => {
    const store = newStore({ credentials: keys });
    await store.create("snapshots/01", [Buffer.from("x")]);
    let left = 1;
    proxy.plan = () => {
      const date = new Date(Date.now() + 6 * 60_000).toUTCString();
      return left-- > 0 ? { kind: "answer", status: 403, code: "RequestTimeTooSkewed", headers: { date } } : undefined;
    };

    expect((await store.get("snapshots/01")).toString()).toBe("x");
  });

  test("a server that is not there", async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;

    await expect(newStore({ credentials: keys, endpoint }).get("snapshots/01")).rejects.toThrow(
      /tried 3 times in .*ECONNREFUSED.*nothing listens there; check the endpoint/,
    );
  });

  test("something that is no S3 server", async () => {
    const page = createServer((_request, response) => response.writeHead(404).end("<html>Not here</html>"));
    const port = await freePort();
    await new Promise<void>((resolve) => page.listen(port, "127.0.0.1", resolve));
    try {
      const store = newStore({ credentials: keys, endpoint: `http://127.0.0.1:${port}` });
      await expect(store.get("snapshots/01")).rejects.toThrow("what answers there is not S3");
      await expect(store.find("snapshots/01")).rejects.toThrow("what answers there is not S3");
    } finally {
      page.close();
    }
  });

  test("no region for AWS itself", async () => {
    const store = openStore("s3://test-bucket/x", { credentials: keys });

    await expect(store.get("snapshots/01")).rejects.toThrow(
      "name the bucket's region: settings.region, --region or AWS_REGION",
    );
  });

  test("with an endpoint, a region is not needed", async () => {
    vi.stubEnv("AWS_ENDPOINT_URL_S3", proxy.endpoint);
    const store = openStore(`s3://${server.bucket}/y`, { credentials: keys });

    expect(await store.find("snapshots/01")).toBeNull();
  });
});

test.each([
  ["s3://", "is not the name of a bucket"],
  ["s3://Upper/x", '"Upper" is not the name of a bucket'],
  ["s3://bucket//x", "has an empty segment"],
  ["s3://bucket/../x", 'has an empty segment, "." or ".."'],
  ["s3://bucket/a\nb", "has a control character"],
  [`s3://bucket/${"x".repeat(801)}`, "is longer than 800 bytes"],
])("%.40s is no store", (location, reason) => {
  expect(() => openStore(location)).toThrow(reason);
  expect(() => openStore(location)).toThrow("right is for example s3://my-bucket/comfyui");
});

test.each([
  ["localhost:9000", "is not the URL of a server"],
  ["ftp://host", "is not the URL of a server"],
  ["https://user:pass-of-the-test@host", "it holds a name or password"],
])("%s is no endpoint", (endpoint, reason) => {
  const open = () => openStore("s3://bucket/x", { endpoint });

  expect(open).toThrow(reason);
  expect(open).not.toThrow("pass-of-the-test");
});

test("a store may be a whole bucket, and a slash at the end means nothing", async () => {
  expect(openStore("s3://bucket").location).toBe("s3://bucket");
  expect(openStore("s3://bucket/a/b/").location).toBe("s3://bucket/a/b");
  const store = new S3Store(`s3://${server.bucket}`, server.settings);
  await store.create("marks/0b", []);
  const keysFound: string[] = [];
  for await (const { key } of store.list("marks/")) keysFound.push(key);
  expect(keysFound).toEqual(["marks/0b"]);
});
