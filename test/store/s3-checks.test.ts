import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStore } from "../../runtime/store";
import { startFaultyProxy } from "../support/s3-faults";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";

describe.each(s3Servers)("%s", (name) => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server(name);
  });
  afterAll(() => server.stop());

  const content = Buffer.alloc(300_000, "content of an object");
  const sha256 = createHash("sha256").update(content).digest("hex");

  test("an object whose SHA-256 the caller knows is stored with that as its check, and signed by it", async () => {
    const proxy = await startFaultyProxy(server.endpoint);
    const store = openStore(`s3://${server.bucket}/known`, { ...server.settings, endpoint: proxy.endpoint });

    const created = await store.create(`packs/${sha256.slice(0, 2)}/${sha256}`, [content], sha256);

    expect(created).toBe(true);
    const { headers } = proxy.seen.find(({ method, url }) => method === "PUT" && url.includes(sha256)) ?? {};
    expect(headers?.["x-amz-content-sha256"]).toBe(sha256);
    expect(headers?.["x-amz-checksum-sha256"]).toBe(Buffer.from(sha256, "hex").toString("base64"));
    expect((await store.get(`packs/${sha256.slice(0, 2)}/${sha256}`)).equals(content)).toBe(true);
    await proxy.stop();
  });

  test("bytes that break on their way are sent again, and ones that are not what the caller says are refused", async () => {
    const proxy = await startFaultyProxy(server.endpoint);
    const settings = { ...server.settings, endpoint: proxy.endpoint, retries: { attempts: 3, firstPause: 1 } };
    const store = openStore(`s3://${server.bucket}/broken`, settings);
    let damaged = 0;
    proxy.plan = ({ method, url }) => {
      if (method !== "PUT" || !url.includes(sha256) || damaged > 0) return undefined;
      damaged += 1;
      return { kind: "damage-request", at: 1000 };
    };

    await store.create(`packs/00/${sha256}`, [content], sha256);

    expect(damaged).toBe(1);
    expect((await store.get(`packs/00/${sha256}`)).equals(content)).toBe(true);
    const wrong = "0".repeat(64);
    // By the server, after it has got it: as often as it was sent.
    await expect(store.create(`packs/00/${wrong}`, [content], wrong)).rejects.toThrow(
      /cannot write s3:.*, tried 3 times in .*(XAmzContentSHA256Mismatch|BadDigest)/,
    );
    expect(proxy.seen.filter(({ method, url }) => method === "PUT" && url.includes(wrong))).toHaveLength(3);
    expect(await store.find(`packs/00/${wrong}`)).toBeNull();
    await proxy.stop();
  });
});
