import { execFileSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fingerprintIn, idleStoppedAnnotation, type WorkstationFingerprint } from "../../runtime/deployment";
import { defaultLayout } from "../../runtime/environment";
import { pack } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { giveToPods, makeClaim, makeVolume } from "../support/claim-folder";
import { images, onLab, openCluster, type TestCluster, unlessGone } from "../support/cluster";
import { useKubernetesPlugin } from "../support/kubernetes-plugin-path";
import { PulumiProject, stepsOf } from "../support/pulumi-project";
import { keys, type S3Server } from "../support/s3-servers";
import { workingPlugin } from "../support/stand-in-plugins";
import { setPlugin } from "../support/supervisor-environment";

/* The whole life of a workstation through the real engine, on claims of the lab whose folders are this machine's. */

const program = `
const { readFileSync } = require("node:fs");
const { DevWorkstation, kubernetes, claim } = require("pulumi-comfyui");
const { platform, environment, name = "studio", ...args } = JSON.parse(readFileSync("declaration.json", "utf8"));
const workstation = new DevWorkstation(name, { platform: kubernetes(platform), environment: claim(environment), ...args });
module.exports = { url: workstation.url };
`;

let cluster: TestCluster;
let project: PulumiProject;
let s3: S3Server;

beforeAll(async () => {
  useKubernetesPlugin();
  cluster = await openCluster("workstation");
  project = PulumiProject.create({ program, name: "workstation-test" });
  s3 = await cluster.s3Server("versitygw");
});

afterAll(async () => {
  await project?.destroy();
  await project?.[Symbol.asyncDispose]();
  await s3?.stop();
  await cluster?.close();
});

function declare(more: object, environment: object = { name: "given" }): void {
  const platform = {
    kubeconfig: cluster.kubeconfig,
    namespace: cluster.namespace,
    pod: { image: images.comfyui, agentImage: images.node, gpus: 0, storeCredentials: "store" },
  };
  const timeouts = { startTimeout: "3m", stopTimeout: "2m" };
  writeFileSync(
    join(project.folder, "declaration.json"),
    JSON.stringify({ platform, environment, ...timeouts, ...more }),
  );
}

/** An environment whose interpreter is that of the image. */
function fillByHand(folder: string): void {
  project.makeEnvironment({ working: workingPlugin });
  cpSync(project.environment, folder, { recursive: true, verbatimSymlinks: true });
  const venv = join(folder, defaultLayout.dependencies);
  rmSync(venv, { recursive: true });
  execFileSync("/usr/bin/python3", ["-m", "venv", "--without-pip", venv]);
  giveToPods(folder);
}

const name = "studio-workstation";

async function told(): Promise<V1ConfigMap | undefined> {
  return cluster.core.readNamespacedConfigMap({ name, namespace: cluster.namespace }).catch(unlessGone);
}

function untilFingerprint(what: string, condition: (fingerprint: WorkstationFingerprint) => boolean) {
  let seen = "";
  return waitFor({
    what: `the fingerprint: ${what}`,
    deadline: 120_000,
    interval: 250,
    look: async () => {
      const data = (await told())?.data;
      seen = JSON.stringify(data);
      const fingerprint = fingerprintIn(data);
      return fingerprint !== null && condition(fingerprint) ? fingerprint : undefined;
    },
    seen: () => seen,
  });
}

async function deployment() {
  return cluster.apps.readNamespacedDeployment({ name, namespace: cluster.namespace });
}

async function pods(): Promise<readonly string[]> {
  const labelSelector = "app.kubernetes.io/component=workstation";
  const { items } = await cluster.core.listNamespacedPod({ namespace: cluster.namespace, labelSelector });
  return items.map(({ metadata }) => metadata?.name ?? "");
}

/** Runs Node.js in the agent's container, which has no shell: with fetch, to ComfyUI as the Service reaches it. */
async function inPod(script: string): Promise<string> {
  const [pod = ""] = await pods();
  const { code, stdout, stderr } = await cluster.exec(pod, ["node", "-e", script], "agent");
  if (code !== 0) throw new Error(`in ${pod}: ${stderr}`);
  return stdout.trim();
}

async function queueWaiting(file: string): Promise<void> {
  const prompt = { "1": { class_type: "TestWait", inputs: { file } } };
  const body = JSON.stringify(JSON.stringify({ prompt }));
  const status = await inPod(
    `fetch("http://127.0.0.1:8190/prompt", { method: "POST", headers: { "content-type": "application/json" }, body: ${body} }).then(({ status }) => console.log(status))`,
  );
  expect(status).toBe("200");
}

