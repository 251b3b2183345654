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

/** A platform as its supervisor tells it, or, where none runs, as its records do. */
export interface PlatformView {
  /** Absolute path. */
  readonly directory: string;
  /** Null when no supervisor answers: then everything below is what the records say. */
  readonly supervisor: SupervisorAbout | null;
  readonly services: readonly ServiceView[];
  readonly workstations: readonly WorkstationView[];
}

export interface ServiceView {
  readonly name: string;
  readonly owner: Owner;
  /** ISO 8601. */
  readonly claimedSince: string;
  readonly revision: number;
  /** Id of the release that gets new prompts. */
  readonly serving: string | null;
  /** `running` is null when nobody can tell. */
  readonly gateway: { readonly url: string; readonly running: boolean | null; readonly restarts: number | null } | null;
  readonly releases: readonly Release[];
  /** Milliseconds that a drain may take. */
  readonly drainDeadline: number;
  readonly instances: readonly InstanceStatus[];
}

export interface WorkstationView {
  readonly name: string;
  readonly owner: Owner;
  /** Absolute path of the environment. */
  readonly root: string;
  readonly declared: "running" | "stopped";
  /** Null when nobody can tell. */
  readonly phase: WorkstationState["phase"] | null;
  readonly detail: string;
  readonly url: string;
  readonly queueRemaining: number | null;
  readonly restarts: number | null;
}

/** Looks at a platform without starting or changing anything. */
export async function viewPlatform(directory: string): Promise<PlatformView> {
  const supervisor = await findSupervisor(directory);
  if (supervisor === null) {
    return {
      directory,
      supervisor: null,
      services: readServiceRecords(directory).map(recordedService),
      workstations: readWorkstationRecords(directory).map(recordedWorkstation),
    };
  }
  const { about, services, workstations } = await supervisor.state();
  return {
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

/** Owner as a person writes a stack's full name. */
export function stackName({ organization, project, stack }: Owner): string {
  return `${organization}/${project}/${stack}`;
}

/** True once a release is history: it was removed, or given up before anybody knew it. */
export function hasEnded({ events, count }: Release): boolean {
  const last = events.at(-1)?.event;
  return last === "removed" || (last === "abandoned" && count === 0);
}
