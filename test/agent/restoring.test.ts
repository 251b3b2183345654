import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import type { Evidence } from "../../runtime/instance";
import { pack } from "../../runtime/snapshot";
import { incompleteMarker } from "../../runtime/snapshot/incomplete";
import { bundles, TestPod } from "../support/agent-pod";
import type { Started } from "../support/agent-processes";
import { plainHead, writeManifest } from "../support/hostile-manifest";
import { type FaultyProxy, startFaultyProxy } from "../support/s3-faults";
import { keys, type S3Server, startS3Server } from "../support/s3-servers";
import { workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment, packEnvironment } from "../support/supervisor-environment";
import { until } from "../support/supervisor-platform";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("mounting takes root: tests of agents on full disks are skipped");

let folder: string;
let environment: EnvironmentLocation;
let snapshot: string;
let server: S3Server;
let pod: TestPod;
let pods = 0;
const disks: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "agent-restoring-test-"));
  // Its program is among the user's caches.
  server = await startS3Server("versitygw");
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  environment = makeEnvironment(join(folder, "studio"), { working: workingPlugin });
  snapshot = await packEnvironment(environment);
});
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await pod.end();
  for (const disk of disks.splice(0)) execFileSync("umount", [disk]);
  await pod.remove();
});

type More = Parameters<typeof TestPod.make>[2];
async function makePod(reference = snapshot, more: More = {}): Promise<TestPod> {
  pods += 1;
  pod = await TestPod.make(join(folder, `pod-${pods}`), reference, more);
  return pod;
}

/** The evidence that an agent ends with. */
async function fault(agent: Started): Promise<Evidence> {
  expect(await agent.ended, agent.output()).toEqual({ code: 70, signal: null });
  const evidence = JSON.parse(pod.terminationMessage) as Evidence;
  expect(pod.read("fault.json")).toEqual(evidence);
  expect(await pod.code("/started")).toBe(0);
  return evidence;
}

describe("a restore that cannot succeed ends the agent with the reason, where", () => {
  it("the snapshot is damaged in its store", async () => {
    const store = join(folder, "damaged");
    cpSync(join(folder, "store"), store, { recursive: true });
    for (const name of readdirSync(join(store, "packs"), { recursive: true, encoding: "utf8" })) {
      const path = join(store, "packs", name);
      if (!lstatSync(path).isFile()) continue;
      const bytes = readFileSync(path);
      bytes.fill(0xff, 20, bytes.length - 20);
      rmSync(path);
      writeFileSync(path, bytes);
    }
    await makePod(snapshot.replace(join(folder, "store"), store));

    expect(await fault(pod.startAgent())).toMatchObject({
      instance: "r1-abcde/7d9f8-x2x4z",
      phase: "restoring",
      reason: expect.stringMatching(/damaged|does not/),
    });
    const next = pod.startAgent();
    const status = await pod.untilStatus("failed", ({ phase }) => phase === "failed");
    expect(status).toMatchObject({ started: false, ready: false, evidence: { phase: "restoring" } });
    expect(next.output()).not.toContain("looking at the snapshot");
  });

  it("the store has no such snapshot", async () => {
    await makePod(snapshot.replace(/[0-9a-f]{64}$/, "0".repeat(64)));

    expect((await fault(pod.startAgent())).reason).toContain("0000");
  });

  it("models are missing", async () => {
    const model = join(environment.root, environment.layout.models, "checkpoints", "tiny.safetensors");
    writeFileSync(model, "a model");
    const reference = await packEnvironment(environment);
    rmSync(model);
    const models = join(folder, "models");
    mkdirSync(join(models, "checkpoints"), { recursive: true });
    await makePod(reference, { models });

    const { phase, reason } = await fault(pod.startAgent());

    expect(phase).toBe("restoring");
    expect(reason).toContain(`${models} does not hold the models that the snapshot recorded`);
    expect(reason).toContain("checkpoints/tiny.safetensors is missing");
    expect(readdirSync(pod.environment)).toEqual([]);
    await pod.remove();
    writeFileSync(join(models, "checkpoints", "tiny.safetensors"), "a model");
    await makePod(reference, { models });
    pod.startAgent();
    await pod.untilStarted();
    expect(readlinkSync(join(pod.environment, environment.layout.models))).toBe(models);
  });

  it("the pod may use less of its node's disk than the environment takes", async () => {
    await makePod(snapshot, { storage: 5_000 });

    const { phase, reason } = await fault(pod.startAgent());

    expect(phase).toBe("restoring");
    expect(reason).toMatch(/the environment's files take .* and pod\.storage gives the pod 4\.9 KiB/);
    expect(readdirSync(pod.environment)).toEqual([]);
  });

  it("the node is of another kind than the snapshot", async () => {
    const platform = { ...plainHead.platform, arch: "riscv64" };
    await makePod(writeManifest(join(folder, "other-kind"), [{ ...plainHead, platform }]));

    expect((await fault(pod.startAgent())).reason).toContain(
      `made on linux/riscv64, and this node is linux/${process.arch}`,
    );
  });

  it("the environment has no interpreter", async () => {
    await makePod(
      writeManifest(join(folder, "without-python"), [
        { ...plainHead, platform: { ...plainHead.platform, arch: process.arch } },
      ]),
    );

    expect((await fault(pod.startAgent())).reason).toContain("venv/bin/python is missing, or leads to nothing");
  });

  it("the agent is told nonsense", async () => {
    await makePod();
    writeFileSync(join(pod.root, "instance.json"), JSON.stringify({ ...pod.spec, snapshot: "latest" }));

    expect((await fault(pod.startAgent())).reason).toMatch(/snapshot: is not <absolute folder or s3:/);
  });

  it.runIf(isRoot)("its disk has too little room", async () => {
    await makePod();
    mount(pod.environment, "size=64k");

    const { phase, reason } = await fault(pod.startAgent());

    expect(phase).toBe("restoring");
    expect(reason).toMatch(/\d+ KiB free, but the snapshot takes .*; make room/);
  });

  it.runIf(isRoot)("its disk fills up, which leaves room for the evidence", async () => {
    await makePod();
    // All of the pod's folders are on a node's one disk.
    mount(pod.root, "size=64m,nr_inodes=60");
    for (const path of [pod.environment, pod.own, pod.launcher]) mkdirSync(path);
    writeFileSync(join(pod.root, "instance.json"), JSON.stringify(pod.spec));

    const { reason } = await fault(pod.startAgent());

    expect(reason).toContain(`${pod.environment}: no space is left on it`);
    expect(readdirSync(pod.environment)).toEqual([]);
  });
});

it("a large environment is restored by threads, whose program lies beside the agent's, far from any package", async () => {
  const programs = join(folder, "programs");
  for (const name of ["agent.js", "snapshot-threads.js"]) cpSync(join(bundles, name), join(programs, name));
  const many = join(environment.root, "ComfyUI", "many");
  mkdirSync(many);
  for (let number = 0; number < 6000; number++) writeFileSync(join(many, `${number}.py`), `number = ${number}\n`);
  const reference = await packEnvironment(environment);
  rmSync(many, { recursive: true });
  await makePod(reference);

  pod.startAgent({}, { program: join(programs, "agent.js") });

  await pod.untilStarted();
  expect(readFileSync(join(pod.environment, "ComfyUI/many/5999.py"), "utf8")).toBe("number = 5999\n");
});

function mount(path: string, options: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]);
  disks.push(path);
}

