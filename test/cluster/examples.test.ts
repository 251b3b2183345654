import { randomBytes } from "node:crypto";
import { cpSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadYaml, type V1Pod } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fingerprintIn } from "../../runtime/deployment";
import { defaultLayout } from "../../runtime/environment";
import { waitFor } from "../../runtime/waiting";
import { giveToPods, makeVolume } from "../support/claim-folder";
import { runCompiled } from "../support/cli-compiled";
import { images, onLab, openCluster, type TestCluster, unlessGone } from "../support/cluster";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { useKubernetesPlugin } from "../support/kubernetes-plugin-path";
import { OpenCommand } from "../support/open-command";
import { PulumiProject, stepsOf } from "../support/pulumi-project";
import { keys, type S3Server } from "../support/s3-servers";
import { standInSource } from "../support/stand-in";
import { setPlugin } from "../support/supervisor-environment";

/* The examples as their READMEs say. What a user has, settings alone name: image, GPUs, bucket, storage class, kubeconfig. */

/** Milliseconds. */
const patience = 120_000;
const examples = resolve(__dirname, "../../examples");

let s3: S3Server;
/** Of the node with the GPUs. */
let nodes: TestCluster;
const namespaces: TestCluster[] = [];
const projects: PulumiProject[] = [];

beforeAll(async () => {
  if (!onLab) return;
  useKubernetesPlugin();
  nodes = await openCluster("examples");
  await nodes.lab.addNode(`gpu-${randomBytes(3).toString("hex")}`, { gpus: 8 });
  s3 = await nodes.s3Server("versitygw");
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey });
});

afterAll(async () => {
  for (const project of projects) await project[Symbol.asyncDispose]();
  for (const namespace of namespaces) {
    // What a test left running has nothing to finish.
    await namespace.apps.deleteCollectionNamespacedDeployment({ namespace: namespace.namespace });
    await namespace.core.deleteCollectionNamespacedPod({ namespace: namespace.namespace, gracePeriodSeconds: 0 });
    await namespace.close();
  }
  await s3?.stop();
  await nodes?.close();
});

/** A namespace with the Secret of the store's credentials. */
async function makeNamespace(name: string): Promise<TestCluster> {
  const made = await openCluster(name);
  namespaces.push(made);
  const { namespace, core } = made;
  await core.createNamespacedSecret({
    namespace,
    body: {
      metadata: { name: "store" },
      stringData: { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey },
    },
  });
  return made;
}

function copyOf(example: string, stack: string): PulumiProject {
  const project = PulumiProject.copyOf(join(examples, example), stack);
  projects.push(project);
  return project;
}

const configure = (project: PulumiProject, settings: Readonly<Record<string, string>>) =>
  project.configure(Object.fromEntries(Object.entries(settings).map(([key, value]) => [`comfyui:${key}`, value])));
const set = (project: PulumiProject, key: string, value: string) => configure(project, { [key]: value });
const unset = (project: PulumiProject, key: string) => project.unconfigure(`comfyui:${key}`);

/** Settings of every stack. */
function settingsOf({ kubeconfig, namespace }: TestCluster): Readonly<Record<string, string>> {
  return {
    ...{ kubeconfig, namespace, image: images.comfyui, agentImage: images.node, storage: "2Gi" },
    ...{ region: "us-east-1", endpoint: s3.endpoint, storeCredentials: "store" },
  };
}

/** Settings of a stack with a workstation. */
const workstationSettings = (store: string) => ({
  ...{ store: `s3://${s3.bucket}/${store}`, size: "1Gi", storageClass: nodes.lab.storageClass },
});

async function preview(project: PulumiProject): Promise<string> {
  const { code, output } = await project.preview("--diff");
  expect(code, output).toBe(0);
  return output;
}

const snapshotOf = async (project: PulumiProject) => (await project.outputs()).snapshot ?? "";
const digestOf = (reference: string) => /#sha256:[0-9a-f]{64}$/.exec(reference)?.[0] ?? "no reference";

/** Options of the command that name a namespace. */
const optionsOf = ({ namespace, kubeconfig }: TestCluster) => ["--namespace", namespace, "--kubeconfig", kubeconfig];