describe.runIf(onLab)("a workstation on a claim that is there", () => {
  let folder: string;

  beforeAll(async () => {
    folder = await makeClaim(cluster, "given");
    fillByHand(folder);
    const credentials = {
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    };
    await cluster.create({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "store" },
      stringData: credentials,
    } as object);
  });

  it("is told what is wrong with it at preview", async () => {
    declare({ idleStop: "soon" }, { name: "missing" });
    const missing = await project.preview();
    expect(missing.output).toMatch(/environment\.name: the namespace \S+ of .* has no claim "missing"/);
    expect(missing.output).toContain("idleStop");
    declare({}, { size: "lots", storageClass: "none" });
    const quantities = await project.preview();
    expect(quantities.output).toContain('"lots" is no quantity');
    declare({}, { size: "1Gi", storageClass: "none" });
    expect((await project.preview()).output).toMatch(/has no storage class "none"; it has .*lab/);
  });

  it("starts, answers at its address, and tells what the claim holds", async () => {
    declare({});
    await project.mustUp();

    expect(await inPod(`fetch("http://${name}:8188/system_stats").then(({ status }) => console.log(status))`)).toBe(
      "200",
    );
    const { plugins, running } = await untilFingerprint("with its plugins", (found) => found.plugins !== null);
    expect(running).toBe(true);
    expect(plugins).toMatchObject([
      { name: "working", state: "loaded", classes: expect.arrayContaining(["TestWait"]) },
    ]);
    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
  });

  it("gives ComfyUI neither the token nor the store's credentials", async () => {
    const [pod = ""] = await pods();
    const script =
      "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'), 'AWS_ACCESS_KEY_ID' in os.environ)";
    const { stdout } = await cluster.exec(pod, ["/usr/bin/python3", "-c", script], "comfyui");
    expect(stdout).toBe("False False\n");
  });

  it("tells of a plugin that was added", async () => {
    const { summary } = await untilFingerprint("as it is", () => true);
    setPlugin({ root: folder, layout: defaultLayout }, "added", workingPlugin);
    giveToPods(folder);
    const after = await untilFingerprint("with the plugin", (found) => "added" in found.pluginHashes);
    expect(after.summary.id).not.toBe(summary.id);
  });

  it("is started anew when what it is started with changes, and told so once", async () => {
    const [before] = await pods();
    declare({ environmentVariables: { MARK: "here" } });
    await project.mustUp();
    const now = await pods();
    expect(now).toHaveLength(1);
    expect(now).not.toContain(before);
    const { stdout } = await cluster.exec(now[0] ?? "", ["/usr/bin/env"], "comfyui");
    expect(stdout).toContain("MARK=here");
    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
    const { plugins } = await untilFingerprint(
      "with the added plugin's record",
      (found) => found.plugins?.length === 2,
    );
    expect(plugins?.map(({ name: plugin }) => plugin)).toEqual(["added", "working"]);
  });

  it("is stopped after its running prompt, and its last word is what the claim holds", async () => {
    const go = join(folder, "go");
    await queueWaiting("/comfyui/environment/go");
    declare({ environmentVariables: { MARK: "here" }, state: "stopped" });
    const stopping = project.start("up", "--yes", "--skip-preview");
    await waitFor({
      what: "the pod to be told to go",
      deadline: 60_000,
      look: async () => ((await deployment()).spec?.replicas === 0 ? true : undefined),
    });
    const stillThere = await waitFor({
      what: "the agent to say that it stops",
      deadline: 60_000,
      look: async () => {
        const status = JSON.parse((await told())?.data?.["status.json"] ?? "{}");
        return status.phase === "stopping" && /1 prompt left/.test(status.detail) ? status : undefined;
      },
    });
    expect(stillThere.queueRemaining).toBe(1);
    expect(await pods()).toHaveLength(1);
    writeFileSync(go, "");
    const { code, output } = await stopping.ended;
    expect(code, output).toBe(0);

    expect(await pods()).toEqual([]);
    expect(await untilFingerprint("the last", () => true)).toMatchObject({ running: false, scanning: false });
    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
  });

  it("stops itself when nobody uses it, which no further update takes back; changed to running again it starts", async () => {
    declare({ idleStop: "5s" });
    await project.mustUp();
    await waitFor({
      what: "it to stop itself",
      deadline: 120_000,
      look: async () => ((await deployment()).spec?.replicas === 0 && (await pods()).length === 0 ? true : undefined),
    });
    expect((await told())?.metadata?.annotations?.[idleStoppedAnnotation]).toMatch(/^\d{4}-/);

    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
    // What it is started with may change meanwhile.
    declare({ idleStop: "10m" });
    const changed = await project.mustUp();
    expect(stepsOf(changed)).toMatchObject({ update: expect.any(Number) });
    expect((await deployment()).spec?.replicas).toBe(0);

    declare({ idleStop: "10m", state: "stopped" });
    await project.mustUp();
    declare({ idleStop: "10m" });
    await project.mustUp();
    expect(await pods()).toHaveLength(1);
    await waitFor({
      what: "the note that it had stopped itself to be gone",
      deadline: 60_000,
      look: async () =>
        (await told())?.metadata?.annotations?.[idleStoppedAnnotation] === undefined ? true : undefined,
    });
  });

  it("is refused to another stack, with its owner's name", async () => {
    const other = project.withStack("other");
    const { code, output } = await other.up();
    expect(code).not.toBe(0);
    expect(output).toMatch(
      /workstation studio in the namespace \S+ is owned by organization\/workstation-test\/test since/,
    );
  });

  it("goes without a trace, but for the claim", async () => {
    const { code, output } = await project.destroy();
    expect(code, output).toBe(0);
    expect(await left()).toEqual(["PersistentVolumeClaim/given", "Secret/store"]);
    expect(existsSync(join(folder, "ComfyUI/main.py"))).toBe(true);
  });
});

