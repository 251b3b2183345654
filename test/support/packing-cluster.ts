import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BatchV1Api, type V1Job, type V1Pod } from "@kubernetes/client-node";
import type { WorkstationFingerprint } from "../../runtime/deployment";
import type { EnvironmentLocation, PluginRecord } from "../../runtime/environment";
import { scan } from "../../runtime/snapshot";
import { images, openCluster, type TestCluster, unlessGone } from "./cluster";
import { HeldPort } from "./held-port";
import { PulumiProject } from "./pulumi-project";
import { keys, type S3Server } from "./s3-servers";
import { workingPlugin } from "./stand-in-plugins";
import { makeEnvironment } from "./supervisor-environment";

/** Everything that packing in a cluster needs: an environment on a claim, what its agent would say of it, and a store. */
export class PackingCluster {
  readonly batch: BatchV1Api;
  private runs = 0;

  private constructor(
    readonly cluster: TestCluster,
    readonly server: S3Server,
    readonly store: HeldPort,
    readonly environment: EnvironmentLocation,
    readonly claim: string,
  ) {
    this.batch = cluster.client(BatchV1Api);
  }

  static async open(mode: "ReadWriteOnce" | "ReadWriteOncePod" = "ReadWriteOnce"): Promise<PackingCluster> {
    const cluster = await openCluster("packing");
    const server = await cluster.s3Server("versitygw");
    const store = await HeldPort.before(server.endpoint, cluster.machineAddress);
    const volume = `${cluster.namespace}-environment`;
    const folder = await cluster.lab.addVolume(volume, 1, mode === "ReadWriteOncePod" ? { modes: [mode] } : {});
    const claim = "studio-environment";
    await cluster.create({
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: claim },
      spec: {
        accessModes: [mode],
        storageClassName: cluster.lab.storageClass,
        volumeName: volume,
        resources: { requests: { storage: "1Gi" } },
      },
    } as never);
    await cluster.create({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "store" },
      stringData: { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey },
    } as never);
    const environment = makeEnvironment(folder, { working: workingPlugin });
    namesNoFolder(join(folder, "venv"));
    const made = new PackingCluster(cluster, server, store, environment, claim);
    made.letPodsRead();
    await made.makeWorkstation(0);
    return made;
  }

  /** The Deployment of a workstation that works in the claim; its pod only holds it. */
  async makeWorkstation(replicas: 0 | 1): Promise<void> {
    const { cluster, claim } = this;
    await cluster.remove({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "studio-workstation" } });
    const labels = {
      "app.kubernetes.io/name": "comfyui",
      "app.kubernetes.io/instance": "studio",
      "app.kubernetes.io/component": "workstation",
      "app.kubernetes.io/managed-by": "pulumi-comfyui",
    };
    await cluster.create({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "studio-workstation", labels },
      spec: {
        replicas,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            terminationGracePeriodSeconds: 0,
            automountServiceAccountToken: false,
            containers: [
              {
                name: "comfyui",
                image: images.node,
                command: ["node", "-e", "setInterval(() => {}, 1e9)"],
                volumeMounts: [{ name: "environment", mountPath: "/comfyui/environment" }],
              },
            ],
            volumes: [{ name: "environment", persistentVolumeClaim: { claimName: claim } }],
          },
        },
      },
    } as never);
  }

  /** Says of the claim's content what an agent would, or something else. */
  async tell(more: Partial<WorkstationFingerprint> = {}): Promise<WorkstationFingerprint> {
    this.letPodsRead();
    const { summary, pluginHashes, remarks } = await scan({
      environment: this.environment,
      models: "referenced",
      index: join(this.environment.root, "..", `${this.cluster.namespace}.scan`),
    });
    const plugins: PluginRecord[] = Object.entries(pluginHashes).map(([name, contentHash]) => {
      return { name, contentHash, state: "loaded", classes: [`${name}Class`] };
    });
    const fingerprint: WorkstationFingerprint = {
      ...{ protocol: 1, at: new Date().toISOString(), pod: "studio-workstation-none", models: "referenced" },
      layout: this.environment.layout,
      ...{ summary, pluginHashes, plugins, remarks, running: false, scanning: false, problem: null },
      ...more,
    };
    await this.forget();
    await this.cluster.create({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "studio-workstation" },
      data: { "fingerprint.json": JSON.stringify(fingerprint) },
    } as never);
    return fingerprint;
  }

  /** As if the workstation had never started. */
  async forget(): Promise<void> {
    const { core, namespace } = this.cluster;
    await core.deleteNamespacedConfigMap({ name: "studio-workstation", namespace }).catch(unlessGone);
  }

  /** A project whose program declares a snapshot of the claim, in a store of its own. */
  project(more: { readonly storeCredentials?: string } = {}): PulumiProject {
    this.runs += 1;
    const { namespace, kubeconfig } = this.cluster;
    const pod = { agentImage: images.node, storeCredentials: more.storeCredentials ?? "store", tolerations: [] };
    const store = { url: `s3://${this.server.bucket}/run-${this.runs}`, endpoint: this.store.endpoint };
    const program = `
const { Snapshot, claim, kubernetes } = require("pulumi-comfyui");
const snapshot = new Snapshot("studio", {
  environment: claim({ name: ${JSON.stringify(this.claim)} }),
  platform: kubernetes(${JSON.stringify({ kubeconfig, namespace, pod })}),
  store: ${JSON.stringify(store)},
  packing: { timeout: "5m", resources: { requests: { cpu: "50m", memory: "128Mi" } } },
});
module.exports = { reference: snapshot.reference };
`;
    return PulumiProject.create({ program, name: `packing-${this.runs}` });
  }

  async jobs(): Promise<readonly V1Job[]> {
    return (await this.batch.listNamespacedJob({ namespace: this.cluster.namespace })).items;
  }

  /** Pods of packing Jobs. */
  async packers(): Promise<readonly V1Pod[]> {
    const { core, namespace } = this.cluster;
    const labelSelector = "app.kubernetes.io/component=packer";
    return (await core.listNamespacedPod({ namespace, labelSelector })).items;
  }

  /** Names of all that a packing Job is made of and that is still there. */
  async left(): Promise<readonly string[]> {
    const { core, namespace } = this.cluster;
    const labelSelector = "app.kubernetes.io/component=packer";
    const { items: maps } = await core.listNamespacedConfigMap({ namespace, labelSelector });
    const objects = [...(await this.jobs()), ...(await this.packers()), ...maps];
    return objects.map(({ metadata }) => metadata?.name ?? "");
  }

  async close(): Promise<void> {
    this.store.close();
    await this.server.stop();
    rmSync(join(this.environment.root, "..", `${this.cluster.namespace}.scan`), { force: true });
    await this.cluster.close();
  }

  /** Containers run as a user of their own. */
  private letPodsRead(): void {
    execFileSync("chmod", ["-R", "a+rX", this.environment.root]);
  }
}

/** Takes out of a virtual environment what names the folder it was made in, so that it is the same wherever it is mounted. */
function namesNoFolder(folder: string): void {
  const bin = join(folder, "bin");
  for (const name of readdirSync(bin)) if (/^activate/i.test(name)) rmSync(join(bin, name));
  const file = join(folder, "pyvenv.cfg");
  const lines = readFileSync(file, "utf8").split("\n");
  writeFileSync(file, lines.filter((line) => !line.startsWith("command")).join("\n"));
}
