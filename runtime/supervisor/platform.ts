import { existsSync } from "node:fs";
import { pause } from "../bell";
import { ownerName, sameOwner } from "../deployment";
import { Background } from "./background";
import { foldersIn, removeTree } from "./files";
import type { Folders } from "./folders";
import { type Journal, reasonOf } from "./journal";
import { PortBook } from "./port-book";
import { capLog } from "./process-log";
import { findMarkedBelow, killMarked, send } from "./processes";
import type {
  Claim,
  Owner,
  PlatformState,
  SupervisorAbout,
  WorkstationDeclaration,
  WorkstationState,
} from "./protocol";
import { demandReadable } from "./readable";
import { RefusedError } from "./refusal";
import { Serial } from "./serial";
import { type ClaimRequest, Service } from "./service";
import { readService, snapshotsOf } from "./service-record";
import { removeInterruptedRestores, removeUnusedRestores } from "./unused-restores";
import { holderOf, Workstation } from "./workstation";
import { readWorkstation } from "./workstation-record";

/** Milliseconds for which one request waits for a workstation that is being removed; the client asks again. */
const removalWait = 20_000;
/** Milliseconds between two looks whether it has gone. */
const removalInterval = 100;

/** All that a supervisor looks after. */
export class Platform {
  private readonly services = new Map<string, Service>();
  private readonly workstations = new Map<string, Workstation>();
  private readonly turns = new Map<string, Serial>();
  private readonly ports = new PortBook();
  private readonly restores = new Background();
  private readonly scans = new Background();

  private constructor(
    private readonly folders: Folders,
    private readonly journal: Journal,
  ) {}

  /** Takes over what is recorded in the directory. Fails before it touches anything when a part of that cannot be read. */
  static async load(folders: Folders, journal: Journal): Promise<Platform> {
    demandReadable(folders);
    const services = foldersIn(folders.services).map((name) => ({ name, stored: readService(folders.service(name)) }));
    const workstations = foldersIn(folders.workstations).map((name) => ({
      name,
      stored: readWorkstation(folders.workstation(name)),
    }));
    const platform = new Platform(folders, journal);
    const needed = services.flatMap(({ stored }) => (stored === null ? [] : snapshotsOf(stored)));
    await removeInterruptedRestores(folders.cache, new Set(needed), journal);
    for (const { name, stored } of services) {
      if (stored === null) await platform.removeLeftOver(folders.service(name).root);
      else platform.services.set(name, await Service.load(platform.serviceContext(name), stored));
    }
    for (const { name, stored } of workstations) {
      if (stored === null) await platform.removeLeftOver(folders.workstation(name).root);
      else platform.workstations.set(name, new Workstation(platform.workstationContext(name), stored));
    }
    platform.endLeftOvers();
    return platform;
  }

  /** Whether there is nothing left to look after. */
  get empty(): boolean {
    this.forgetGone();
    return this.services.size === 0 && this.workstations.size === 0;
  }

  get contents(): string {
    this.forgetGone();
    return [
      ...[...this.services.keys()].map((name) => `service ${name}`),
      ...[...this.workstations.keys()].map((name) => `workstation ${name}`),
    ].join(", ");
  }

  /** Whether the directory still says anything of what is looked after. */
  get recorded(): boolean {
    return (
      [...this.services.keys()].some((name) => existsSync(this.folders.service(name).record)) ||
      [...this.workstations.keys()].some((name) => existsSync(this.folders.workstation(name).record))
    );
  }

  async state(about: SupervisorAbout): Promise<PlatformState> {
    this.forgetGone();
    const [services, workstations] = await Promise.all([
      Promise.all([...this.services.values()].map((service) => service.state())),
      Promise.all([...this.workstations.values()].map((workstation) => workstation.state())),
    ]);
    return { about, services, workstations };
  }

