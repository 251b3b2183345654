import type { V1ContainerStatus, V1Pod, V1PodCondition } from "@kubernetes/client-node";
import { labelsOf, objectNames, releaseLabel } from "../../runtime/kubernetes";
import type { KubernetesApi } from "../../runtime/kubernetes/api";

/** What a kubelet tells of a pod, one after the other, until it is proven. */
const phases = ["creating", "restoring", "restored", "booting", "proven"] as const;
type Phase = (typeof phases)[number];

export interface ManyPodsOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly service: string;
  readonly release: string;
  readonly count: number;
}

/**
 * A release's Deployment with its ReplicaSet and its pods, each on a node of its own, in a cluster of an API server alone: what
 * controllers, scheduler and kubelets would write is written by this.
 */
export class ManyPods {
  #deployment = "";
  #replicaSet = "";

  constructor(private readonly options: ManyPodsOptions) {}

  /** UID of the Deployment. */
  get deployment(): string {
    return this.#deployment;
  }

  get names(): readonly string[] {
    return Array.from({ length: this.options.count }, (_, index) => this.#pod(index));
  }

  async declare(): Promise<void> {
    const { count } = this.options;
    const { labels, name } = this.#release;
    const selector = { matchLabels: labels };
    const template = { metadata: { labels }, spec: podSpec(labels) };
    this.#deployment = await this.#create("apis/apps/v1", "deployments", {
      metadata: { name, labels },
      spec: { replicas: count, selector, template },
    });
    const owner = ownedBy("apps/v1", "Deployment", name, this.#deployment);
    this.#replicaSet = await this.#create("apis/apps/v1", "replicasets", {
      metadata: { name: `${name}-0`, labels, ownerReferences: [owner] },
      spec: { replicas: count, selector, template },
    });
    await eachOf(count, async (index) => {
      const node = { metadata: { name: `node-${index}`, labels: { "kubernetes.io/hostname": `node-${index}` } } };
      await this.options.api.request({ method: "POST", path: "/api/v1/nodes", body: node });
    });
  }

  /** Makes the pods and takes them through their phases, evenly over so many milliseconds. */
  async start(duration: number): Promise<void> {
    const began = performance.now();
    const { count } = this.options;
    // Pods are made at once; each is then at its own pace, the last one proven at the very end.
    await eachOf(count, (index) => this.#createPod(index));
    const steps = phases.flatMap((phase, step) =>
      Array.from({ length: count }, (_, index) => {
        const proven = duration * (0.4 + (0.6 * (index + 1)) / count);
        return { at: (proven * (step + 1)) / phases.length, index, phase };
      }),
    );
    steps.sort((one, other) => one.at - other.at);
    for (const { at, index, phase } of steps) {
      await until(began + at);
      if (phase === "creating") await this.#bind(index);
      await this.#tell(index, phase);
    }
  }

  /** What Deployment controller and kubelets do once no pod is wanted: waits for that, then lets the pods go, over so many milliseconds. */
  async end(duration: number): Promise<void> {
    const { api, count, namespace } = this.options;
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${this.#release.name}`;
    for (;;) {
      const { spec } = (await api.request({ path })) as { spec: { replicas: number } };
      if (spec.replicas === 0) break;
      await until(performance.now() + 200);
    }
    const remove = (index: number, query: Readonly<Record<string, string>>) =>
      api.request({ method: "DELETE", path: `${this.#pods}/${this.#pod(index)}`, query });
    await eachOf(count, (index) => remove(index, { gracePeriodSeconds: "60" }));
    const began = performance.now();
    for (let index = 0; index < count; index++) {
      await until(began + (duration * index) / count);
      await remove(index, { gracePeriodSeconds: "0" });
    }
  }

  get #pods(): string {
    return `/api/v1/namespaces/${this.options.namespace}/pods`;
  }

  get #release() {
    const { service, release } = this.options;
    return {
      name: objectNames(service).release(release),
      labels: { ...labelsOf(service, "instance"), [releaseLabel]: release },
    };
  }

  #pod(index: number): string {
    return `${this.#release.name}-0-${String(index).padStart(5, "0")}`;
  }

  async #createPod(index: number): Promise<void> {
    const { labels, name } = this.#release;
    const owner = ownedBy("apps/v1", "ReplicaSet", `${name}-0`, this.#replicaSet);
    await this.#create("api/v1", "pods", {
      metadata: { name: this.#pod(index), labels, ownerReferences: [owner] },
      spec: podSpec(labels),
    });
  }

  async #bind(index: number): Promise<void> {
    const name = this.#pod(index);
    const target = { apiVersion: "v1", kind: "Node", name: `node-${index}` };
    const body = { apiVersion: "v1", kind: "Binding", metadata: { name }, target };
    await this.options.api.request({ method: "POST", path: `${this.#pods}/${name}/binding`, body });
  }

  async #tell(index: number, phase: Phase): Promise<void> {
    const path = `${this.#pods}/${this.#pod(index)}/status`;
    const contentType = "application/strategic-merge-patch+json";
    await this.options.api.request({ method: "PATCH", path, contentType, body: { status: statusOf(phase, index) } });
  }

  async #create(group: string, resource: string, body: object): Promise<string> {
    const path = `/${group}/namespaces/${this.options.namespace}/${resource}`;
    const made = (await this.options.api.request({ method: "POST", path, body })) as { metadata: { uid: string } };
    return made.metadata.uid;
  }
}