/** Which version of the plugin draws what is asked for through `open`. */
async function drawnBy(cluster: TestCluster, ...more: readonly string[]): Promise<string | undefined> {
  await using open = await OpenCommand.start("studio", ...more, ...optionsOf(cluster));
  const id = await submit(open.url, paint(0, randomBytes(4).toString("hex")));
  return paintedBy((await finished(open.url, id)).outputs);
}

/** As a person installs another version of the plugin in the workstation. Waits until its agent has seen it. */
async function install(cluster: TestCluster, folder: string, version: string): Promise<void> {
  setPlugin({ root: folder, layout: defaultLayout }, "painter", painter(version));
  giveToPods(folder);
  const { core, namespace } = cluster;
  let seen = "";
  await waitFor({
    what: `the workstation to tell of version ${version}`,
    deadline: patience,
    look: async () => {
      const data = (await core.readNamespacedConfigMap({ name: "studio-workstation", namespace }).catch(unlessGone))
        ?.data;
      seen = JSON.stringify(data);
      const fingerprint = fingerprintIn(data);
      return fingerprint?.summary.plugins.painter?.startsWith(`${version} `) && !fingerprint.scanning
        ? true
        : undefined;
    },
    seen: () => seen,
  });
}

/** What is left of what was made, by kind and name. */
async function left({ namespace, core, apps }: TestCluster): Promise<readonly string[]> {
  const labelSelector = "app.kubernetes.io/managed-by=pulumi-comfyui";
  const lists = {
    deployment: apps.listNamespacedDeployment({ namespace, labelSelector }),
    pod: core.listNamespacedPod({ namespace, labelSelector }),
    configmap: core.listNamespacedConfigMap({ namespace, labelSelector }),
    secret: core.listNamespacedSecret({ namespace, labelSelector }),
    claim: core.listNamespacedPersistentVolumeClaim({ namespace, labelSelector }),
    service: core.listNamespacedService({ namespace, labelSelector }),
    serviceaccount: core.listNamespacedServiceAccount({ namespace, labelSelector }),
  };
  const names: string[] = [];
  for (const [kind, list] of Object.entries(lists)) {
    for (const { metadata } of (await list).items) names.push(`${kind}/${metadata?.name}`);
  }
  return names;
}

async function destroy(project: PulumiProject): Promise<void> {
  const { code, output } = await project.destroy();
  expect(code, output).toBe(0);
}

