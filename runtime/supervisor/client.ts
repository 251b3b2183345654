import { resolve } from "node:path";
import { waitFor } from "../waiting";
import { findSocket, openSocket } from "./connection";
import { identify, isAlive } from "./processes";
import type {
  Claim,
  GatewayDeclaration,
  GatewayState,
  Owner,
  PlatformState,
  Release,
  ReleaseEventName,
  ReleaseSpec,
  ServiceSettings,
  ServiceState,
  SupervisorAbout,
  WorkstationDeclaration,
  WorkstationState,
} from "./protocol";
import { ask, type Method, NoAnswerError, SupervisorError } from "./transport";

/** Milliseconds for an answer; every request that takes longer is made in steps. */
const answerTimeout = 60_000;
/** Milliseconds for a supervisor to end, once it has said that it does. */
const endDeadline = 20_000;
/** How often a request is sent again after its supervisor went away. */
const mostAttempts = 3;

/**
 * Connects to a directory's supervisor; starts it where none answers. Fails after 20 s with the end of its log, and when
 * the one that runs speaks another protocol.
 */
export async function connectSupervisor(directory: string): Promise<SupervisorClient> {
  const absolute = resolve(directory);
  return new SupervisorClient(await openSocket(absolute), () => openSocket(absolute));
}

/** Connects to a directory's supervisor when one answers; never starts one. */
export async function findSupervisor(directory: string): Promise<SupervisorClient | null> {
  const socket = await findSocket(resolve(directory));
  return socket === null ? null : new SupervisorClient(socket, null);
}

/**
 * A supervisor as seen from outside. Every method may be called again after a failure. A refusal is thrown as
 * {@link SupervisorError}. Where the supervisor was killed meanwhile, a client made by {@link connectSupervisor} starts the next.
 */
export class SupervisorClient {
  constructor(
    private socket: string,
    private readonly reconnect: (() => Promise<string>) | null,
  ) {}

  async about(): Promise<SupervisorAbout> {
    return (await this.ask("GET", "/v1/about")) as SupervisorAbout;
  }

  async state(): Promise<PlatformState> {
    return (await this.ask("GET", "/v1/state")) as PlatformState;
  }

  /** Claims a service, or updates the settings of one's own. Refused (`owned-by-another`) unless `takeover`. */
  async claimService(
    service: string,
    request: { readonly owner: Owner; readonly settings: ServiceSettings; readonly takeover: boolean },
  ): Promise<Claim> {
    return (await this.ask("PUT", `${servicePath(service)}/claim`, request)) as Claim;
  }

  /**
   * Gives a claim up and removes the service's gateway and folder. An absent service is fine. Refused
   * (`still-serving`) while releases have instances.
   */
  async releaseClaim(service: string, owner: Owner): Promise<void> {
    await this.ask("DELETE", `${servicePath(service)}/claim`, { owner });
  }

  async service(service: string): Promise<ServiceState | null> {
    return orNull(this.ask("GET", servicePath(service)) as Promise<ServiceState>);
  }

  /**
   * Starts or adjusts the gateway and returns once it listens. Refused (`port-taken`) when something else holds the
   * declared port.
   */
  async declareGateway(service: string, declaration: GatewayDeclaration): Promise<GatewayState> {
    return (await this.ask("PUT", `${servicePath(service)}/gateway`, declaration)) as GatewayState;
  }

  /** Stops the gateway; returns when it has gone. An absent one is fine. */
  async removeGateway(service: string): Promise<void> {
    await this.ask("DELETE", `${servicePath(service)}/gateway`);
  }

  /** The token by which the deployer reaches releases that do not serve. A secret. */
  async deployerToken(service: string): Promise<string> {
    return ((await this.ask("GET", `${servicePath(service)}/deployer-token`)) as { token: string }).token;
  }

  /** Records a release with the next revision, or adopts the newest unconfirmed one of an equal spec. */
  async createRelease(
    service: string,
    request: { readonly owner: Owner; readonly spec: ReleaseSpec },
  ): Promise<Release> {
    return (await this.ask("POST", `${servicePath(service)}/releases`, request)) as Release;
  }

