import type { Claim, Evidence, Owner, Phase, Release, ServiceSettings } from "../deployment";
import type { Layout, PluginRecord } from "../environment";

export type {
  Claim,
  Drain,
  Evidence,
  Owner,
  Phase,
  Refusal,
  Release,
  ReleaseEvent,
  ReleaseEventName,
  ReleaseSpec,
  ServiceSettings,
} from "../deployment";

/** Grows when a request or an answer changes its meaning; a client and a supervisor of two protocols do not talk. */
export const protocolVersion = 1;

export interface GatewayDeclaration {
  /** A loopback port, or null for one that is chosen once and remembered. */
  readonly port: number | null;
  readonly apiKeyHashes: readonly string[];
  readonly maximumBodySize: number;
  readonly resultRetention: number;
  readonly maximumSpoolSize: number;
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
