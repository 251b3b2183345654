import type { Phase } from "../deployment";
import {
  findSupervisor,
  type InstanceStatus,
  type Owner,
  type Release,
  readServiceRecords,
  readWorkstationRecords,
  type ServiceRecord,
  type SupervisorAbout,
  type WorkstationRecord,
  type WorkstationState,
} from "../supervisor";

/** What is deployed on a platform, by name. */
interface DeployedView {
  readonly services: readonly ServiceView[];
  readonly workstations: readonly WorkstationView[];
}

/** The local platform as its supervisor tells it, or, where none runs, as its records do. */
export interface LocalView extends DeployedView {
  readonly kind: "local";
  /** Absolute path. */
  readonly directory: string;
  /** Null when no supervisor answers: then everything is what the records say. */
  readonly supervisor: SupervisorAbout | null;
}

/** A namespace as the API server tells it. */
export interface ClusterView extends DeployedView {
  readonly kind: "kubernetes";
  /** Address of the API server. */
  readonly server: string;
  readonly context: string;
  readonly namespace: string;
}

export type PlatformView = LocalView | ClusterView;

export interface ServiceView {
  readonly name: string;
  readonly owner: Owner;
  /** ISO 8601. */
  readonly claimedSince: string;
  readonly revision: number;
  /** Id of the release that gets new prompts. */
  readonly serving: string | null;
  readonly gateway: GatewayView | null;
  readonly releases: readonly Release[];
  /** Milliseconds that a drain may take. */
  readonly drainDeadline: number;
  readonly instances: readonly InstanceView[];
}

export interface GatewayView {
  readonly url: string;
  /** Null when nobody can tell. */
  readonly running: boolean | null;
  readonly restarts: number | null;
  /** On Kubernetes: its pods, and how many there should be. */
  readonly wanted?: number;
  readonly pods?: readonly GatewayPodView[];
}

export interface GatewayPodView {
  readonly name: string;
  readonly ready: boolean;
  /** Whether it is the one that leads. */
  readonly leads: boolean;
  readonly node: string | null;
  readonly restarts: number;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Why it is not ready, as far as its pod says. */
  readonly detail: string;
}

/** What is told of an instance on every platform; each tells more in its own terms. */
export interface InstanceView
  extends Pick<
    InstanceStatus,
    "id" | "release" | "phase" | "detail" | "createdAt" | "queueRemaining" | "restarts" | "evidence"
  > {
  /** On Kubernetes: its pod's name and node. */
  readonly pod?: string;
  readonly node?: string | null;
}

export interface WorkstationView {
  readonly name: string;
  readonly owner: Owner;
  /** Absolute path of the environment; on Kubernetes the claim's name. */
  readonly root: string;
  readonly declared: "running" | "stopped";
  /** Null when nobody can tell. */
  readonly phase: WorkstationState["phase"] | Phase | null;
  readonly detail: string;
  /** On Kubernetes: since when it is stopped because nobody used it (ISO 8601), which is as declared; else null. */
  readonly idleStopped?: string | null;
  readonly node?: string | null;
  readonly url: string;
  readonly queueRemaining: number | null;
  readonly restarts: number | null;
}

/** Looks at a local platform without starting or changing anything. */
export async function viewPlatform(directory: string): Promise<LocalView> {
  const supervisor = await findSupervisor(directory);
  if (supervisor === null) {
    return {
      kind: "local",
      directory,
      supervisor: null,
      services: readServiceRecords(directory).map(recordedService),
      workstations: readWorkstationRecords(directory).map(recordedWorkstation),
    };
  }
  const { about, services, workstations } = await supervisor.state();
  return {
    kind: "local",
    directory,
    supervisor: about,
    services: byName(services).map(({ gateway, instances, ...service }) => ({
      ...recordedService({ ...service, gateway }),
      gateway: gateway && { url: gateway.url, running: gateway.pid !== null, restarts: gateway.restarts },
      instances,
    })),
    workstations: byName(workstations).map(({ phase, detail, queueRemaining, restarts, ...workstation }) => ({
      ...recordedWorkstation(workstation),
      url: workstation.url,
      phase,
      detail,
      queueRemaining,
      restarts,
    })),
  };
}

/** The supervisor tells its objects in the order of their declaration, the records in that of their names. */
function byName<T extends { readonly name: string }>(objects: readonly T[]): readonly T[] {
  return [...objects].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function recordedService(record: ServiceRecord): ServiceView {
  return {
    name: record.name,
    owner: record.claim.owner,
    claimedSince: record.claim.since,
    revision: record.revision,
    serving: record.serving,
    gateway: record.gateway && { url: record.gateway.url, running: null, restarts: null },
    releases: record.releases,
    drainDeadline: record.settings.drain.deadline,
    instances: [],
  };
}

function recordedWorkstation({ name, declaration, port }: WorkstationRecord): WorkstationView {
  return {
    name,
    owner: declaration.owner,
    root: declaration.root,
    declared: declaration.state,
    phase: null,
    detail: "",
    url: `http://127.0.0.1:${port}`,
    queueRemaining: null,
    restarts: null,
  };
}

/** Where a view was taken, for a person. */
export function placeText(view: PlatformView): string {
  if (view.kind === "local") return view.directory;
  const { namespace, server, context } = view;
  return `namespace ${namespace} of ${server} (context ${context})`;
}

/** The same for a script. */
export function placeDocument(view: PlatformView) {
  if (view.kind === "local") return { directory: view.directory };
  const { server, context, namespace } = view;
  return { server, context, namespace };
}

/** Owner as a person writes a stack's full name. */
export function stackName({ organization, project, stack }: Owner): string {
  return `${organization}/${project}/${stack}`;
}

/** True once a release is history: it was removed, or given up before anybody knew it. */
export function hasEnded({ events, count }: Release): boolean {
  const last = events.at(-1)?.event;
  return last === "removed" || (last === "abandoned" && count === 0);
}
