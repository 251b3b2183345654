import type * as pulumi from "@pulumi/pulumi";
import type { Duration, Size } from "../runtime/units";
import type { Entrance } from "./entrance";
import type { NodeGroupReference, Placement } from "./placement";
import type { Platform } from "./platforms";
import type { PodArgs } from "./pod";
import type { Scaling } from "./scaling";
import type { SnapshotPin } from "./store";

/** A workflow in ComfyUI's API format (Workflow → Export (API)): node id → class and inputs. */
export type Workflow = Readonly<
  Record<string, { readonly class_type: string; readonly inputs: Readonly<Record<string, unknown>> }>
>;

/** What proves an instance. Every field but `timeout` is part of a release: changing it is a rotation. */
export interface HealthArgs {
  /** How long all instances of a release together may take until they are proven. Changing it changes nothing that runs: it counts the next time that they are waited for. @default "10m" */
  readonly timeout?: Duration;
  /** How long one instance may take until it answers, once its environment is restored. @default "5m" */
  readonly startTimeout?: Duration;
  /** How long an instance must go on answering once all else is proven. @default "5s" */
  readonly stableFor?: Duration;
  /** Workflow that must run to a result: itself, or the path of its file, relative to the program's folder. @default none */
  readonly smoke?: string | Workflow;
  /** How long the smoke workflow may take. @default "5m" */
  readonly smokeTimeout?: Duration;
  /** Plugins that may fail to load, by their name in `custom_nodes`. @default [] */
  readonly acceptFailing?: readonly string[];
}

/** How instances that have to go finish their work. Changes in place, also for instances that drain already. */
export interface DrainArgs {
  /** How long an instance may take to empty its queue. @default "30m" */
  readonly deadline?: Duration;
  /**
   * What happens at the deadline. `"keep"`: the update fails, the instance stays until its work is done, and the next
   * `pulumi up` asks again. `"stop"`: the instance is ended and its prompts are reported as failed.
   * @default "keep"
   */
  readonly onDeadline?: "keep" | "stop";
}

/** How the gateway's Service is made, in a cluster. */
export interface GatewayServiceArgs {
  /** `"ClusterIP"`: reached inside the cluster only. @default "ClusterIP" */
  readonly type?: "ClusterIP" | "NodePort" | "LoadBalancer";
  /** For the controller that makes a load balancer of it. @default {} */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Addresses that a load balancer lets in, as CIDR blocks. @default all */
  readonly loadBalancerSourceRanges?: readonly string[];
  /**
   * Lets a Service of type `"LoadBalancer"` lead to a gateway without `apiKeys`, though no annotation says that it is internal. Who runs workflows runs the
   * plugins' code, on your GPUs. @default false
   */
  readonly allowPublicWithoutAuthentication?: boolean;
}

/** A way in from outside of a cluster, by its ingress controller. Who may come in is `apiKeys`' to say. */
export interface IngressArgs {
  readonly host: string;
  /** Name of the IngressClass. @default the cluster's default one */
  readonly className?: string;
  /** Secret of type `kubernetes.io/tls` in the platform's namespace. @default the controller's own certificate, if any */
  readonly tlsSecret?: string;
  /** @default {} */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The reverse proxy in front of a service. Changes in place. */
export interface GatewayArgs {
  /**
   * Port of its address: on the loopback interface of the local platform, of the Service on Kubernetes.
   * @default locally one that is free, chosen once and remembered; on Kubernetes 8188
   */
  readonly port?: number;
  /** Kubernetes only. */
  readonly service?: GatewayServiceArgs;
  /** Kubernetes only. @default none */
  readonly ingress?: IngressArgs;
  /** A load balancer in AWS, `albIngress({ … })` or `networkLoadBalancer({ … })`; Kubernetes only. @default none */
  readonly entrance?: Entrance;
  /** Keys of which a request must carry one (`Authorization: Bearer …` or `X-API-Key`). Only their hashes are kept. @default everybody is let in */
  readonly apiKeys?: pulumi.Input<readonly pulumi.Input<string>[]>;
  /** Largest request body, uploads included. @default "100 MiB" */
  readonly maximumBodySize?: Size;
  /** How long results of instances that have gone can still be fetched. @default "1h" */
  readonly resultRetention?: Duration;
  /** How much disk such results and uploads may take together; the oldest go first. @default "10 GiB" */
  readonly maximumSpoolSize?: Size;
}

/** Arguments of {@link OnlineService}. */
export interface OnlineServiceArgs {
  /** Where it runs. Changing it makes a new service there and ends the old one. */
  readonly platform: Platform;
  /**
   * A `Snapshot`, its `reference`, or a pinned `<store>#sha256:<digest>`; with what its store in S3 needs to be told, `{ reference, store }`.
   * Changing it is a rotation; pinning an earlier one is a rollback.
   */
  readonly snapshot: pulumi.Input<string> | SnapshotPin;
  /** How many instances: `fixed(n)`, or on Kubernetes `range({ … })`. Changes in place: no rotation. */
  readonly scaling: Scaling;
  /**
   * How instances' pods are made, where it differs from what the platform says; Kubernetes only. Changing it is a rotation.
   * @default the platform's
   */
  readonly pod?: Partial<PodArgs>;
  /**
   * On which nodes instances run, and what becomes of the nodes in a rotation; Kubernetes only. A `GpuNodeGroup` alone means `shared(it)`.
   * Changing it is a rotation. @default anywhere()
   */
  readonly placement?: Placement | NodeGroupReference;
  /** Folder of the model files, on the local platform. Changing it is a rotation. @default the one that the snapshot recorded */
  readonly models?: string;
  /** Further command-line arguments of ComfyUI. Changing them is a rotation. @default [] */
  readonly arguments?: readonly string[];
  /** Environment variables of ComfyUI. Changing them is a rotation. @default {} */
  readonly environmentVariables?: Readonly<Record<string, pulumi.Input<string>>>;
  /** What proves an instance before it gets traffic. */
  readonly health?: HealthArgs;
  /** How instances that have to go finish their work. */
  readonly drain?: DrainArgs;
  /** The reverse proxy in front of the service. */
  readonly gateway?: GatewayArgs;
  /** Takes the service's name over from another stack that owns it. @default false */
  readonly takeover?: boolean;
}
