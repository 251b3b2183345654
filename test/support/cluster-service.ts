import { randomBytes } from "node:crypto";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { defaultLayout } from "../../runtime/environment";
import { type Cluster, connectCluster, ServiceRecords, standingOf } from "../../runtime/kubernetes";
import { pack } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { images, openCluster, type TestCluster } from "./cluster";
import { useKubernetesPlugin } from "./kubernetes-plugin-path";
import { PulumiProject, quickHealth } from "./pulumi-project";
import type { Run } from "./run-program";
import { keys, type S3Server } from "./s3-servers";
import type { PluginSource } from "./stand-in";

const program = `
const { readFileSync } = require("node:fs");
const { DevWorkstation, OnlineService, claim, fixed, kubernetes } = require("pulumi-comfyui");
const { platform, services, workstations } = JSON.parse(readFileSync("declaration.json", "utf8"));
for (const { name, environment, ...args } of workstations) {
  new DevWorkstation(name, { platform: kubernetes(platform), environment: claim(environment), ...args });
}
for (const { name, count, ...args } of services) {
  const service = new OnlineService(name, { platform: kubernetes(platform), scaling: fixed(count), ...args });
  exports[name + "Url"] = service.url;
  exports[name + "Release"] = service.release;
}
`;

/** What a service of the program is declared with besides its snapshot. */
export interface ServiceDeclaration {
  readonly name: string;
  readonly count: number;
  readonly [argument: string]: unknown;
}

/** What a workstation of the program is declared with. */
export interface WorkstationDeclaration {
  readonly name: string;
  /** What `claim` is given. */
  readonly environment: object;
  readonly [argument: string]: unknown;
}

/** An instance as the API server tells of it. */
export interface SeenInstance {
  readonly pod: V1Pod;
  readonly release: string;
  readonly phase: string;
}

/** GPUs that the nodes of these tests have together, unless a test says otherwise. */
const gpusPerNode = 8;

/**
 * A Pulumi project whose program declares services in a namespace of the cluster, with what they need: a node with GPUs, a bucket that
 * pods reach, and an environment of the stand-in to make snapshots of.
 */
export class ClusterServices implements AsyncDisposable {
  private reference = "";
  private declared: readonly ServiceDeclaration[] = [];

  private constructor(
    readonly cluster: TestCluster,
    readonly connection: Cluster,
    readonly s3: S3Server,
    readonly project: PulumiProject,
    /** Of its nodes, which its pods ask for: tests may share a cluster. */
    private readonly labels: Readonly<Record<string, string>>,
    /** The first node with GPUs; empty where they are made otherwise. */
    readonly node: string,
  ) {}

  /** @param gpus of the node that is added; 0 for none: then pods go to any node, and `program` sees to those with GPUs. */
  static async create(name: string, { gpus = gpusPerNode, program: source = program } = {}): Promise<ClusterServices> {
    useKubernetesPlugin();
    const cluster = await openCluster(name);
    const labels: Readonly<Record<string, string>> =
      gpus === 0 ? {} : { "tests.pulumi-comfyui/pool": cluster.namespace };
    const node = gpus === 0 ? "" : await addNode(cluster, labels, gpus);
    const s3 = await cluster.s3Server("versitygw");
    process.env.AWS_ACCESS_KEY_ID = keys.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = keys.secretAccessKey;
    const { kubeconfig, namespace } = cluster;
    await cluster.core.createNamespacedSecret({
      namespace,
      body: {
        metadata: { name: "store" },
        stringData: { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey },
      },
    });
    const connection = await connectCluster({ kubeconfig, namespace });
    const project = PulumiProject.create({ program: source, name });
    return new ClusterServices(cluster, connection, s3, project, labels, node);
  }

  /** A further node with GPUs for its pods. */
  addNode(gpus: number): Promise<string> {
    return addNode(this.cluster, this.labels, gpus);
  }

  /** Makes the environment. Its interpreter has to be at the same path in the pods' image. */
  makeEnvironment(plugins: Readonly<Record<string, PluginSource>>): void {
    this.project.makeEnvironment(plugins, this.project.environment, "/usr/bin/python3");
  }

  /** Packs the environment as it is now; what is declared from then on has this snapshot. */
  async publish(): Promise<string> {
    const { s3, project } = this;
    const { reference } = await pack({
      environment: { root: project.environment, layout: defaultLayout },
      models: "referenced",
      store: `s3://${s3.bucket}/snapshots`,
      settings: s3.settings,
      plugins: [],
    });
    this.reference = reference;
    return reference;
  }

  /** Writes what the program declares: each service of the snapshot that was published last, unless it names one. */
  declare(
    services: readonly ServiceDeclaration[],
    platform: object = {},
    workstations: readonly WorkstationDeclaration[] = [],
    more: object = {},
  ): void {
    const { cluster, s3, project, reference } = this;
    const { kubeconfig, namespace } = cluster;
    const { endpoint, region } = s3.settings;
    const pod = {
      image: images.comfyui,
      agentImage: images.node,
      storage: "2Gi",
      storeCredentials: "store",
      nodeSelector: this.labels,
    };
    this.declared = services;
    project.declare({
      ...more,
      platform: { kubeconfig, namespace, pod, ...platform },
      workstations,
      services: services.map((service) => ({
        snapshot: { reference, store: { endpoint, region } },
        health: quickHealth,
        ...service,
      })),
    });
  }

