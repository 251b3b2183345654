import { randomBytes } from "node:crypto";
import { PassThrough } from "node:stream";
import {
  type ApiConstructor,
  type ApiType,
  AppsV1Api,
  CoreV1Api,
  Exec,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  type V1Container,
  type V1Pod,
  type V1Status,
} from "@kubernetes/client-node";
import { waitFor } from "../../runtime/waiting";
import { Lab } from "./lab";
import { type S3Server, type S3ServerName, startS3Server } from "./s3-servers";

/** Whether the cluster is this machine's lab: its nodes can be added and removed, its components restarted. */
export const onLab = process.env.TEST_LAB !== undefined;

/**
 * Images that pods of tests run. The lab's are made of this machine's files; other clusters pull those that TEST_NODE_IMAGE and
 * TEST_COMFYUI_IMAGE name, or these.
 */
export const images = {
  /** Node.js 22.15 or newer, as `node`. */
  node: process.env.TEST_NODE_IMAGE ?? (onLab ? "localhost/pulumi-comfyui/node:test" : "node:24-slim"),
  /** Python 3 as /usr/bin/python3 in the lab, and with a shell; runs the stand-in for ComfyUI. */
  comfyui: process.env.TEST_COMFYUI_IMAGE ?? (onLab ? "localhost/pulumi-comfyui/comfyui:test" : "python:3.11-slim"),
};

/** What a container may not do, on the lab as in production: be root, change its image, gain rights. */
export const restrictedContainer: NonNullable<V1Container["securityContext"]> = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
};

/** The same of a pod. */
export const restrictedPod = {
  runAsNonRoot: true,
  runAsUser: 1000,
  fsGroup: 1000,
  seccompProfile: { type: "RuntimeDefault" },
};

export interface Executed {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A test file's part of the cluster: a namespace of its own. Made by {@link openCluster}. */
export class TestCluster {
  /** Path of the configuration. */
  readonly kubeconfig: string;
  readonly config: KubeConfig;
  readonly namespace: string;
  readonly core: CoreV1Api;
  readonly apps: AppsV1Api;
  readonly #objects: KubernetesObjectApi;
  #lab: Lab | undefined;

  constructor(kubeconfig: string, namespace: string) {
    this.kubeconfig = kubeconfig;
    this.namespace = namespace;
    this.config = new KubeConfig();
    this.config.loadFromFile(kubeconfig);
    this.core = this.config.makeApiClient(CoreV1Api);
    this.apps = this.config.makeApiClient(AppsV1Api);
    this.#objects = KubernetesObjectApi.makeApiClient(this.config);
    if (process.env.TEST_LAB !== undefined) this.#lab = new Lab(process.env.TEST_LAB);
  }

