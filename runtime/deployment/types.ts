import type { HealthRequirements } from "../instance";
import type { StoreSettings } from "../store";

export type { Evidence, Phase } from "../instance";

/** Who declared a service: a Pulumi stack. */
export interface Owner {
  readonly organization: string;
  readonly project: string;
  readonly stack: string;
}

export interface Claim {
  readonly owner: Owner;
  /** ISO 8601. */
  readonly since: string;
}

/** What may change while a service runs, without a rotation. Read anew at each use. */
export interface ServiceSettings {
  readonly drain: {
    /** Milliseconds that an instance gets to empty its queue. */
    readonly deadline: number;
    /** `keep`: the instance stays and the drain is reported as refused; `stop`: it is ended. */
    readonly onDeadline: "keep" | "stop";
  };
}

/** What the instances of a release start with. Two releases with equal specs are interchangeable. */
export interface ReleaseSpec {
  /** `<store>#sha256:<manifest digest>`, the store an absolute path or `s3://bucket/prefix`. */
  readonly snapshot: string;
  /** What a store in S3 needs to be told. Credentials are what the AWS SDK finds in the supervisor's process. */
  readonly store?: Pick<StoreSettings, "region" | "endpoint" | "pathStyle" | "kmsKeyId">;
  /** How its pods are made; on Kubernetes only. */
  readonly pod?: PodSettings;
  /** On which nodes its pods run; on Kubernetes only. Absent: on any that take them. */
  readonly placement?: ReleasePlacement | undefined;
  /** Folder with the model files, or null for the one that the manifest recorded. */
  readonly models: string | null;
  /** Further command-line arguments of ComfyUI. */
  readonly arguments: readonly string[];
  readonly environmentVariables: Readonly<Record<string, string>>;
  readonly health: HealthRequirements;
}

/** A toleration as a pod has it. */
export interface Toleration {
  readonly key?: string;
  readonly operator?: "Exists" | "Equal";
  readonly value?: string;
  readonly effect?: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
  readonly tolerationSeconds?: number;
}

/** What a pod with ComfyUI is made of. Quantities are as Kubernetes writes them: `"500m"`, `"16Gi"`. */
export interface PodSettings {
  /** Image of ComfyUI's container: Python as the environment's venv wants it, and CUDA's libraries. */
  readonly image: string;
  /** Image of the agent's and the gateway's containers: Node.js 22.15 or later. */
  readonly agentImage: string;
  readonly gpu: { readonly resource: string; readonly count: number };
  readonly resources: {
    readonly requests: Readonly<Record<string, string>>;
    readonly limits: Readonly<Record<string, string>>;
  };
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly Toleration[];
  /** Space for the restored environment and what ComfyUI writes: ephemeral storage of the node. */
  readonly storage: string;
  /** Folder of the node in which restores are kept for its other pods, and how many; null: they are kept nowhere. */
  readonly nodeCache: { readonly path: string; readonly keep: number } | null;
  /** Claim with the model files, and the folder in it; null: the environment has them. */
  readonly models: { readonly claim: string; readonly folder: string } | null;
  /** Service account whose cloud credentials the agent reads the store with. */
  readonly serviceAccount: string | null;
  /** Secret whose keys become environment variables of the agent: the store's credentials. */
  readonly storeCredentials: string | null;
  readonly imagePullSecrets: readonly string[];
  readonly priorityClass: string | null;
  readonly runtimeClass: string | null;
  /** User and group id of every container. */
  readonly user: number;
}

/** Where the instances of a release run, as far as it is part of the release. */
export type ReleasePlacement =
  | { readonly kind: "shared"; readonly nodeGroup: string }
  | {
      readonly kind: "perRelease";
      /** Name of the EKS cluster. */
      readonly cluster: string;
      readonly region?: string | undefined;
      readonly profile?: string | undefined;
      /** What the nodes are made of, in a form of its own: its change is another release. */
      readonly machine: string;
    }
  | { readonly kind: "karpenter"; readonly nodePool: string };

/** A managed node group of EKS that a release has for itself. */
export interface ReleaseNodes {
  /** Name of the EKS cluster. */
  readonly cluster: string;
  /** Where it is not what the AWS SDK finds by itself. */
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
  readonly nodeGroup: string;
}

export type ReleaseEventName =
  | "created"
  | "started"
  | "proven"
  | "failed"
  | "serving"
  | "draining"
  | "drained"
  | "removed"
  | "abandoned";

export interface ReleaseEvent {
  readonly event: ReleaseEventName;
  /** ISO 8601. */
  readonly at: string;
  /** What a person should know, for example the reason of a failure. */
  readonly detail?: string;
}

export interface Release {
  /** `r<revision>-<random>`. */
  readonly id: string;
  readonly revision: number;
  readonly owner: Owner;
  /** SHA-256 over the canonical JSON of the spec. */
  readonly specHash: string;
  readonly spec: ReleaseSpec;
  /** How many instances are wanted. Zero after a failed gate. */
  readonly count: number;
  /** The draining of instances that are no longer wanted, while there is one. */
  readonly drain: Drain | null;
  /** Nodes that are its own: whoever takes its instances away gives them back. Absent where it has none. */
  readonly nodes?: ReleaseNodes;
  readonly events: readonly ReleaseEvent[];
}

/** How the instances that have to go finish their work; asking again after a refusal starts a fresh deadline. */
export interface Drain {
  /** ISO 8601. */
  readonly startedAt: string;
  /** By the service's settings as they are now. ISO 8601. */
  readonly deadlineAt: string;
  /** Set when the deadline passed under the policy `keep`: the instances stay until they are asked to go again. */
  readonly refused: Refusal | null;
}

/** What the supervisor answers when it refuses; the client throws it as a `SupervisorError`. */
export interface Refusal {
  readonly code:
    | "not-found"
    | "owned-by-another"
    | "superseded"
    | "invalid"
    | "still-serving"
    | "not-proven"
    | "port-taken"
    | "drain-deadline"
    | "internal";
  readonly message: string;
  readonly details?: unknown;
}
