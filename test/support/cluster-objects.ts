import { randomBytes } from "node:crypto";
import type { V1ContainerStatus, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { type Owner, type ReleaseEventName, recordRelease, withEvent, withRelease } from "../../runtime/deployment";
import type { GatewayInstanceStatus } from "../../runtime/gateway/targets";
import {
  annotationsOf,
  type Cluster,
  connectCluster,
  labelsOf,
  objectNames,
  releaseLabel,
  ServiceRecords,
} from "../../runtime/kubernetes";
import type { Part } from "../../runtime/kubernetes/names";
import type { ApiServer } from "./api-server";
import { settings, specFor } from "./supervisor-platform";

/** A namespace of an API server without nodes, in which a test writes what deployers, controllers and kubelets would have. */
export class WrittenNamespace {
  private constructor(
    readonly cluster: Cluster,
    /** Path. */
    readonly kubeconfig: string,
    readonly owner: Owner,
  ) {}

  static async create(server: ApiServer, owner: Owner): Promise<WrittenNamespace> {
    const namespace = `test-${randomBytes(4).toString("hex")}`;
    const kubeconfig = server.kubeconfig("admin");
    const cluster = await connectCluster({ kubeconfig, namespace });
    await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
    return new WrittenNamespace(cluster, kubeconfig, owner);
  }

  get name(): string {
    return this.cluster.namespace;
  }

  /** Options of the command that name it. */
  get options(): readonly string[] {
    return ["--namespace", this.name, "--kubeconfig", this.kubeconfig];
  }

  async service(name = "studio", owner = this.owner): Promise<WrittenService> {
    const records = new ServiceRecords(this.cluster, name);
    await records.claim(owner, settings, false);
    return new WrittenService(this, records, owner);
  }

  /** Kind and name of everything that is there, sorted. */
  async contents(): Promise<readonly string[]> {
    const { core, apps, namespace } = this.cluster;
    const [maps, secrets, services, deployments, pods] = await Promise.all([
      core.listNamespacedConfigMap({ namespace }),
      core.listNamespacedSecret({ namespace }),
      core.listNamespacedService({ namespace }),
      apps.listNamespacedDeployment({ namespace }),
      core.listNamespacedPod({ namespace }),
    ]);
    const names = (kind: string, { items }: { readonly items: readonly { metadata?: { name?: string } }[] }) =>
      items.map(({ metadata }) => `${kind} ${metadata?.name}`);
    return [
      ...names("ConfigMap", maps),
      ...names("Secret", secrets),
      ...names("Service", services),
      ...names("Deployment", deployments),
      ...names("Pod", pods),
    ]
      .filter((name) => name !== "ConfigMap kube-root-ca.crt")
      .sort();
  }
}

/** A service whose objects a test writes. */
export class WrittenService {
  constructor(
    readonly namespace: WrittenNamespace,
    readonly records: ServiceRecords,
    readonly owner: Owner,
  ) {}

  get name(): string {
    return this.records.service;
  }

  /** Records a release with these events, and writes its Deployment and what its pods read. Returns its id. */
  async release(
    events: readonly ReleaseEventName[],
    { count = 1, snapshot = "s3://bucket/snapshots#sha256:".padEnd(93, "1"), objects = true } = {},
  ): Promise<string> {
    let id = "";
    await this.records.change((record) => {
      const spec = { ...specFor(snapshot), arguments: [String(record.revision)] };
      const made = recordRelease(record, this.owner, spec, new Date().toISOString());
      id = made.release.id;
      const lived = events.reduce(
        (release, event) => withEvent(release, event, new Date().toISOString()),
        made.release,
      );
      return withRelease(made.service, { ...lived, count, confirmed: true });
    });
    if (objects) await this.releaseObjects(id, count);
    return id;
  }

  async releaseObjects(id: string, count = 1): Promise<void> {
    const { core, apps, namespace } = this.namespace.cluster;
    const metadata = this.metadata("instance", objectNames(this.name).release(id), id);
    await core.createNamespacedConfigMap({ namespace, body: { metadata, data: { "instance.json": "{}" } } });
    await core.createNamespacedSecret({ namespace, body: { metadata } });
    await apps.createNamespacedDeployment({ namespace, body: deployment(metadata, count) });
  }

  async serve(release: string): Promise<void> {
    const { releases } = await this.records.required();
    const revision = releases.find(({ id }) => id === release)?.revision ?? 0;
    await this.records.changeTarget((target) => ({ ...target, release, revision }));
  }

  /** The gateway's Deployment and Service, its pods, of which the first leads, and what that tells. */
  async gateway(pods: readonly string[] = ["studio-1", "studio-2"], instances: readonly GatewayInstanceStatus[] = []) {
    const { core, apps, namespace } = this.namespace.cluster;
    const metadata = this.metadata("gateway", this.name);
    await apps.createNamespacedDeployment({ namespace, body: deployment(metadata, 2) });
    await core.createNamespacedService({
      namespace,
      body: { metadata, spec: { ports: [{ port: 8188 }], selector: metadata.labels } },
    });
    for (const pod of pods) await this.pod({ name: pod, part: "gateway" });
    await this.tell(pods[0] ?? "", instances);
  }

  /** What the leading gateway says. */
  async tell(leader: string, instances: readonly GatewayInstanceStatus[]): Promise<void> {
    const { core, namespace } = this.namespace.cluster;
    const { generation, release } = await this.records.target();
    const status = { protocol: 1, pid: 1, generation, serving: release, openSockets: 0, instances, leader };
    const metadata = this.metadata("gateway", objectNames(this.name).gatewayStatus);
    const body = { metadata, data: { "status.json": JSON.stringify(status) } };
    await core
      .createNamespacedConfigMap({ namespace, body })
      .catch(() => core.replaceNamespacedConfigMap({ name: metadata.name, namespace, body }));
  }

  /** A pod on a node, Ready unless its status says otherwise. */
  async pod({
    name,
    part = "instance",
    release,
    node = "node-1",
    ready = true,
    agent = {},
    restarts = 0,
  }: {
    readonly name: string;
    readonly part?: Part;
    readonly release?: string;
    readonly node?: string;
    readonly ready?: boolean;
    readonly agent?: Partial<V1ContainerStatus>;
    readonly restarts?: number;
  }): Promise<void> {
    const { core, namespace } = this.namespace.cluster;
    const container = { image: "image", resources: {} };
    const instance = part === "instance";
    await core.createNamespacedPod({
      namespace,
      body: {
        metadata: this.metadata(part, name, release),
        spec: {
          nodeName: node,
          terminationGracePeriodSeconds: 0,
          containers: [{ ...container, name: instance ? "comfyui" : "gateway" }],
          ...(instance ? { initContainers: [{ ...container, name: "agent", restartPolicy: "Always" }] } : {}),
        },
      },
    });
    const common = { image: "image", imageID: "", ready, restartCount: 0 };
    const running = { running: { startedAt: new Date("2026-01-01T10:00:00Z") } };
    const status: V1Pod["status"] = {
      phase: "Running",
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      containerStatuses: [
        { ...common, name: instance ? "comfyui" : "gateway", restartCount: restarts, state: running },
      ],
      ...(instance
        ? { initContainerStatuses: [{ ...common, name: "agent", started: true, state: running, ...agent }] }
        : {}),
    };
    await core.patchNamespacedPodStatus({ name, namespace, body: [{ op: "add", path: "/status", value: status }] });
  }

  metadata(part: Part, name: string, release?: string) {
    return {
      name,
      labels: { ...labelsOf(this.name, part), ...(release === undefined ? {} : { [releaseLabel]: release }) },
      annotations: { ...annotationsOf(this.owner) },
    };
  }
}

function deployment(metadata: ReturnType<WrittenService["metadata"]>, replicas: number): V1Deployment {
  const { labels } = metadata;
  return {
    metadata,
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "main", image: "image" }] } },
    },
  };
}