  /** The lab's nodes, volumes and components. Throws on other clusters: such tests are under `describe.runIf(onLab)`. */
  get lab(): Lab {
    if (this.#lab === undefined) throw new Error("This needs the lab, and the cluster is another one");
    return this.#lab;
  }

  /** Another client, for example of `NetworkingV1Api`. */
  client<T extends ApiType>(type: ApiConstructor<T>): T {
    return this.config.makeApiClient(type);
  }

  /** Makes an object, in this namespace unless it names one. */
  async create<T extends KubernetesObject>(object: T): Promise<T> {
    const namespace = object.metadata?.namespace ?? this.namespace;
    return (await this.#objects.create({ ...object, metadata: { ...object.metadata, namespace } })) as T;
  }

  /** Deletes an object and waits until it is gone. */
  async remove(object: KubernetesObject, deadline = 60_000): Promise<void> {
    const target = {
      ...object,
      metadata: {
        ...object.metadata,
        name: object.metadata?.name ?? "",
        namespace: object.metadata?.namespace ?? this.namespace,
      },
    };
    await this.#objects.delete(target).catch(unlessGone);
    await waitFor({
      what: `${object.kind} ${target.metadata.name} to be gone`,
      deadline,
      look: async () => {
        const found = await this.#objects.read(target).catch(unlessGone);
        return found === undefined ? true : undefined;
      },
    });
  }

  /** Makes a pod that runs unprivileged: of one container `main`, unless `spec` says otherwise. */
  async pod(
    name: string,
    image: string,
    command: readonly string[],
    spec: Partial<V1Pod["spec"]> = {},
  ): Promise<V1Pod> {
    return this.create<V1Pod>({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, labels: { app: name } },
      spec: {
        restartPolicy: "Never",
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: false,
        securityContext: restrictedPod,
        containers: [{ name: "main", image, command: [...command], securityContext: restrictedContainer }],
        ...spec,
      },
    });
  }

  /** Waits until a pod is as wanted; fails with its conditions and the states of its containers. */
  async podThat(name: string, what: string, isWanted: (pod: V1Pod) => boolean, deadline = 60_000): Promise<V1Pod> {
    let seen = "it is not there";
    return waitFor({
      what: `pod ${name} ${what}`,
      deadline,
      look: async () => {
        const pod = await this.core.readNamespacedPod({ name, namespace: this.namespace }).catch(unlessGone);
        if (pod === undefined) return undefined;
        seen = JSON.stringify({
          phase: pod.status?.phase,
          conditions: pod.status?.conditions,
          containers: pod.status?.containerStatuses,
        });
        return isWanted(pod) ? pod : undefined;
      },
      seen: () => seen,
    });
  }

  readyPod(name: string, deadline?: number): Promise<V1Pod> {
    return this.podThat(name, "to be ready", isReady, deadline);
  }

  /** Waits until a pod's containers have ended, and gives what they printed. Throws when one failed. */
  async outputOf(name: string, deadline?: number): Promise<string> {
    const pod = await this.podThat(
      name,
      "to end",
      ({ status }) => status?.phase === "Succeeded" || status?.phase === "Failed",
      deadline,
    );
    const output = await this.logs(name);
    if (pod.status?.phase === "Failed") throw new Error(`pod ${name} failed: ${output}`);
    return output;
  }

  logs(name: string, container = "main"): Promise<string> {
    return this.core.readNamespacedPodLog({ name, namespace: this.namespace, container });
  }

  /** Runs a command in a container. */
  async exec(name: string, command: readonly string[], container = "main"): Promise<Executed> {
    const texts = { stdout: "", stderr: "" };
    const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
    for (const which of ["stdout", "stderr"] as const) {
      streams[which].setEncoding("utf8").on("data", (text: string) => {
        texts[which] += text;
      });
    }
    const status = await new Promise<V1Status>((done, failed) => {
      new Exec(this.config)
        .exec(this.namespace, name, container, [...command], streams.stdout, streams.stderr, null, false, done)
        .then((socket) => {
          socket.onerror = (event) => failed(new Error(`exec in pod ${name}: ${event.message}`));
        }, failed);
    });
    const code = status.details?.causes?.find(({ reason }) => reason === "ExitCode")?.message;
    if (status.status !== "Success" && code === undefined) throw new Error(`exec in pod ${name}: ${status.message}`);
    return { code: Number(code ?? 0), ...texts };
  }

  /** An S3 server on this machine whose endpoint pods reach, and this process too. Stopped by the caller. */
  s3Server(name: S3ServerName): Promise<S3Server> {
    return startS3Server(name, this.machineAddress);
  }

  /** This machine's address as pods reach it; on clusters other than the lab TEST_HOST_ADDRESS has to tell. */
  get machineAddress(): string {
    const address = process.env.TEST_HOST_ADDRESS ?? this.#lab?.machineAddress;
    if (address === undefined)
      throw new Error("TEST_HOST_ADDRESS has to be this machine's address as the cluster's pods reach it");
    return address;
  }

  /** Removes the namespace, and the nodes and volumes that were added. */
  async close(): Promise<void> {
    await this.remove({ apiVersion: "v1", kind: "Namespace", metadata: { name: this.namespace } }, 120_000);
    await this.#lab?.removeAll();
  }
}

/** Makes a namespace of a test file's own, whose name begins with `name`. `KUBECONFIG` has to be set; `npm run test:cluster` sets it. */
export async function openCluster(name: string): Promise<TestCluster> {
  const kubeconfig = process.env.KUBECONFIG;
  if (!kubeconfig) throw new Error("KUBECONFIG is not set: these tests are run by `npm run test:cluster`");
  const cluster = new TestCluster(kubeconfig, `${name}-${randomBytes(3).toString("hex")}`);
  const { namespace, core } = cluster;
  await core.createNamespace({ body: { metadata: { name: namespace, labels: { "pulumi-comfyui/test": name } } } });
  // Pods are refused until it is there.
  await waitFor({
    what: `namespace ${namespace} to get its service account`,
    deadline: 60_000,
    look: () => core.readNamespacedServiceAccount({ name: "default", namespace }).catch(unlessGone),
  });
  return cluster;
}

export function isReady(pod: V1Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** For `catch`: undefined for what is not there. */
export function unlessGone(error: unknown): undefined {
  if (typeof error === "object" && error !== null && "code" in error && error.code === 404) return undefined;
  throw error;
}
