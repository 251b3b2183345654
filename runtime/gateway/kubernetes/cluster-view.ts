import { createHash } from "node:crypto";
import { z } from "zod";
import type { KubernetesApi } from "../../kubernetes/api";
import { WatchedObjects, type WatchPace } from "../../kubernetes/watched-objects";
import type { Log } from "../log";
import { settingsSchema } from "../settings";
import type { TargetReceiver, TargetSource } from "../target-source";
import type { GatewaySettings, Targets } from "../targets";
import { instanceOfPod, type Pod, type PodInstance, podSchema } from "./pod-target";

const withData = z.object({ data: z.record(z.string(), z.string()).default({}) });
const targetSchema = z.object({
  generation: z.int().nonnegative(),
  release: z.string().nullable(),
  draining: z.array(z.string()).default([]),
});
type Target = z.infer<typeof targetSchema>;

/** Milliseconds for the first look at each kind of object. */
const firstLook = 30_000;

export interface ClusterViewOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly service: string;
  readonly log: Log;
  readonly pace?: WatchPace;
}

/** What the cluster says about one service, kept up to date. What was learned stays in force while the API server is away. */
export class ClusterView {
  private readonly watches: WatchedObjects[] = [];
  private readonly receivers = new Set<TargetReceiver>();
  private target: Target = { generation: 0, release: null, draining: [] };
  private pods: readonly Pod[] = [];
  private rest: Omit<GatewaySettings, "deployerTokenHash"> | null = null;
  /** Why an object cannot be used, by what it is. */
  private readonly unusable = new Map<string, string>();
  private handedOver = "";
  /** Of the Secret; empty until it was read. */
  deployerToken = "";
  settings: GatewaySettings | null = null;
  instances: readonly PodInstance[] = [];

  constructor(private readonly options: ClusterViewOptions) {}

  /** Returns after the first look. Fails when there are no usable settings, or the API server does not give them. */
  async start(): Promise<void> {
    const { service } = this.options;
    await Promise.all([
      this.watchNamed("configmaps", `${service}-target`, (object) => this.readTarget(object)),
      this.watchNamed("secrets", `${service}-gateway`, (object) => this.readSettings(object)),
      this.watchNamed("secrets", `${service}-deployer`, (object) => this.readToken(object)),
      this.watch("pods", { labelSelector: labelSelector(service, "instance") }, (objects) =>
        this.readPods([...objects.values()]),
      ),
    ]);
    if (this.settings === null) {
      this.close();
      const secrets = ["gateway", "deployer"].map((name) => `Secret ${service}-${name}`);
      const why = secrets.flatMap((name) => this.unusable.get(name) ?? []).join("\n");
      throw new Error(`the gateway needs its settings in ${secrets.join(" and ")}: ${why}`);
    }
  }

  close(): void {
    for (const watch of this.watches) watch.close();
  }

  get targets(): Targets {
    const instances = this.instances.map(({ id, release, url, state, epoch }) => ({ id, release, url, state, epoch }));
    return { generation: this.target.generation, serving: this.target.release, instances };
  }

  /** Hands over what there is and what changes to a gateway, until that closes it. */
  source(): TargetSource {
    let receiver: TargetReceiver | null = null;
    return {
      start: async (given) => {
        receiver = given;
        if (this.settings === null) throw new Error("there are no settings yet");
        this.receivers.add(given);
        given.settings(this.settings);
        given.targets(this.targets);
      },
      close: () => {
        if (receiver !== null) this.receivers.delete(receiver);
      },
    };
  }

  private watchNamed(kind: string, name: string, read: (object: unknown) => void): Promise<void> {
    // With the name as selector, a Role that names the object is enough.
    return this.watch(kind, { fieldSelector: `metadata.name=${name}` }, (objects) => read(objects.get(name)));
  }

  private watch(
    kind: string,
    selector: Readonly<Record<string, string>>,
    onChange: (objects: ReadonlyMap<string, unknown>) => void,
  ): Promise<void> {
    const { api, namespace, log, pace } = this.options;
    const path = `/api/v1/namespaces/${namespace}/${kind}`;
    const watch = new WatchedObjects({ api, path, selector, onChange, log, ...(pace === undefined ? {} : { pace }) });
    this.watches.push(watch);
    return watch.start(firstLook);
  }

  private readTarget(object: unknown): void {
    this.tolerate(`ConfigMap ${this.options.service}-target`, object, () => {
      this.target = targetSchema.parse(JSON.parse(withData.parse(object).data["target.json"] ?? "null"));
      this.changed();
    });
  }

  private readSettings(object: unknown): void {
    this.tolerate(`Secret ${this.options.service}-gateway`, object, () => {
      const text = decode(withData.parse(object).data["settings.json"]);
      this.rest = settingsSchema.parse({ ...JSON.parse(text), deployerTokenHash: "0".repeat(64) });
      this.settingsChanged();
    });
  }

  private readToken(object: unknown): void {
    this.tolerate(`Secret ${this.options.service}-deployer`, object, () => {
      const token = decode(withData.parse(object).data.token).trim();
      if (token === "") throw new Error("its token is empty");
      this.deployerToken = token;
      this.settingsChanged();
    });
  }

  private readPods(objects: readonly unknown[]): void {
    this.pods = objects.flatMap((object) => {
      const pod = podSchema.safeParse(object);
      if (!pod.success) this.options.log(`a pod cannot be read: ${z.prettifyError(pod.error)}`);
      return pod.success ? [pod.data] : [];
    });
    this.changed();
  }

  private settingsChanged(): void {
    if (this.rest === null || this.deployerToken === "") return;
    const deployerTokenHash = createHash("sha256").update(this.deployerToken).digest("hex");
    this.settings = { ...this.rest, deployerTokenHash };
    for (const receiver of this.receivers) receiver.settings(this.settings);
  }

  private changed(): void {
    const draining = new Set(this.target.draining);
    this.instances = this.pods
      .map((pod) => instanceOfPod(pod, this.options.service, draining))
      .filter((instance) => instance !== null)
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    const { targets } = this;
    const text = JSON.stringify(targets);
    if (text === this.handedOver) return;
    this.handedOver = text;
    for (const receiver of this.receivers) receiver.targets(targets);
  }

  /** An object that is missing, or cannot be read, leaves in force what was there before. */
  private tolerate(what: string, object: unknown, action: () => void): void {
    try {
      if (object === undefined) throw new Error("it is not there");
      action();
      this.unusable.delete(what);
    } catch (error) {
      const reason = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
      const text = `${what} cannot be used: ${reason}`;
      this.unusable.set(what, text);
      this.options.log(text);
    }
  }
}

export function labelSelector(service: string, component: string): string {
  return Object.entries(labels(service, component))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

export function labels(service: string, component: string): Readonly<Record<string, string>> {
  return {
    "app.kubernetes.io/name": "comfyui",
    "app.kubernetes.io/instance": service,
    "app.kubernetes.io/component": component,
  };
}

function decode(base64: string | undefined): string {
  return Buffer.from(base64 ?? "", "base64").toString("utf8");
}
