import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { pack, restore, verify } from "../../runtime/snapshot";
import type { StoreSettings } from "../../runtime/store";
import { expectWholeStore, objectsOf, uploadsTo } from "../support/s3-contents";
import { type Fault, type FaultyProxy, type Seen, startFaultyProxy } from "../support/s3-faults";
import { keys, type S3Server, s3Servers, startS3Server } from "../support/s3-servers";
import { describeTree, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

const isPackWrite = ({ method, url }: Seen) => method === "PUT" && url.includes("/packs/");
const isEntryWrite = ({ method, url }: Seen) => method === "PUT" && url.includes("/ids/");
const isPackRead = ({ method, url }: Seen) => method === "GET" && url.includes("/packs/");
const isManifestWrite = ({ method, url }: Seen) => method === "PUT" && url.includes("/snapshots/");
const slowDown: Fault = { kind: "answer", status: 503, code: "SlowDown" };
const denied: Fault = { kind: "answer", status: 403, code: "AccessDenied" };
const expired: Fault = { kind: "answer", status: 400, code: "ExpiredToken" };

describe.each(s3Servers)("with a store on %s", (name) => {
  let server: S3Server;
  let proxy: FaultyProxy;
  let folder: ReturnType<typeof temporaryFolder>;
  let environment: EnvironmentLocation;
  let store: string;
  beforeAll(async () => {
    server = await startS3Server(name);
    proxy = await startFaultyProxy(server.endpoint);
  });
  beforeEach(() => {
    folder = temporaryFolder();
    // Cannot be compressed: enough for two packs, which are written at the same time.
    environment = makeEnvironment(at("env"), { "ComfyUI/noise.bin": randomBytes(17_500_000) });
    store = `s3://${server.bucket}/${randomBytes(6).toString("hex")}`;
    for (const name of Object.keys(process.env).filter((name) => name.startsWith("AWS_"))) vi.stubEnv(name, undefined);
    vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
    vi.stubEnv("AWS_CONFIG_FILE", at("config"));
    vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", at("credentials"));
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

  const at = (...names: string[]) => join(folder.path, ...names);
  const stays = (path: string) => path === "ComfyUI/models/checkpoints";
  const through: () => StoreSettings = () => ({
    ...server.settings,
    endpoint: proxy.endpoint,
    retries: { attempts: 4, firstPause: 1, longestPause: 4 },
  });
  const packWith = (settings: StoreSettings) =>
    pack({ environment, models: "referenced", store, settings, plugins: [], index: at("index") });
  const restoreWith = (reference: string, settings: StoreSettings) =>
    restore({ reference, target: at("restored"), location: environment.root, settings });
  const expectRestored = () =>
    expect(withoutTimes(describeTree(at("restored"), stays))).toEqual(withoutTimes(describeTree(at("env"), stays)));
  /** Nothing of a restore that failed is left. */
  const expectNoTarget = () => {
    expect(existsSync(at("restored"))).toBe(false);
    expect(readdirSync(folder.path).filter((name) => name.includes("restored"))).toEqual([]);
  };
  /** Nothing but whole objects, and no snapshot. */
  async function expectNoSnapshot(): Promise<void> {
    expect((await expectWholeStore(server, store)).snapshots).toEqual([]);
    expect(await uploadsTo(server, store)).toEqual([]);
  }

  /** Each fault for one request that fits, in their order. */
  function inTurn(faults: readonly Fault[], fits: (seen: Seen) => boolean): () => readonly Fault[] {
    const left = [...faults];
    proxy.plan = (seen) => (fits(seen) ? left.shift() : undefined);
    return () => left;
  }

  function writeCredentials({ accessKeyId, secretAccessKey }: typeof keys): void {
    const lines = ["[default]", `aws_access_key_id = ${accessKeyId}`, `aws_secret_access_key = ${secretAccessKey}`];
    writeFileSync(at("credentials"), `${lines.join("\n")}\n`);
  }

  test("a pack whose uploads are reset, cut, damaged and left unanswered stores the right bytes", async () => {
    const faults: readonly Fault[] = [
      { kind: "cut-request", at: 500_000 },
      { kind: "damage-request", at: 4_000_000 },
      { kind: "reset" },
      { kind: "lose-answer" },
      slowDown,
    ];
    const left = inTurn(faults, isPackWrite);

    const { reference } = await packWith({ ...through(), retries: { attempts: 6, firstPause: 1, longestPause: 4 } });

    expect(left()).toEqual([]);
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
    expect(await uploadsTo(server, store)).toEqual([]);
    await restoreWith(reference, server.settings);
    expectRestored();
  });

  test("an entry and a manifest whose writes are lost on their way back are there once, and the pack knows it", async () => {
    const entries: Fault[] = [{ kind: "reset" }, slowDown, { kind: "lose-answer" }];
    const manifests: Fault[] = [{ kind: "cut-request", at: 100 }, slowDown, { kind: "lose-answer" }];
    proxy.plan = (seen) => {
      if (isEntryWrite(seen)) return entries.shift();
      return isManifestWrite(seen) ? manifests.shift() : undefined;
    };

    const { reference } = await packWith(through());

    expect([...entries, ...manifests]).toEqual([]);
    expect((await expectWholeStore(server, store)).snapshots.map((each) => each.reference)).toEqual([reference]);
    expect((await objectsOf(server, store)).filter(({ key }) => key.startsWith("ids/"))).toHaveLength(1);
  });

  test("a pack that never gets an answer to a write finds that what it wrote is there", async () => {
    proxy.plan = (seen) =>
      isPackWrite(seen) || isEntryWrite(seen) || isManifestWrite(seen) ? { kind: "lose-answer" } : undefined;

    const { reference, bytesStored } = await packWith(through());

    proxy.plan = () => undefined;
    const packs = (await objectsOf(server, store)).filter(({ key }) => key.startsWith("packs/"));
    expect(bytesStored).toBe(packs.reduce((sum, { size }) => sum + size, 0));
    expect((await expectWholeStore(server, store)).snapshots.map((each) => each.reference)).toEqual([reference]);
  });

  test("a restore whose packs are cut, reset, shortened, damaged and refused on their way is right", async () => {
    const { reference } = await packWith(server.settings);
    const faults: readonly Fault[] = [
      { kind: "cut-answer", at: 300_000 },
      { kind: "reset-answer", at: 200_000 },
      { kind: "shorten-answer", at: 100_000 },
      slowDown,
      { kind: "lose-answer" },
    ];
    const left = inTurn(faults, isPackRead);

    await restoreWith(reference, { ...through(), retries: { attempts: 6, firstPause: 1, longestPause: 4 } });

    expect(left()).toEqual([]);
    expectRestored();
  });

  test("a restore from a server that is slow or falls silent ends as soon as it is right", async () => {
    const { reference } = await packWith(server.settings);
    const trickle: Fault = { kind: "trickle", piece: 100_000 };
    const left = inTurn([{ kind: "stall", at: 50_000 }, trickle, { kind: "stall", at: 0 }, trickle], isPackRead);

    await restoreWith(reference, { ...through(), timeouts: { idle: 1000 } });

    expect(left().length).toBeLessThan(3);
    expectRestored();
  });

  const damage: Fault = { kind: "damage-request", at: 99 };
  test.each([
    ["answers packs with 503", isPackWrite, slowDown, /cannot write s3:.*\/packs\/.*, tried 4 times in .*SlowDown/],
    ["resets the connections of packs", isPackWrite, { kind: "reset" }, /cannot write s3:.*\/packs\/.*, tried 4 times/],
    ["gets damaged packs", isPackWrite, damage, /cannot write s3:.*\/packs\/.*, tried 4 times in .*SHA256Mismatch/],
    [
      "may not be given packs",
      isPackWrite,
      denied,
      /cannot write s3:.*\/packs\/.*need s3:PutObject on arn:.*\/packs\//,
    ],
    ["answers the entry with 503", isEntryWrite, slowDown, /cannot write s3:.*\/ids\/.*, tried 4 times in .*SlowDown/],
    ["resets the entry's connections", isEntryWrite, { kind: "reset" }, /cannot write s3:.*\/ids\/.*, tried 4 times/],
    ["answers the manifest with 503", isManifestWrite, slowDown, /cannot write s3:.*\/snapshots\/.*, tried 4 times/],
    ["resets the manifest's", isManifestWrite, { kind: "reset" }, /cannot write s3:.*\/snapshots\/.*, tried 4 times/],
    ["gets a damaged manifest", isManifestWrite, damage, /cannot write s3:.*\/snapshots\/.*, tried 4 times in .*/],
  ] as const)(
    "a pack to a server that %s for good fails with what it could not write, and leaves no snapshot",
    async (_, fits, fault, message) => {
      proxy.plan = (seen) => (fits(seen) ? fault : undefined);

      await expect(packWith(through())).rejects.toThrow(message);

      proxy.plan = () => undefined;
      await expectNoSnapshot();
      const { reference } = await packWith(through());
      expect((await expectWholeStore(server, store)).snapshots.map((each) => each.reference)).toEqual([reference]);
    },
  );

  test("a pack that fails at one pack gives up the others that are on their way, before it says so", async () => {
    let first: string | undefined;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const held: Fault = {
      kind: "first",
      act: async () => {
        await released;
        throw new Error("reset on purpose");
      },
    };
    proxy.plan = (seen) => {
      if (!isPackWrite(seen)) return undefined;
      first ??= seen.url;
      return seen.url === first ? held : denied;
    };

    await expect(packWith(through())).rejects.toThrow(/cannot write s3:.*\/packs\/.*AccessDenied/);

    // Whoever still waited would now try again.
    release();
    await packWith(server.settings);
    expect(proxy.seen.filter(({ url }) => url === first)).toHaveLength(1);
    expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
  });

  test.each([
    ["answers 503", slowDown, /cannot read s3:.*packs.*tried 4 times.*SlowDown/],
    ["resets every connection", { kind: "reset" }, /cannot read s3:.*packs.*tried 4 times/],
    ["cuts every body before its first byte", { kind: "cut-answer", at: 0 }, /cannot read s3:.*packs.*tried 4 times/],
    ["shortens every body", { kind: "shorten-answer", at: 1000 }, /cannot read s3:.*packs|is damaged/],
    ["falls silent", { kind: "stall", at: 0 }, /cannot read s3:.*packs.*tried 4 times.*no answer within/],
  ] as const)(
    "a restore from a server that %s for good fails with what it could not read, and leaves nothing",
    async (_, fault, message) => {
      const { reference } = await packWith(server.settings);
      proxy.plan = (seen) => (isPackRead(seen) ? fault : undefined);
      const settings = { ...through(), timeouts: { idle: 300 } };

      await expect(restoreWith(reference, settings)).rejects.toThrow(message);

      expectNoTarget();
      proxy.plan = () => undefined;
      await restoreWith(reference, through());
      expectRestored();
    },
  );

  test("credentials that expire in the middle of a pack and of a restore are found anew where they were renewed", async () => {
    const { credentials: _, ...settings } = through();
    writeCredentials(keys);
    for (const fits of [isPackWrite, isEntryWrite, isManifestWrite]) {
      const left = inTurn([expired], fits);
      const { reference } = await packWith(settings);
      expect(left()).toEqual([]);
      expect((await verify({ reference, settings: server.settings, deep: true })).problems).toEqual([]);
      const unread = inTurn([expired], isPackRead);
      await restoreWith(reference, settings);
      expect(unread()).toEqual([]);
      expectRestored();
      folder.remove();
      folder = temporaryFolder();
      environment = makeEnvironment(at("env"), { "ComfyUI/noise.bin": randomBytes(17_500_000) });
      vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", at("credentials"));
      writeCredentials(keys);
    }
  });

  test.each([
    ["packs", isPackWrite],
    ["ids", isEntryWrite],
    ["snapshots", isManifestWrite],
  ] as const)(
    "credentials that expire for good once %s are written are an error that says what to do, and leave no snapshot",
    async (folder, fits) => {
      let over = false;
      proxy.plan = (seen) => {
        over ||= fits(seen);
        return over ? expired : undefined;
      };

      const error: unknown = await packWith(through()).catch((error) => error);

      proxy.plan = () => undefined;
      expect((error as Error).message).toMatch(
        new RegExp(`cannot write s3:.*/${folder}/.*; the credentials have expired; sign in again`),
      );
      expect((error as Error).message).not.toContain(keys.secretAccessKey);
      await expectNoSnapshot();
      await packWith(through());
      expect((await expectWholeStore(server, store)).snapshots).toHaveLength(1);
    },
  );

  test("credentials that expire for good in the middle of a restore are an error, and leave nothing", async () => {
    const { reference } = await packWith(server.settings);
    proxy.plan = (seen) => (isPackRead(seen) ? expired : undefined);

    await expect(restoreWith(reference, through())).rejects.toThrow("the credentials have expired; sign in again");

    expectNoTarget();
    expect((await objectsOf(server, store)).length).toBeGreaterThan(2);
  });
});