  /**
   * Changes a byte in a pack that the store got with the snapshot that was published last, as a failing disk does. What is returned
   * changes it back.
   */
  async damage(packsBefore: readonly string[]): Promise<() => Promise<void>> {
    const { client, bucket: Bucket } = this.s3;
    const Key = (await this.packs()).find((pack) => !packsBefore.includes(pack));
    if (Key === undefined) throw new Error("the last snapshot added no pack to the store");
    const { Body } = await client.getObject({ Bucket, Key });
    const whole = Buffer.from((await Body?.transformToByteArray()) ?? []);
    const damaged = Buffer.from(whole);
    const at = Math.floor(damaged.length / 2);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    await client.putObject({ Bucket, Key, Body: damaged });
    return async () => {
      await client.putObject({ Bucket, Key, Body: whole });
    };
  }

  /** Keys of the store's packs in its bucket. */
  async packs(): Promise<readonly string[]> {
    const { Contents = [] } = await this.s3.client.listObjectsV2({
      Bucket: this.s3.bucket,
      Prefix: "snapshots/packs/",
    });
    return Contents.map(({ Key = "" }) => Key);
  }

  /** Asks for a pod's eviction, as `kubectl drain` does. @throws where the API server refuses it */
  async evict(pod: string): Promise<void> {
    const { core, namespace } = this.cluster;
    const metadata = { name: pod, namespace };
    await core.createNamespacedPodEviction({
      name: pod,
      namespace,
      body: { apiVersion: "policy/v1", kind: "Eviction", metadata },
    });
  }

  /** Waits until the service's instances are as wanted. */
  async instancesThat(
    what: string,
    areWanted: (instances: readonly SeenInstance[]) => boolean,
    deadline = 60_000,
  ): Promise<readonly SeenInstance[]> {
    let seen: readonly SeenInstance[] = [];
    return waitFor({
      what: `instances ${what}`,
      deadline,
      look: async () => {
        seen = await this.instances();
        return areWanted(seen) ? seen : undefined;
      },
      seen: () => seen.map(({ pod, phase }) => `${pod.metadata?.name} ${phase}`).join(", ") || "none",
    });
  }

  /** Publishes another version of plugins, and runs `pulumi up` with the same services. */
  async rotate(plugins: Readonly<Record<string, PluginSource>>): Promise<Run> {
    this.project.writePlugins(plugins);
    await this.publish();
    this.declare(this.declared);
    return this.project.mustUp();
  }

  records(service = "studio"): ServiceRecords {
    return new ServiceRecords(this.connection, service);
  }

  /** Where this machine reaches a service: at its cluster address, since kube-proxy's rules are this machine's too. */
  async url(service = "studio"): Promise<string> {
    const { namespace, core } = this.cluster;
    const { spec } = await core.readNamespacedService({ name: service, namespace });
    return `http://${spec?.clusterIP}:${spec?.ports?.[0]?.port}`;
  }

  /** The pods of a service's releases, with what they are at. */
  async instances(service = "studio"): Promise<readonly SeenInstance[]> {
    const { namespace, core } = this.cluster;
    const labelSelector = `app.kubernetes.io/instance=${service},app.kubernetes.io/component=instance`;
    const { items } = await core.listNamespacedPod({ namespace, labelSelector });
    return items.map((pod) => ({
      pod,
      release: pod.metadata?.labels?.["pulumi-comfyui/release"] ?? "",
      phase: standingOf(pod).phase,
    }));
  }

  async deployments(service = "studio"): Promise<readonly V1Deployment[]> {
    const { namespace, apps } = this.cluster;
    const labelSelector = `app.kubernetes.io/instance=${service},app.kubernetes.io/component=instance`;
    return (await apps.listNamespacedDeployment({ namespace, labelSelector })).items;
  }

  /** Names of everything in the namespace that is this package's, as `kind/name`. */
  async objects(): Promise<readonly string[]> {
    const { namespace, core, apps } = this.cluster;
    const labelSelector = "app.kubernetes.io/managed-by=pulumi-comfyui";
    const lists = {
      deployment: apps.listNamespacedDeployment({ namespace, labelSelector }),
      replicaset: apps.listNamespacedReplicaSet({ namespace, labelSelector }),
      pod: core.listNamespacedPod({ namespace, labelSelector }),
      configmap: core.listNamespacedConfigMap({ namespace, labelSelector }),
      secret: core.listNamespacedSecret({ namespace, labelSelector }),
      horizontalpodautoscaler: this.connection.autoscaling.listNamespacedHorizontalPodAutoscaler({
        namespace,
        labelSelector,
      }),
      poddisruptionbudget: this.connection.policy.listNamespacedPodDisruptionBudget({ namespace, labelSelector }),
      service: core.listNamespacedService({ namespace, labelSelector }),
      serviceaccount: core.listNamespacedServiceAccount({ namespace, labelSelector }),
    };
    const names: string[] = [];
    for (const [kind, list] of Object.entries(lists)) {
      for (const { metadata } of (await list).items) names.push(`${kind}/${metadata?.name}`);
    }
    return names.sort();
  }

  /** What a test left running has nothing to finish. */
  private async endPods(): Promise<void> {
    const { namespace, core, apps } = this.cluster;
    await apps.deleteCollectionNamespacedDeployment({ namespace });
    await core.deleteCollectionNamespacedPod({ namespace, gracePeriodSeconds: 0 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.project[Symbol.asyncDispose]();
    await this.endPods();
    await this.cluster.close();
    await this.s3.stop();
  }
}

/** What keeps all else from nodes with GPUs, as it does in most clusters: a gateway that goes with a test's node cuts its clients off. */
const onlyForGpus = "nvidia.com/gpu=present:NoSchedule";

async function addNode({ lab }: TestCluster, labels: Readonly<Record<string, string>>, gpus: number): Promise<string> {
  const name = `gpu-${randomBytes(3).toString("hex")}`;
  await lab.addNode(name, { gpus, labels, taints: [onlyForGpus] });
  return name;
}
