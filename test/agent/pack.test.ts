import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { NotPackedMessage, PackedMessage, PackLine, PackSpec } from "../../runtime/agent";
import type { EnvironmentLocation } from "../../runtime/environment";
import { listSnapshots, readHead, restore, type Scan, scan } from "../../runtime/snapshot";
import { bundles } from "../support/agent-pod";
import { type Started, startProgram } from "../support/agent-processes";
import { keys, type S3Server, startS3Server } from "../support/s3-servers";
import { workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment } from "../support/supervisor-environment";

let folder: string;
let server: S3Server;
let environment: EnvironmentLocation;
let scanned: Scan;
let runs = 0;
const started: Started[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "agent-pack-test-"));
  // Its program is among the user's caches.
  server = await startS3Server("versitygw");
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  environment = makeEnvironment(join(folder, "studio"), { working: workingPlugin });
  scanned = await scan({ environment, models: "referenced" });
});
afterEach(async () => {
  for (const { child } of started) child.kill("SIGKILL");
  await Promise.all(started.splice(0).map(({ ended }) => ended));
});
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const storeAt = (prefix: string) => `s3://${server.bucket}/${prefix}`;

function specFor(prefix: string, more: Partial<PackSpec> = {}): PackSpec {
  const { endpoint } = server;
  return {
    environment,
    models: "referenced",
    store: storeAt(prefix),
    settings: { endpoint },
    plugins: [],
    promised: scanned.summary,
    ...more,
  };
}

interface Run extends Started {
  /** What the kubelet would find. */
  message<T>(): T;
  lines(): readonly PackLine[];
}

/** The agent with nothing of this process's environment but what a Job gives it. */
function start(spec: unknown, credentials = keys): Run {
  runs += 1;
  const root = join(folder, `run-${runs}`);
  mkdirSync(root);
  const [specFile, terminationLog] = [join(root, "pack.json"), join(root, "termination-log")];
  writeFileSync(specFile, JSON.stringify(spec));
  const args = ["--spec", specFile, "--index", join(root, "index", "scan"), "--termination-log", terminationLog];
  const env = {
    PATH: process.env.PATH,
    HOME: root,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  };
  const run = startProgram(process.execPath, [join(bundles, "agent.js"), "pack", ...args], env);
  started.push(run);
  return {
    ...run,
    message: <T>() => JSON.parse(readFileSync(terminationLog, "utf8")) as T,
    lines: () =>
      run
        .output()
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as PackLine),
  };
}

const settings = () => server.settings;

describe("the agent of a packing Job", () => {
  it("packs what the preview promised, says how far it is, and leaves the reference", async () => {
    const hash = scanned.pluginHashes.working ?? null;
    const baseline = { name: "working", contentHash: hash, state: "loaded" as const, classes: ["TestAddOne"] };
    const run = start(specFor("packed", { plugins: [baseline] }));
    expect(await run.ended, run.output()).toEqual({ code: 0, signal: null });

    const { reference, bytesAdded } = run.message<PackedMessage>();
    expect(bytesAdded).toBeGreaterThan(0);
    expect(run.lines().at(-1)?.message).toBe(`packed ${reference}`);
    const head = await readHead(reference, settings());
    expect(head.summary).toEqual(scanned.summary);
    expect(head.plugins).toEqual([{ name: "working", contentHash: hash, baseline }]);
    // It is the other container's that counts.
    expect(head.platform.glibc).toBeNull();

    const target = join(folder, "restored");
    const restored = await restore({ reference, settings: settings(), target });
    const again = await scan({ environment: restored.location, models: "referenced" });
    expect(again.summary.id).toBe(scanned.summary.id);
  });

  it("packs an environment whose interpreter is in another image", async () => {
    const root = join(folder, "elsewhere");
    cpSync(environment.root, root, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(root, "venv/pyvenv.cfg"), "home = /opt/not-here/bin\nversion = 3.11.7\n");
    const python = join(root, "venv/bin/python");
    rmSync(python);
    symlinkSync("/opt/not-here/bin/python3", python);
    const location = { ...environment, root };
    const { summary: promised } = await scan({ environment: location, models: "referenced" });

    const run = start(specFor("elsewhere", { environment: location, promised }));
    expect(await run.ended, run.output()).toEqual({ code: 0, signal: null });
    const head = await readHead(run.message<PackedMessage>().reference, settings());
    expect(head.interpreter).toContain("/opt/not-here/");
  });

  it("publishes nothing where the environment is not what was promised, and names what differs", async () => {
    const promised = {
      ...scanned.summary,
      id: "f".repeat(64),
      plugins: { ...scanned.summary.plugins, removed: "1.0" },
    };
    const run = start(specFor("promised", { promised }));
    expect(await run.ended, run.output()).toEqual({ code: 70, signal: null });
    const { reason } = run.message<NotPackedMessage>();
    expect(reason).toContain("the environment changed between the preview and the packing");
    expect(reason).toContain("- plugin removed 1.0");
    expect(await listSnapshots(storeAt("promised"), undefined, settings())).toEqual([]);
  });

  it("says that the credentials are wrong", async () => {
    const run = start(specFor("refused"), { ...keys, secretAccessKey: "another-secret-key-0123456789" });
    expect(await run.ended, run.output()).toEqual({ code: 70, signal: null });
    const { reason } = run.message<NotPackedMessage>();
    expect(reason).toContain(storeAt("refused"));
    expect(reason).toMatch(/SignatureDoesNotMatch|credentials|key/i);
    expect(run.output()).not.toContain("another-secret-key");
  });

  it("says that another run may go better where the store cannot be reached", async () => {
    const spec = specFor("unreachable", { settings: { endpoint: "http://127.0.0.1:9" } });
    const run = start(spec);
    expect(await run.ended, run.output()).toEqual({ code: 75, signal: null });
    expect(run.message<NotPackedMessage>().reason).toContain("ECONNREFUSED");
  });

  it("keeps its message to what Kubernetes keeps of it", async () => {
    const layout = { ...environment.layout, plugins: `${"ä".repeat(3_000)}/custom_nodes` };
    const run = start(specFor("long", { environment: { ...environment, layout } }));
    expect(await run.ended, run.output()).toEqual({ code: 70, signal: null });
    const message = JSON.stringify(run.message<NotPackedMessage>());
    expect(Buffer.byteLength(message)).toBeLessThanOrEqual(4096);
    expect(Buffer.byteLength(message)).toBeGreaterThan(3_500);
  });

  it("refuses what it does not understand, all of it at once", async () => {
    const run = start({ ...specFor("misunderstood"), store: "studio", models: "all" });
    expect(await run.ended, run.output()).toEqual({ code: 70, signal: null });
    const { reason } = run.message<NotPackedMessage>();
    expect(reason).toContain("store: is neither s3://bucket/prefix nor an absolute path");
    expect(reason).toContain("models:");
  });
});