function statusOf(phase: Phase, index: number): V1Pod["status"] {
  const step = phases.indexOf(phase);
  const condition = (type: string, is: boolean): V1PodCondition => ({ type, status: is ? "True" : "False" });
  const at = new Date();
  return {
    phase: step < 1 ? "Pending" : "Running",
    startTime: at,
    hostIP: "10.1.0.1",
    podIP: `10.2.${index >> 8}.${index & 255}`,
    conditions: [
      condition("PodScheduled", true),
      condition("PodReadyToStartContainers", step >= 1),
      condition("Initialized", step >= 2),
      condition("ContainersReady", step >= 4),
      condition("Ready", step >= 4),
    ],
    initContainerStatuses: [containerStatus("agent", step >= 1, step >= 2, at)],
    containerStatuses: [containerStatus("comfyui", step >= 3, step >= 3, at)],
  };
}

function containerStatus(name: string, runs: boolean, started: boolean, at: Date): V1ContainerStatus {
  return {
    name,
    image: `registry.example.com/studio/${name}:cu124`,
    imageID: `registry.example.com/studio/${name}@sha256:${"0".repeat(64)}`,
    ready: started,
    started,
    restartCount: 0,
    state: runs ? { running: { startedAt: at } } : { waiting: { reason: "PodInitializing" } },
  };
}

/** As large as an instance's. */
function podSpec(labels: Readonly<Record<string, string>>): V1Pod["spec"] {
  const probe = (path: string) => ({ httpGet: { path, port: 8199 } });
  const security = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, runAsNonRoot: true };
  const volumes = ["program", "instance", "environment", "own", "launcher", "temporary"];
  const volumeMounts = volumes.map((name) => ({ name, mountPath: `/comfyui/${name}` }));
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 660,
    securityContext: { runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, seccompProfile: { type: "RuntimeDefault" } },
    tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: "kubernetes.io/hostname",
        whenUnsatisfiable: "ScheduleAnyway",
        labelSelector: { matchLabels: labels },
      },
    ],
    initContainers: [
      {
        name: "agent",
        image: "registry.example.com/studio/agent:24",
        restartPolicy: "Always",
        command: ["node", "/comfyui/program/start.js", "agent.js", "instance"],
        startupProbe: { ...probe("/started"), periodSeconds: 1, failureThreshold: 86_400 },
        readinessProbe: { ...probe("/ready"), periodSeconds: 1, failureThreshold: 2 },
        resources: { requests: { cpu: "100m", memory: "256Mi" } },
        securityContext: security,
        volumeMounts,
      },
    ],
    containers: [
      {
        name: "comfyui",
        image: "registry.example.com/studio/comfyui:cu124",
        command: ["/comfyui/launcher/python", "/comfyui/launcher/launcher.py"],
        livenessProbe: { ...probe("/live"), periodSeconds: 30, timeoutSeconds: 10, failureThreshold: 3 },
        lifecycle: { preStop: probe("/drain") },
        resources: { limits: { "nvidia.com/gpu": "1" }, requests: { "nvidia.com/gpu": "1" } },
        securityContext: security,
        volumeMounts,
      },
    ],
    volumes: volumes.map((name) => ({ name, emptyDir: {} })),
  };
}

function ownedBy(apiVersion: string, kind: string, name: string, uid: string) {
  return { apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true };
}

/** Runs something for each index, a few at a time. */
async function eachOf(count: number, run: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) await run(index);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

/** Waits until this time of the process's clock. */
function until(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, time - performance.now())));
}
