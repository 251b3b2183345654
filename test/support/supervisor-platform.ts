import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connectSupervisor,
  type InstanceStatus,
  type Release,
  type ReleaseSpec,
  type ServiceSettings,
  type ServiceState,
  type SupervisorClient,
  type WorkstationDeclaration,
  type WorkstationState,
} from "../../runtime/supervisor";
import { findMarkedBelow, identify, isAlive, type ProcessIdentity, send } from "../../runtime/supervisor/processes";
import { waitFor } from "../../runtime/waiting";

/** Milliseconds that anything with a ComfyUI start in it may take on a busy machine. */
export const patience = 60_000;

export const owner = { organization: "acme", project: "studio", stack: "dev" };
export const otherOwner = { ...owner, stack: "prod" };
export const settings: ServiceSettings = { drain: { deadline: 60_000, onDeadline: "keep" } };

/** A temporary folder with a platform directory in it, whose processes and files are removed afterwards. */
export class TestPlatform {
  readonly folder = mkdtempSync(join(tmpdir(), "supervisor-test-"));
  readonly directory = join(this.folder, "platform");

  constructor() {
    // What scans remember of environments goes with the folder, too; the supervisor is told by its environment.
    process.env.XDG_CACHE_HOME = join(this.folder, "cache");
  }

  connect(): Promise<SupervisorClient> {
    return connectSupervisor(this.directory);
  }

  /** What the supervisor's file says, or null. */
  get presence(): { readonly pid: number; readonly socket: string; readonly identity: ProcessIdentity } | null {
    const path = join(this.directory, "supervisor.json");
    return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
  }

  /** Sends the supervisor a signal and waits until it has ended. */
  async endDaemon(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const { presence } = this;
    if (presence === null) return;
    send(presence.identity, signal);
    await until("the supervisor to end", () => !isAlive(presence.identity));
  }

  /** Processes that the supervisor has started and that live. */
  get processes(): readonly ProcessIdentity[] {
    return findMarkedBelow(this.directory);
  }

  async remove(): Promise<void> {
    const socket = this.presence?.socket;
    await this.endDaemon("SIGKILL");
    for (const identity of this.processes) send(identity, "SIGKILL");
    if (socket !== undefined) rmSync(socket, { force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Waits for a condition. */
export async function until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
  await waitFor({ what, deadline: patience, interval: 50, look: async () => ((await condition()) ? true : undefined) });
}

/** Waits until a service is as it should be; shows what it was when it does not come to be so. */
export function untilService(
  client: SupervisorClient,
  name: string,
  what: string,
  condition: (state: ServiceState) => boolean,
): Promise<ServiceState> {
  let seen: ServiceState | null = null;
  return waitFor({
    what: `service ${name}: ${what}`,
    deadline: patience,
    interval: 100,
    look: async () => {
      seen = await client.service(name);
      return seen !== null && condition(seen) ? seen : undefined;
    },
    seen: () => JSON.stringify(seen?.instances),
  });
}

/** Waits until a workstation is as it should be. */
export function untilWorkstation(
  client: SupervisorClient,
  name: string,
  what: string,
  condition: (state: WorkstationState) => boolean,
): Promise<WorkstationState> {
  let seen: WorkstationState | null = null;
  return waitFor({
    what: `workstation ${name}: ${what}`,
    deadline: patience,
    interval: 100,
    look: async () => {
      seen = await client.workstation(name);
      return seen !== null && condition(seen) ? seen : undefined;
    },
    seen: () => JSON.stringify(seen),
  });
}

export function instancesOf(state: ServiceState, release: Release): readonly InstanceStatus[] {
  return state.instances.filter((instance) => instance.release === release.id);
}

export function allProven(release: Release, count: number): (state: ServiceState) => boolean {
  return (state) => {
    const own = instancesOf(state, release);
    return own.length === count && own.every(({ phase }) => phase === "proven");
  };
}

export function releaseIn(state: ServiceState, id: string): Release {
  const release = state.releases.find((known) => known.id === id);
  if (release === undefined) throw new Error(`the service ${state.name} has no release ${id}`);
  return release;
}

export const eventsOf = (release: Release) => release.events.map(({ event }) => event);

export function specFor(snapshot: string, health: Partial<ReleaseSpec["health"]> = {}): ReleaseSpec {
  return {
    snapshot,
    models: null,
    arguments: [],
    environmentVariables: {},
    health: {
      startTimeout: patience,
      stableFor: 0,
      smoke: null,
      smokeTimeout: patience,
      acceptFailing: [],
      ...health,
    },
  };
}

export function workstationOf(
  environment: Pick<WorkstationDeclaration, "root" | "layout">,
  more: Partial<WorkstationDeclaration> = {},
): WorkstationDeclaration {
  return {
    owner,
    ...environment,
    port: null,
    arguments: [],
    environmentVariables: {},
    state: "running",
    stopDeadline: patience,
    ...more,
  };
}

/** Queues a prompt whose only node ends when a file exists. Returns its id. */
export async function queueWaiting(url: string, file: string): Promise<string> {
  const response = await fetch(`${url}/prompt`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: { "1": { class_type: "TestWait", inputs: { file } } } }),
  });
  if (!response.ok) throw new Error(`${url}/prompt answered ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { prompt_id: string }).prompt_id;
}

export function isLive(pid: number | null): boolean {
  return pid !== null && identify(pid) !== null;
}
