import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type WorkstationFingerprint, workstationKeys } from "../../runtime/deployment";
import type { EnvironmentLocation } from "../../runtime/environment";
import { type Cluster, connectCluster } from "../../runtime/kubernetes";
import { listSnapshots, readHead, scan } from "../../runtime/snapshot";
import { ApiServer } from "../support/api-server";
import { PackingKubelet } from "../support/packing-kubelet";
import { PulumiProject } from "../support/pulumi-project";
import { keys, type S3Server, startS3Server } from "../support/s3-servers";
import { pluginWithClass, workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment, setPlugin } from "../support/supervisor-environment";

/*
 * Snapshots of claims through the real engine and a real API server. What the cluster would do of a Job is done by the test, with the real
 * agent; test/cluster/packing.test.ts has the same with nodes.
 */

const credentials = { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey };
const before = Object.keys(credentials).map((name) => [name, process.env[name]] as const);

let folder: string;
let api: ApiServer;
let s3: S3Server;
let cluster: Cluster;
let kubelet: PackingKubelet;
let environment: EnvironmentLocation;
let project: PulumiProject;
let number = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "cluster-snapshot-test-"));
  Object.assign(process.env, credentials);
  [api, s3] = await Promise.all([ApiServer.start(), startS3Server("versitygw")]);
});
afterAll(async () => {
  await api?.stop();
  await s3?.stop();
  rmSync(folder, { recursive: true, force: true });
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

beforeEach(async () => {
  number += 1;
  const namespace = `snapshot-${number}`;
  const kubeconfig = api.kubeconfig("admin");
  cluster = await connectCluster({ kubeconfig, namespace });
  const { core } = cluster;
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: "store" }, stringData: credentials } });
  await core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: {
      metadata: { name: "studio-environment" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
    },
  });
  await makeWorkstation();
  environment = makeEnvironment(join(folder, namespace), { working: workingPlugin });
  namesNoFolder(join(environment.root, "venv"));
  kubelet = new PackingKubelet(cluster, environment.root, credentials);
  project = PulumiProject.create({ name: `cluster-snapshot-${number}`, program: programWith(kubeconfig) });
});
afterEach(async () => {
  await kubelet.stop();
  await project[Symbol.asyncDispose]();
});

function programWith(kubeconfig: string): string {
  const pod = { storeCredentials: "store" };
  const args = JSON.stringify({ kubeconfig, namespace: cluster.namespace, pod });
  return `
const { Snapshot, claim, kubernetes } = require("pulumi-comfyui");
const snapshot = new Snapshot("studio", {
  environment: claim({ name: "studio-environment" }),
  platform: kubernetes(${args}),
  store: ${JSON.stringify({ url: storeUrl(), endpoint: s3.endpoint })},
});
module.exports = { reference: snapshot.reference };
`;
}

const storeUrl = () => `s3://${s3.bucket}/run-${number}`;

/** Takes out of a virtual environment what names the folder it was made in, so that it is the same wherever it is mounted. */
function namesNoFolder(venv: string): void {
  for (const name of readdirSync(join(venv, "bin"))) if (/^activate/i.test(name)) rmSync(join(venv, "bin", name));
  const file = join(venv, "pyvenv.cfg");
  const lines = readFileSync(file, "utf8").split("\n");
  writeFileSync(file, lines.filter((line) => !line.startsWith("command")).join("\n"));
}

/** The Deployment by which a claim's workstation is found. */
async function makeWorkstation(): Promise<void> {
  const labels = {
    "app.kubernetes.io/instance": "studio",
    "app.kubernetes.io/component": "workstation",
    "app.kubernetes.io/managed-by": "pulumi-comfyui",
  };
  const volumes = [{ name: "environment", persistentVolumeClaim: { claimName: "studio-environment" } }];
  const spec = { containers: [{ name: "comfyui", image: "comfyui" }], volumes };
  await cluster.apps.createNamespacedDeployment({
    namespace: cluster.namespace,
    body: {
      metadata: { name: "studio-workstation", labels },
      spec: { replicas: 0, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
    },
  });
}

/** Says of the claim's content what its agent would, or something else. */
async function tell(more: Partial<WorkstationFingerprint> = {}): Promise<void> {
  const index = join(folder, `${cluster.namespace}.scan`);
  const { summary, pluginHashes, remarks } = await scan({ environment, models: "referenced", index });
  const fingerprint: WorkstationFingerprint = {
    ...{ protocol: 1, at: new Date().toISOString(), pod: "studio-workstation-x", models: "referenced" },
    ...{ layout: environment.layout, summary, pluginHashes, remarks, running: false, scanning: false, problem: null },
    plugins: [{ name: "working", contentHash: pluginHashes.working ?? null, state: "loaded", classes: ["TestAddOne"] }],
    ...more,
  };
  const { core, namespace } = cluster;
  const name = "studio-workstation";
  const data = { [workstationKeys.fingerprint]: JSON.stringify(fingerprint) };
  await core.deleteNamespacedConfigMap({ name, namespace }).catch(() => undefined);
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name }, data } });
}