  /** @throws {RefusedError} `not-found` */
  service(name: string): Service {
    const service = this.services.get(name);
    if (service !== undefined) return service;
    throw new RefusedError("not-found", `nobody has claimed a service ${name} in ${this.folders.directory}`);
  }

  /** Changes a service; one change at a time. */
  change<T>(name: string, operation: (service: Service) => Promise<T> | T): Promise<T> {
    return this.inTurn(`service ${name}`, async () => operation(this.service(name)));
  }

  claim(name: string, request: ClaimRequest): Promise<Claim> {
    return this.inTurn(`service ${name}`, async () => {
      const known = this.services.get(name);
      if (known !== undefined) return known.claim(request);
      const service = Service.create(this.serviceContext(name), request);
      this.services.set(name, service);
      this.journal(`service ${name}: claimed by ${ownerName(request.owner)}`);
      return (await service.state()).claim;
    });
  }

  releaseClaim(name: string, owner: Owner): Promise<void> {
    return this.inTurn(`service ${name}`, async () => {
      const service = this.services.get(name);
      if (service === undefined) return;
      await service.remove(owner);
      this.services.delete(name);
      this.journal(`service ${name}: given up`);
      await this.removeUnusedRestores();
    });
  }

  /** Stops a service's gateway; nothing to do when there is none. */
  removeGateway(name: string): Promise<void> {
    return this.inTurn(`service ${name}`, async () => this.services.get(name)?.removeGateway());
  }

  /** Removes a release; nothing to do when there is none. */
  removeRelease(name: string, release: string): Promise<void> {
    return this.inTurn(`service ${name}`, async () => {
      const service = this.services.get(name);
      if (service === undefined) return;
      await service.removeRelease(release);
      await this.removeUnusedRestores();
    });
  }

  async workstation(name: string): Promise<WorkstationState> {
    return this.knownWorkstation(name).state();
  }

  declareWorkstation(name: string, declaration: WorkstationDeclaration): Promise<WorkstationState> {
    return this.inTurn(`workstation ${name}`, async () => {
      this.forgetGone();
      const known = this.workstations.get(name);
      if (known !== undefined) this.demandOwner(name, known, declaration.owner);
      for (const [other, workstation] of this.workstations) {
        if (other === name || workstation.root !== declaration.root) continue;
        throw new RefusedError(
          "invalid",
          `the environment ${declaration.root} is already the workstation ${other}'s: two servers would write to the same folders`,
        );
      }
      const port = await this.workstationPort(name, known, declaration.port);
      if (known !== undefined) {
        known.declare(declaration, port);
        return known.state();
      }
      const workstation = new Workstation(this.workstationContext(name), {
        format: 1,
        declaration,
        port,
        plugins: null,
        removing: false,
        process: null,
        processPort: null,
        booted: false,
        startedWith: null,
        hashes: {},
        restarts: 0,
      });
      // Written before it is looked after: what is not on disk does not exist for the next supervisor.
      workstation.declare(declaration, port);
      this.workstations.set(name, workstation);
      return workstation.state();
    });
  }

  /** Stops and forgets a workstation; false when that takes longer than one request may wait. */
  async removeWorkstation(name: string): Promise<boolean> {
    const workstation = this.workstations.get(name);
    if (workstation === undefined) return true;
    workstation.remove();
    const began = performance.now();
    while (!workstation.gone) {
      if (performance.now() - began > removalWait) return false;
      await pause(removalInterval, new AbortController().signal);
    }
    this.forgetGone();
    return true;
  }

  async restartWorkstation(name: string): Promise<WorkstationState> {
    const workstation = this.knownWorkstation(name);
    workstation.restart();
    return workstation.state();
  }

