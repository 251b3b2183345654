import {
  existsSync,
  lutimesSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type PackedSnapshot, pack } from "../../runtime/snapshot";
import { longestSilence } from "../../runtime/snapshot/presence";
import { TestPod } from "../support/agent-pod";
import type { Started } from "../support/agent-processes";
import { type FaultyProxy, startFaultyProxy } from "../support/s3-faults";
import { keys, type S3Server, startS3Server } from "../support/s3-servers";
import { workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment } from "../support/supervisor-environment";
import { until } from "../support/supervisor-platform";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("agents of different containers take root: they run in one space of process numbers");

/** Restores are kept only where a tenth of a disk stays free, which that of who runs the tests may not have. */
const memory = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

let folder: string;
let cache: string;
let environment: EnvironmentLocation;
let server: S3Server;
let proxy: FaultyProxy;
let packed: PackedSnapshot;
let pods: TestPod[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "agent-node-cache-test-"));
  // Its program is among the user's caches.
  server = await startS3Server("versitygw");
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  proxy = await startFaultyProxy(server.endpoint);
  environment = makeEnvironment(join(folder, "studio"), { working: workingPlugin });
  packed = await packIt();
});
afterAll(async () => {
  await proxy?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  cache = mkdtempSync(join(memory, "agent-node-cache-"));
  proxy.forget();
});
afterEach(async () => {
  proxy.plan = () => undefined;
  await Promise.all(pods.map((pod) => pod.remove()));
  pods = [];
  rmSync(cache, { recursive: true, force: true });
});

function packIt(): Promise<PackedSnapshot> {
  const store = `s3://${server.bucket}/snapshots`;
  return pack({ environment, store, settings: server.settings, models: "referenced", plugins: [] });
}

/** A pod on the node that has the cache. */
async function makePod(): Promise<TestPod> {
  const pod = await TestPod.make(mkdtempSync(join(folder, "pod-")), packed.reference, {
    store: { endpoint: proxy.endpoint, region: "us-east-1", pathStyle: true },
    nodeCache: { folder: cache, keep: 2 },
  });
  pods.push(pod);
  return pod;
}

function startAgent(pod: TestPod): Started {
  const environment = { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey };
  return pod.startAgent({}, { environment, inContainer: isRoot });
}

const contentReads = () => proxy.seen.filter(({ method, url }) => method === "GET" && url.includes("/packs/")).length;
const isContent = ({ url }: { readonly url: string }) => url.includes("/packs/");
const main = join("ComfyUI", "main.py");

/** As if what was killed had been silent for longer than one who lives. */
function fallSilent(): void {
  const then = (Date.now() - longestSilence - 1000) / 1000;
  for (const name of readdirSync(cache)) if (name.endsWith(".present")) lutimesSync(join(cache, name), then, then);
}

it("a second instance on a node, and one that comes back there, read nothing of the environment from the bucket", async () => {
  const first = startAgent(await makePod());
  await pods[0]?.untilStarted();
  expect(contentReads()).toBeGreaterThan(0);
  expect(first.output()).toContain("restored into the node's cache of restores");
  proxy.forget();

  for (const what of ["second", "come back"]) {
    const pod = await makePod();
    const agent = startAgent(pod);
    await pod.untilStarted();

    expect(agent.output(), what).toContain("restored from the node's cache of restores");
    const [here, there] = [join(pod.environment, main), join(cache, packed.digest, main)];
    expect(readFileSync(here).equals(readFileSync(join(environment.root, main)))).toBe(true);
    expect(statSync(here).ino === statSync(there).ino).toBe(false);
    expect(pod.read<{ remarks: string[] }>("agent/restored.json")?.remarks.join()).toContain("without the store");
  }
  expect(contentReads()).toBe(0);
});

it("instances that start on a node at once read the environment once", async () => {
  startAgent(await makePod());
  await pods[0]?.untilStarted();
  const once = contentReads();
  rmSync(cache, { recursive: true });
  proxy.forget();

  const both = [await makePod(), await makePod(), await makePod()];
  const agents = both.map(startAgent);
  await Promise.all(both.map((pod) => pod.untilStarted()));

  expect(contentReads()).toBe(once);
  expect(
    agents.filter((agent) => agent.output().includes("cache of restores") && agent.output().includes(" first")),
  ).toHaveLength(1);
  expect(readdirSync(cache)).toEqual([packed.digest]);
});