describe.runIf(onLab)("a workstation with a claim of its own", () => {
  it("is filled from a snapshot, fails with the cause named when it cannot be, and takes its claim with it", async () => {
    // A volume that a claim of this class finds.
    const volume = `own-${cluster.namespace}`;
    const folder = await makeVolume(cluster, volume);
    const environment = join(project.folder, "packed");
    project.makeEnvironment({ working: workingPlugin }, environment);
    rmSync(join(environment, "venv"), { recursive: true });
    execFileSync("/usr/bin/python3", ["-m", "venv", "--without-pip", join(environment, "venv")]);
    const settings = { region: "us-east-1", endpoint: s3.endpoint, pathStyle: true };
    const { reference } = await pack({
      environment: { root: environment, layout: defaultLayout },
      models: "referenced",
      store: `s3://${s3.bucket}/store`,
      settings: { ...settings, credentials: keys },
      plugins: [],
    });
    const own = { size: "1Gi", storageClass: cluster.lab.storageClass };
    Object.assign(process.env, {
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    });

    declare({}, own);
    const empty = await project.up();
    expect(empty.code).not.toBe(0);
    expect(empty.output).toContain("the claim has no complete environment: ComfyUI/main.py is missing");

    declare({ from: { reference, store: settings } }, own);
    await project.mustUp();
    expect(readdirSync(folder)).toContain("ComfyUI");
    const { summary } = await untilFingerprint("of the snapshot", (found) => found.plugins !== null);
    expect(summary.plugins).toHaveProperty("working");

    declare({ from: { reference, store: settings } }, { ...own, storageClass: "other" });
    expect((await project.preview()).output).toMatch(/storageClass: is "lab" of the claim studio-environment/);

    const { code, output } = await project.destroy();
    expect(code, output).toBe(0);
    expect(await left()).toEqual(["PersistentVolumeClaim/given", "Secret/store"]);
  });
});

/** What of a workstation's kinds the namespace has. */
async function left(): Promise<readonly string[]> {
  const { namespace, core, apps } = cluster;
  const lists = {
    PersistentVolumeClaim: core.listNamespacedPersistentVolumeClaim({ namespace }),
    ConfigMap: core.listNamespacedConfigMap({ namespace }),
    Secret: core.listNamespacedSecret({ namespace }),
    ServiceAccount: core.listNamespacedServiceAccount({ namespace }),
    Service: core.listNamespacedService({ namespace }),
    Pod: core.listNamespacedPod({ namespace }),
    Deployment: apps.listNamespacedDeployment({ namespace }),
    ReplicaSet: apps.listNamespacedReplicaSet({ namespace }),
  };
  const found = await Promise.all(
    Object.entries(lists).map(async ([kind, list]) =>
      (await list).items.map(({ metadata }) => `${kind}/${metadata?.name}`),
    ),
  );
  const clusters = new Set(["ConfigMap/kube-root-ca.crt", "ServiceAccount/default"]);
  return found
    .flat()
    .filter((object) => !clusters.has(object))
    .sort();
}