  /** Sets how many instances a release has. Returns at once; {@link service} shows how far it is. */
  async setCount(service: string, release: string, count: number): Promise<Release> {
    return (await this.ask("PUT", `${releasePath(service, release)}/count`, { count })) as Release;
  }

  async recordEvent(service: string, release: string, event: ReleaseEventName, detail?: string): Promise<void> {
    const body = { event, ...(detail === undefined ? {} : { detail }) };
    await this.ask("POST", `${releasePath(service, release)}/events`, body);
  }

  /** Ends what instances a release still has and removes its folder. An absent one is fine. Refused (`still-serving`). */
  async removeRelease(service: string, release: string): Promise<void> {
    await this.ask("DELETE", releasePath(service, release));
  }

  /**
   * Moves the traffic, and returns once the gateway has applied it. Refused: `superseded` when neither
   * `expectedServing` nor `release` serves; `not-proven` unless all wanted instances, one at least, are proven.
   */
  async setTarget(
    service: string,
    request: { readonly release: string; readonly expectedServing: string | null },
  ): Promise<ServiceState> {
    return (await this.ask("PUT", `${servicePath(service)}/target`, request)) as ServiceState;
  }

  /** Lets the gateway serve nothing. */
  async clearTarget(service: string): Promise<void> {
    await this.ask("DELETE", `${servicePath(service)}/target`);
  }

  /** Declares a workstation. Returns at once; {@link workstation} shows how far it is. */
  async declareWorkstation(name: string, declaration: WorkstationDeclaration): Promise<WorkstationState> {
    return (await this.ask("PUT", workstationPath(name), declaration)) as WorkstationState;
  }

  async workstation(name: string): Promise<WorkstationState | null> {
    return orNull(this.ask("GET", workstationPath(name)) as Promise<WorkstationState>);
  }

  /**
   * Lets the running prompt finish within the declared stop deadline, stops the workstation and forgets it. Returns when
   * it is gone; the environment stays. An absent one is fine.
   */
  async removeWorkstation(name: string): Promise<void> {
    // Each request waits for a while only, so that none is longer than an answer may take.
    while (!((await this.ask("DELETE", workstationPath(name))) as { gone: boolean }).gone);
  }

  /** Stops and starts a running workstation, as a person would. Returns at once. */
  async restartWorkstation(name: string): Promise<WorkstationState> {
    return (await this.ask("POST", `${workstationPath(name)}/restart`)) as WorkstationState;
  }

  /**
   * Ends the supervisor, and returns when it has gone. Refused (`invalid`) while it looks after something, unless `force`:
   * all its processes are then ended, with the prompts that they have. What is declared stays, and the next supervisor starts it
   * again. (A supervisor that gets SIGTERM ends alone: its processes go on, for the next one to take over.)
   */
  async shutdown(options: { readonly force: boolean }): Promise<void> {
    const { pid } = await this.about();
    const supervisor = identify(pid);
    await this.ask("POST", "/v1/shutdown", options);
    await waitFor({
      what: `the supervisor (process ${pid}) to end`,
      deadline: endDeadline,
      interval: 20,
      look: () => supervisor === null || !isAlive(supervisor) || undefined,
    });
  }

  private async ask(method: Method, path: string, body?: unknown): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await ask(this.socket, { method, path, body, timeout: answerTimeout });
      } catch (error) {
        if (!(error instanceof NoAnswerError) || this.reconnect === null || attempt === mostAttempts) throw error;
        if (error.sent && !mayRepeat(method, path)) throw error;
        this.socket = await this.reconnect();
      }
    }
  }
}

/**
 * Whether a request that may have had its effect may be sent again. What states a wish may; so may a release, which is then
 * adopted, and an event, which is recorded once. A restart or an end may not: it would be another one.
 */
const mayRepeat = (method: Method, path: string) => method !== "POST" || /\/(?:releases|events)$/.test(path);

const servicePath = (service: string) => `/v1/services/${encodeURIComponent(service)}`;
const releasePath = (service: string, release: string) =>
  `${servicePath(service)}/releases/${encodeURIComponent(release)}`;
const workstationPath = (name: string) => `/v1/workstations/${encodeURIComponent(name)}`;

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof SupervisorError && error.refusal.code === "not-found") return null;
    throw error;
  }
}
