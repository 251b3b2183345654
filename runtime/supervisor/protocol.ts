import type { Layout, PluginRecord } from "../environment";
import type { Evidence, HealthRequirements, Phase } from "../instance";
import type { StoreSettings } from "../store";

export type { Evidence, Phase } from "../instance";

/** Grows when a request or an answer changes its meaning; a client and a supervisor of two protocols do not talk. */
export const protocolVersion = 1;

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

export interface GatewayDeclaration {
  /** A loopback port, or null for one that is chosen once and remembered. */
  readonly port: number | null;
  readonly apiKeyHashes: readonly string[];
  readonly maximumBodySize: number;
  readonly resultRetention: number;
  readonly maximumSpoolSize: number;
}

/** What the instances of a release start with. Two releases with equal specs are interchangeable. */
export interface ReleaseSpec {
  /** `<store>#sha256:<manifest digest>`, the store an absolute path or `s3://bucket/prefix`. */
  readonly snapshot: string;
  /** What a store in S3 needs to be told. Credentials are what the AWS SDK finds in the supervisor's process. */
  readonly store?: Pick<StoreSettings, "region" | "endpoint" | "pathStyle" | "kmsKeyId">;
  /** Folder with the model files, or null for the one that the manifest recorded. */
  readonly models: string | null;
  /** Further command-line arguments of ComfyUI. */
  readonly arguments: readonly string[];
  readonly environmentVariables: Readonly<Record<string, string>>;
  readonly health: HealthRequirements;
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

export interface InstanceStatus {
  /** `<release id>/<index>`. */
  readonly id: string;
  readonly release: string;
  readonly index: number;
  readonly phase: Phase;
  /** What the phase is busy with, for example restore progress. */
  readonly detail: string;
  readonly url: string | null;
  readonly pid: number | null;
  /** Starts of its process so far. */
  readonly epoch: number;
  readonly restarts: number;
  /** When the instance was declared, and when it reached its phase. ISO 8601. */
  readonly createdAt: string;
  readonly phaseSince: string;
  readonly queueRemaining: number | null;
  /** Absolute path of its log file. */
  readonly log: string;
  readonly evidence: Evidence | null;
}

export interface ServiceState {
  readonly name: string;
  readonly claim: Claim;
  readonly settings: ServiceSettings;
  readonly revision: number;
  readonly serving: string | null;
  /** Grows with every change of what the gateway is told. */
  readonly generation: number;
  readonly gateway: GatewayState | null;
  readonly releases: readonly Release[];
  readonly instances: readonly InstanceStatus[];
}

export interface GatewayState {
  readonly port: number;
  readonly url: string;
  readonly pid: number | null;
  readonly restarts: number;
  readonly declaration: GatewayDeclaration;
}

export interface WorkstationDeclaration {
  readonly owner: Owner;
  /** Absolute path. */
  readonly root: string;
  readonly layout: Layout;
  readonly port: number | null;
  readonly arguments: readonly string[];
  readonly environmentVariables: Readonly<Record<string, string>>;
  readonly state: "running" | "stopped";
  /** Milliseconds that a stop gives the running prompt. */
  readonly stopDeadline: number;
}

export interface WorkstationState {
  readonly name: string;
  readonly declaration: WorkstationDeclaration;
  readonly phase: "booting" | "running" | "stopping" | "stopped" | "failed";
  readonly detail: string;
  readonly port: number;
  readonly url: string;
  readonly pid: number | null;
  readonly restarts: number;
  readonly queueRemaining: number | null;
  /** How each plugin behaved at the last start; null before the first. */
  readonly plugins: readonly PluginRecord[] | null;
  readonly log: string;
  readonly evidence: Evidence | null;
}

export interface SupervisorAbout {
  readonly protocol: number;
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly host: string;
  readonly directory: string;
}

export interface PlatformState {
  readonly about: SupervisorAbout;
  readonly services: readonly ServiceState[];
  readonly workstations: readonly WorkstationState[];
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