const reference = async () => (await project.outputs()).reference ?? "";

test("a claim's content is packed once, and again when it is another one, which the preview names", async () => {
  await tell();
  const preview = await project.preview();
  expect(preview.code, preview.output).toBe(0);
  expect(kubelet.seen).toEqual([]);
  const up = await project.mustUp();
  expect(up.output).toMatch(/packed [0-9a-f]{12}: .* new/);
  const first = await reference();
  const head = await readHead(first, s3.settings);
  expect(head.plugins).toMatchObject([{ name: "working", baseline: { state: "loaded", classes: ["TestAddOne"] } }]);
  const { items } = await cluster.batch.listNamespacedJob({ namespace: cluster.namespace });
  expect(items).toEqual([]);

  expect((await project.mustUp()).output).toContain("unchanged");
  expect(kubelet.seen).toHaveLength(1);

  setPlugin(environment, "added", pluginWithClass("Added"));
  await tell();
  expect((await project.preview()).output).toContain("+ plugin added");
  expect(kubelet.seen).toHaveLength(1);
  await project.mustUp();
  expect(await reference()).not.toBe(first);
  expect((await project.destroy()).code).toBe(0);
  expect(await listSnapshots(storeUrl(), undefined, s3.settings)).toHaveLength(2);
});

test("a snapshot is kept while nobody can say what the claim holds, and refused where there is none", async () => {
  const refused = await project.preview();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toContain("workstation studio has never started");
  await tell();
  await project.mustUp();
  const first = await reference();
  setPlugin(environment, "added", pluginWithClass("Added"));
  for (const [more, reason] of [
    [{ problem: "the disk cannot be read" }, "the disk cannot be read"],
    [{ running: true }, "ended before it could look at its claim again"],
    [{ layout: { ...environment.layout, dependencies: "venv2" } }, "layout.dependencies venv2"],
    [{ protocol: 2 as never }, "start workstation studio with this version"],
  ] as const) {
    await tell(more);
    const kept = await project.mustUp();
    expect(kept.output).toContain(reason);
    expect(kept.output).toMatch(/the earlier snapshot [0-9a-f]{12} is kept/);
    expect(await reference()).toBe(first);
  }
  expect(kubelet.seen).toHaveLength(1);
});

test("what the preview did not show is not published, and named", async () => {
  await tell();
  setPlugin(environment, "late", pluginWithClass("Late"));
  const run = await project.up();
  expect(run.code).not.toBe(0);
  expect(run.output).toContain("the environment changed between the preview and the packing");
  expect(run.output).toContain("+ plugin late");
  expect(await listSnapshots(storeUrl(), undefined, s3.settings)).toEqual([]);
});

test("what is wrong is said at preview, all of it at once", async () => {
  project.writeProgram(`
const { Snapshot, claim, kubernetes } = require("pulumi-comfyui");
const platform = (more) => kubernetes({ kubeconfig: ${JSON.stringify(api.kubeconfig("admin"))}, namespace: ${JSON.stringify(cluster.namespace)}, ...more });
new Snapshot("folder", { environment: claim({ name: "studio-environment" }), platform: platform(), store: "store" });
new Snapshot("models", { environment: claim({ name: "studio-environment" }), platform: platform(), store: "s3://bucket/studio", models: "locked" });
new Snapshot("nothing", { environment: claim({ name: "missing" }), platform: platform(), store: "s3://bucket/studio" });
new Snapshot("secret", { environment: claim({ name: "studio-environment" }), platform: platform({ pod: { storeCredentials: "none" } }), store: "s3://bucket/studio" });
new Snapshot("place", { environment: claim({ name: "studio-environment" }), store: "s3://bucket/studio" });
new Snapshot("here", { environment: "studio", platform: platform(), store: "store", packing: { timeout: "1h" } });
`);
  const { code, output } = await project.preview();
  expect(code).not.toBe(0);
  for (const problem of [
    'Snapshot "folder" store: "store" is a folder of this machine',
    'Snapshot "models" models: "locked" cannot be had of a claim',
    'Snapshot "nothing" environment.name: the namespace',
    'Snapshot "secret" platform.pod.storeCredentials:',
    'Snapshot "place" platform: does not say where the claim is',
    'Snapshot "here" platform: is for a claim',
    'Snapshot "here" packing: is for a claim',
  ]) {
    expect(output).toContain(problem);
  }
});
