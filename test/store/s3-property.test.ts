import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DamagedObjectError, ObjectNotFoundError, S3Error, S3Store } from "../../runtime/store";
import { type Fault, type FaultyProxy, startFaultyProxy } from "../support/s3-faults";
import { type S3Server, s3Servers, startS3Server } from "../support/s3-servers";

const at = fc.nat({ max: 70_000 });
const code = fc.constantFrom(["SlowDown", 503], ["InternalError", 500], ["RequestTimeout", 400], ["AccessDenied", 403]);

const fault: fc.Arbitrary<Fault> = fc.oneof(
  code.map(([code, status]): Fault => ({ kind: "answer", code: String(code), status: Number(status) })),
  fc.constant<Fault>({ kind: "reset" }),
  fc.constant<Fault>({ kind: "lose-answer" }),
  fc
    .tuple(
      fc.constantFrom(
        ...([
          "cut-request",
          "cut-answer",
          "reset-answer",
          "shorten-answer",
          "damage-answer",
          "damage-request",
        ] as const),
      ),
      at,
    )
    .map(([kind, at]): Fault => ({ kind, at })),
);

/** One entry for each request, in the order in which they come; nothing goes wrong with those after. */
const faults = fc.array(fc.option(fault, { nil: undefined, freq: 2 }), { maxLength: 24 });
const sizes = fc.oneof(fc.nat({ max: 10 }), fc.nat({ max: 100_000 }), fc.integer({ min: 5_300_000, max: 5_600_000 }));

describe.each(s3Servers)("before %s", (name) => {
  let server: S3Server;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    server = await startS3Server(name);
    proxy = await startFaultyProxy(server.endpoint);
  });
  afterAll(async () => {
    await proxy.stop();
    await server.stop();
  });

  const expected = (error: unknown) =>
    error instanceof S3Error || error instanceof DamagedObjectError || error instanceof ObjectNotFoundError;

  test("whatever goes wrong, an object that was reported as created is there byte by byte, or an error came", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, faults, async (size, plan) => {
        const settings = {
          ...server.settings,
          endpoint: proxy.endpoint,
          retries: { attempts: 4, firstPause: 1, longestPause: 2 },
          timeouts: { idle: 5000 },
        };
        const location = `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;
        const sizes = { multipartFrom: 5_242_880, part: 5_242_880 };
        const store = new S3Store(location, settings, { progress: () => undefined }, sizes);
        const content = randomBytes(size);
        const left = [...plan];
        proxy.plan = () => left.shift();

        const created = await store.create("packs/ab/ab", [content]).catch((error) => error);
        const read = await store.get("packs/ab/ab").catch((error) => error);

        proxy.plan = () => undefined;
        const stored = await store.get("packs/ab/ab").catch((error) => error);
        // Never a wrong object, whatever was reported of it.
        if (Buffer.isBuffer(stored)) expect(stored.equals(content)).toBe(true);
        else expect(stored).toBeInstanceOf(ObjectNotFoundError);
        if (created === true) expect(Buffer.isBuffer(stored)).toBe(true);
        // Nobody else writes there.
        else expect(created).toSatisfy(expected);
        // A whole read has the checksum that was sent with a plain write; one of parts is the engine's to verify.
        if (!Buffer.isBuffer(read)) expect(read).toSatisfy(expected);
        else if (size <= sizes.multipartFrom) expect(read.equals(content)).toBe(true);
      }),
      { numRuns: 40 },
    );
  }, 120_000);
});