describe("a restore from a bucket", () => {
  let proxy: FaultyProxy;
  let reference: string;
  const surroundings = {
    environment: { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey },
    inContainer: isRoot,
  };

  beforeAll(async () => {
    proxy = await startFaultyProxy(server.endpoint);
    const store = `s3://${server.bucket}/snapshots`;
    const packed = await pack({ environment, store, settings: server.settings, models: "referenced", plugins: [] });
    reference = packed.reference;
  });
  afterEach(() => {
    proxy.plan = () => undefined;
  });
  afterAll(() => proxy?.stop());

  const makeS3Pod = () =>
    makePod(reference, { store: { endpoint: proxy.endpoint, region: "us-east-1", pathStyle: true } });

  it("takes the credentials of the agent's container", async () => {
    await makeS3Pod();
    pod.startAgent({}, surroundings);

    await pod.untilStarted();

    expect(existsSync(join(pod.environment, "ComfyUI/main.py"))).toBe(true);
    expect(existsSync(join(pod.environment, incompleteMarker))).toBe(false);
    expect(readFileSync(join(pod.launcher, "start.json"), "utf8")).not.toContain(keys.secretAccessKey);
  });

  it("is tried again while the server fails, and says so", async () => {
    proxy.plan = () => ({ kind: "answer", status: 503, code: "SlowDown" });
    await makeS3Pod();
    const agent = pod.startAgent({}, surroundings);

    const status = await pod.untilStatus("a failed attempt", ({ detail }) => detail.startsWith("attempt 1 failed"));

    expect(status).toMatchObject({ phase: "restoring", started: false, evidence: null });
    expect(status.detail).toMatch(/the next one is in 1s: cannot read .*SlowDown/);
    expect(agent.output()).toContain("attempt 1 failed");
    proxy.plan = () => undefined;
    await pod.untilStarted();
  });

  it("is gone on with by the next agent, in another container, when one is killed in the middle", async () => {
    proxy.plan = ({ url }) => (url.includes("/packs/") ? { kind: "stall", at: 1000 } : undefined);
    await makeS3Pod();
    const first = pod.startAgent({}, surroundings);
    await until("the environment to be incomplete", () => existsSync(join(pod.environment, incompleteMarker)));
    first.signal("SIGKILL");
    await first.ended;
    expect(existsSync(join(pod.launcher, "start.json"))).toBe(false);
    proxy.plan = () => undefined;

    pod.startAgent({}, surroundings);

    await pod.untilStarted();
    expect(existsSync(join(pod.environment, incompleteMarker))).toBe(false);
    expect(existsSync(join(pod.environment, "ComfyUI/main.py"))).toBe(true);
  });

  it("is given up at once when the agent is told to end", async () => {
    proxy.plan = ({ url }) => (url.includes("/packs/") ? { kind: "stall", at: 1000 } : undefined);
    await makeS3Pod();
    const agent = pod.startAgent({}, surroundings);
    await until("the environment to be incomplete", () => existsSync(join(pod.environment, incompleteMarker)));

    agent.signal("SIGTERM");

    expect((await agent.ended).code).toBe(0);
    expect(pod.read("fault.json")).toBeNull();
  });
});