describe.runIf(onLab)("examples/kubernetes", () => {
  let cluster: TestCluster;
  let project: PulumiProject;
  /** What is on the workstation's claim. */
  let folder: string;
  let first: string;

  beforeAll(async () => {
    cluster = await makeNamespace("studio");
    folder = await makeVolume(cluster, `environment-${cluster.namespace}`);
    project = copyOf("kubernetes", "dev");
    await configure(project, { ...settingsOf(cluster), ...workstationSettings("kubernetes") });
  });

  test("begins with an empty claim, in which an environment is built by builder.yaml's pod", async () => {
    await set(project, "workstation", "stopped");
    expect(await preview(project)).toContain("PersistentVolumeClaim");
    await project.mustUp();
    const pods = await cluster.core.listNamespacedPod({ namespace: cluster.namespace });
    expect(pods.items).toEqual([]);

    const text = readFileSync(join(project.folder, "builder.yaml"), "utf8");
    const builder = loadYaml<V1Pod>(text.replace(/image: \S+/, `image: ${images.comfyui}`));
    await cluster.create(builder);
    await cluster.readyPod("builder", patience);
    const makeVenv = ["python3", "-m", "venv", "--without-pip", "/comfyui/environment/venv"];
    const made = await cluster.exec("builder", makeVenv, "builder");
    expect(made).toMatchObject({ code: 0, stderr: "" });
    const filter = (path: string) => !path.includes("__pycache__");
    cpSync(standInSource, join(folder, "ComfyUI"), { recursive: true, filter });
    setPlugin({ root: folder, layout: defaultLayout }, "painter", painter("1"));
    giveToPods(folder);
    await cluster.remove(builder);

    await set(project, "workstation", "running");
    await preview(project);
    await project.mustUp();
    expect(await drawnBy(cluster, "--workstation")).toBe("1");
    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
  });

  test("publishes, and a second up changes nothing", async () => {
    await set(project, "publish", "true");
    expect(await preview(project)).toMatch(/painter\W+1 \(/);
    await project.mustUp();
    first = await snapshotOf(project);
    expect(first).toMatch(/^s3:\/\/test-bucket\/kubernetes#sha256:[0-9a-f]{64}$/);
    expect(await drawnBy(cluster)).toBe("1");
    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
  });

  test("publishes what changed, which the preview names, and rolls back by one line", async () => {
    await install(cluster, folder, "2");
    expect(await preview(project)).toMatch(/plugin painter 1 \S+ → 2 /);
    await project.mustUp();
    expect(await drawnBy(cluster)).toBe("2");

    // What a claim began with is no matter once there is something on it.
    await configure(project, { pin: first, from: first });
    expect(await preview(project)).toContain(digestOf(first));
    await project.mustUp();
    expect(await drawnBy(cluster)).toBe("1");
    await unset(project, "pin");
    await project.mustUp();
    expect(await drawnBy(cluster)).toBe("2");
  });

  test("goes without a trace", async () => {
    await destroy(project);
    expect(await left(cluster)).toEqual([]);
  });
});

describe.runIf(onLab)("examples/stack-per-environment", () => {
  let development: TestCluster;
  let production: TestCluster;
  let dev: PulumiProject;
  let prod: PulumiProject;
  let folder: string;
  let first: string;

  beforeAll(async () => {
    development = await makeNamespace("studio-dev");
    production = await makeNamespace("studio-prod");
    folder = await makeVolume(development, `environment-${development.namespace}`);
    dev = copyOf("stack-per-environment", "dev");
    await configure(dev, { ...settingsOf(development), ...workstationSettings("stacks") });
    prod = dev.withStack("prod");
    const devStack = "organization/pulumi-comfyui-stacks/dev";
    await configure(prod, { ...settingsOf(production), devStack });
  });

  test("dev publishes what its workstation begins with, which is a snapshot of one that a person has", async () => {
    const own = join(dev.folder, "own");
    dev.makeEnvironment({ painter: painter("1") }, own, "/usr/bin/python3");
    const store = `s3://${s3.bucket}/stacks`;
    const options = ["--store", store, "--region", "us-east-1", "--endpoint", s3.endpoint];
    const packed = await runCompiled(["pack", own, ...options], { cwd: dev.folder });
    expect(packed.code, packed.stderr).toBe(0);
    await set(dev, "from", packed.stdout.trim());

    await preview(dev);
    await dev.mustUp();
    first = await snapshotOf(dev);
    expect(first).toMatch(/^s3:\/\/test-bucket\/stacks#sha256:[0-9a-f]{64}$/);
    expect(await drawnBy(development)).toBe("1");
    expect(stepsOf(await dev.mustUp())).toEqual({ same: expect.any(Number) });
  });

  test("prod serves what dev has published, and a second up changes nothing", async () => {
    expect(await preview(prod)).toContain(digestOf(first));
    await prod.mustUp();
    expect(await snapshotOf(prod)).toBe(first);
    expect(await drawnBy(production)).toBe("1");
    expect(stepsOf(await prod.mustUp())).toEqual({ same: expect.any(Number) });
  });

  test("what dev publishes is promoted by an up in prod, and rolled back by one line", async () => {
    await install(development, folder, "2");
    await dev.mustUp();
    const second = await snapshotOf(dev);
    expect(second).not.toBe(first);
    expect(await preview(prod)).toContain(digestOf(second));
    expect(await drawnBy(production)).toBe("1");
    await prod.mustUp();
    expect(await drawnBy(production)).toBe("2");

    const history = await runCompiled(["history", "studio", "--json", ...optionsOf(production)], { cwd: prod.folder });
    const { snapshot } = JSON.parse(history.stdout).services[0].rollback;
    expect(snapshot).toBe(first);
    await set(prod, "pin", snapshot);
    // What is pinned needs nothing of dev.
    await unset(prod, "devStack");
    await prod.mustUp();
    expect(await drawnBy(production)).toBe("1");
    expect(stepsOf(await prod.mustUp())).toEqual({ same: expect.any(Number) });
  });

  test("both go without a trace", async () => {
    await destroy(prod);
    expect(await left(production)).toEqual([]);
    await destroy(dev);
    expect(await left(development)).toEqual([]);
  });
});