it("an agent that is killed while it fills the cache holds others up until it has been silent, and leaves nothing", async () => {
  proxy.plan = (seen) => (isContent(seen) ? { kind: "stall", at: 1000 } : undefined);
  const killed = startAgent(await makePod());
  await until("the cache to be filled", () => readdirSync(cache).some((name) => name.endsWith(".partial")));
  const pod = await makePod();
  const agent = startAgent(pod);
  await pod.untilStatus("waiting", ({ detail }) => detail.startsWith("waiting for another pod of this node"));
  proxy.plan = () => undefined;

  killed.signal("SIGKILL");
  await killed.ended;
  fallSilent();
  await pod.untilStarted();

  expect(agent.output()).toContain("restored into the node's cache of restores");
  expect(readdirSync(cache)).toEqual([packed.digest]);
});

it("an agent that is killed while it copies is replaced by one that goes on from the cache", async () => {
  startAgent(await makePod());
  await pods[0]?.untilStarted();
  const pod = await makePod();
  const killed = startAgent(pod);
  await until("the environment to come", () => existsSync(join(pod.environment, "ComfyUI")));
  killed.signal("SIGKILL");
  await killed.ended;
  fallSilent();
  proxy.forget();

  startAgent(pod);
  await pod.untilStarted();

  expect(contentReads()).toBe(0);
  expect(readFileSync(join(pod.environment, main)).equals(readFileSync(join(environment.root, main)))).toBe(true);
});

it("what has become of the cache reaches no instance, is told, and is made anew", async () => {
  startAgent(await makePod());
  await pods[0]?.untilStarted();
  const path = join(cache, packed.digest, main);
  const { atime, mtime } = statSync(path);
  const bytes = readFileSync(path);
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  utimesSync(path, atime, mtime);
  const pod = await makePod();

  const agent = startAgent(pod);
  await pod.untilStarted();

  expect(agent.output()).toContain("is damaged: ComfyUI/main.py is not as it was restored there");
  expect(readFileSync(join(pod.environment, main)).equals(readFileSync(join(environment.root, main)))).toBe(true);
  const next = await makePod();
  const anew = startAgent(next);
  await next.untilStarted();
  expect(anew.output()).toContain("restored into the node's cache of restores");
});

it("a cache that cannot be used is told, and fails no instance", async () => {
  rmSync(cache, { recursive: true });
  writeFileSync(cache, "");
  const pod = await makePod();

  const agent = startAgent(pod);
  await pod.untilStarted();

  expect(agent.output()).toMatch(
    /cache of restores \(.*\) could not be used, so everything was read from the store: E/,
  );
});

it("an agent that is told to end while it fills the cache holds nobody up", async () => {
  proxy.plan = (seen) => (isContent(seen) ? { kind: "stall", at: 1000 } : undefined);
  const ended = startAgent(await makePod());
  await until("the cache to be filled", () => readdirSync(cache).some((name) => name.endsWith(".partial")));
  ended.signal("SIGTERM");
  expect(await ended.ended).toEqual({ code: 0, signal: null });
  proxy.plan = () => undefined;
  const pod = await makePod();

  const agent = startAgent(pod);
  await pod.untilStarted();

  expect(agent.output()).toContain("restored into the node's cache of restores");
  expect(readdirSync(cache)).toEqual([packed.digest]);
});

it("an agent that waits for another one's restore is told to end, and does", async () => {
  proxy.plan = (seen) => (isContent(seen) ? { kind: "stall", at: 1000 } : undefined);
  startAgent(await makePod());
  await until("the cache to be filled", () => readdirSync(cache).some((name) => name.endsWith(".partial")));
  const pod = await makePod();
  const agent = startAgent(pod);
  await pod.untilStatus("waiting", ({ detail }) => detail.startsWith("waiting for another pod of this node"));

  agent.signal("SIGTERM");

  expect(await agent.ended).toEqual({ code: 0, signal: null });
  expect(pod.read("fault.json")).toBeNull();
});