  /** Keeps every log small. */
  capLogs(): void {
    const logs = [
      ...[...this.services.values()].flatMap(({ logs: own }) => own),
      ...[...this.workstations.values()].map(({ log }) => log),
      this.folders.log,
    ];
    const problems = logs.flatMap((log) => {
      try {
        capLog(log);
        return [];
      } catch (error) {
        return [`${log} could not be cut: ${reasonOf(error)}`];
      }
    });
    if (problems.length > 0) throw new Error(problems.join("; "));
  }

  /** Ends all processes at once. What is declared stays, and the next supervisor starts it again. */
  async halt(): Promise<void> {
    await Promise.all([...this.services.values(), ...this.workstations.values()].map((kept) => kept.halt()));
  }

  /** Stops looking after everything; all processes go on. */
  async detach(): Promise<void> {
    await Promise.all([...this.services.values(), ...this.workstations.values()].map((kept) => kept.detach()));
    await Promise.all([this.restores.close(), this.scans.close()]);
  }

  private inTurn<T>(name: string, operation: () => Promise<T>): Promise<T> {
    const serial = this.turns.get(name) ?? new Serial();
    this.turns.set(name, serial);
    return serial.run(operation);
  }

  private async workstationPort(
    name: string,
    known: Workstation | undefined,
    declared: number | null,
  ): Promise<number> {
    const holder = holderOf(name);
    if (declared !== null) {
      if (!known?.holds(declared)) await this.ports.demand(declared, holder);
      return declared;
    }
    if (known === undefined) return this.ports.choose(holder);
    if (known.holds(known.port) || (await this.ports.takenBy(known.port, holder)) === null) return known.port;
    return this.ports.choose(holder);
  }

  private demandOwner(name: string, known: Workstation, owner: Owner): void {
    if (sameOwner(known.owner, owner)) return;
    throw new RefusedError(
      "owned-by-another",
      `the workstation ${name} belongs to the stack ${ownerName(known.owner)}, not to ${ownerName(owner)}: give it another name, or remove it there`,
      { owner: known.owner },
    );
  }

  private knownWorkstation(name: string): Workstation {
    this.forgetGone();
    const workstation = this.workstations.get(name);
    if (workstation !== undefined) return workstation;
    throw new RefusedError("not-found", `there is no workstation ${name} in ${this.folders.directory}`);
  }

  private forgetGone(): void {
    for (const [name, workstation] of this.workstations) if (workstation.gone) this.workstations.delete(name);
  }

  private serviceContext(name: string) {
    const { folders, restores, ports, journal } = this;
    return { name, folders: folders.service(name), cache: folders.cache, restores, ports, journal };
  }

  private workstationContext(name: string) {
    const { folders, scans, ports, journal } = this;
    return { name, folders: folders.workstation(name), scans, ports, journal };
  }

  private async removeUnusedRestores(): Promise<void> {
    await removeUnusedRestores(this.folders.cache, () => this.needed, this.journal);
  }

  /** Manifest digests of the snapshots that instances may still be started from. */
  private get needed(): ReadonlySet<string> {
    return new Set([...this.services.values()].flatMap(({ snapshots }) => snapshots));
  }

  private async removeLeftOver(root: string): Promise<void> {
    this.journal(`${root}: removes what has no record`);
    for (const identity of findMarkedBelow(root)) send(identity, "SIGKILL");
    killMarked(root);
    await removeTree(root);
  }

  /** Ends processes of services and workstations whose folders somebody has removed. */
  private endLeftOvers(): void {
    const known = [
      ...[...this.services.keys()].map((name) => this.folders.service(name).root),
      ...[...this.workstations.keys()].map((name) => this.folders.workstation(name).root),
    ];
    const isKnown = (mark: string) => known.some((root) => mark === root || mark.startsWith(`${root}/`));
    for (const folder of [this.folders.services, this.folders.workstations]) {
      for (const identity of findMarkedBelow(folder, (mark) => !isKnown(mark))) {
        this.journal(`process ${identity.pid} belongs to nothing that is recorded, and is ended`);
        send(identity, "SIGKILL");
      }
    }
  }
}
