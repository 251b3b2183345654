import type { Background } from "./background";
import { deployerToken } from "./deployer-token";
import { Drains } from "./drains";
import { removeTree, writeJson } from "./files";
import type { ServiceFolders } from "./folders";
import { GatewayProcess, writeGatewaySettings } from "./gateway-process";
import { InstanceSet } from "./instance-set";
import type { Journal } from "./journal";
import type { PortBook } from "./port-book";
import type {
  Claim,
  GatewayDeclaration,
  GatewayState,
  Owner,
  Refusal,
  Release,
  ReleaseEventName,
  ReleaseSpec,
  ServiceSettings,
  ServiceState,
} from "./protocol";
import { publicRelease, type StoredRelease, type StoredService, urlOf } from "./records";
import { RefusedError } from "./refusal";
import {
  hasServed,
  isOver,
  lastOf,
  ownerName,
  recordRelease,
  sameOwner,
  withCount,
  withEvent,
  withRelease,
} from "./releases";
import { TargetsFile, targetsOf } from "./targets-file";

export interface ServiceContext {
  readonly name: string;
  readonly folders: ServiceFolders;
  readonly cache: string;
  readonly restores: Background;
  readonly ports: PortBook;
  readonly journal: Journal;
}

export interface ClaimRequest {
  readonly owner: Owner;
  readonly settings: ServiceSettings;
  readonly takeover: boolean;
}

/**
 * A service: its claim, gateway, releases, and where its traffic goes. Whoever calls makes sure that one operation runs at a
 * time. Each writes down what is wanted before it acts, and goes on from there when it is asked again.
 */
export class Service {
  private readonly instances: InstanceSet;
  private readonly targets: TargetsFile;
  private readonly drains: Drains;
  private readonly token: string;
  private gateway: GatewayProcess | null = null;
  /** False while instances are taken over one by one: the gateway must not hear of a part of them. */
  private loaded = false;

  private constructor(
    private readonly context: ServiceContext,
    private stored: StoredService,
  ) {
    const { folders, cache, restores, ports, journal } = context;
    this.token = deployerToken(folders);
    this.targets = new TargetsFile(folders);
    this.instances = new InstanceSet({ folders, cache, restores, ports, journal, changed: () => this.changed() });
    this.drains = new Drains({
      instances: this.instances,
      releases: () => this.stored.releases,
      settings: () => this.stored.settings,
      gateway: () => this.gateway,
      generation: () => this.targets.generation,
      refuse: (release, refusal) => this.refuseDrain(release, refusal),
      finished: (release) => this.finishDrain(release),
      journal,
    });
  }

  /** A service that nobody has claimed before. */
  static create(context: ServiceContext, { owner, settings }: ClaimRequest): Service {
    const stored: StoredService = {
      format: 1,
      claim: { owner, since: new Date().toISOString() },
      settings,
      revision: 0,
      serving: null,
      gateway: null,
      releases: [],
    };
    writeJson(context.folders.record, stored);
    const service = new Service(context, stored);
    service.loaded = true;
    return service;
  }

  /** Goes on where an earlier supervisor left a service. */
  static async load(context: ServiceContext, stored: StoredService): Promise<Service> {
    const service = new Service(context, stored);
    await service.instances.load(stored.releases.filter((release) => !isOver(release)));
    service.loaded = true;
    if (stored.gateway !== null) service.startGateway(stored.gateway.port, stored.gateway.declaration);
    for (const release of stored.releases) if (!isOver(release)) await service.reconcile(release.id);
    return service;
  }

  /** Manifest digests of the snapshots that instances may still be started from. */
  get snapshots(): readonly string[] {
    return this.stored.releases
      .filter((release) => !isOver(release))
      .map(({ spec }) => spec.snapshot.split("#sha256:")[1] ?? "");
  }

  /** Files that its processes write to without end. */
  get logs(): readonly string[] {
    return [this.context.folders.gatewayLog, ...this.instances.all.map(({ log }) => log)];
  }

  get deployerToken(): string {
    return this.token;
  }

  /** Updates the settings of the owner's claim, or takes it over. @throws {RefusedError} `owned-by-another` */
  claim({ owner, settings, takeover }: ClaimRequest): Claim {
    const same = sameOwner(this.stored.claim.owner, owner);
    if (!same && !takeover) throw this.ownedByAnother(owner);
    const claim = same ? this.stored.claim : { owner, since: new Date().toISOString() };
    this.save({ claim, settings });
    this.drains.wake();
    return claim;
  }

  /** Gives the claim up and removes everything of the service. */
  async remove(owner: Owner): Promise<void> {
    if (!sameOwner(this.stored.claim.owner, owner)) throw this.ownedByAnother(owner);
    const left = this.instances.all.map(({ id }) => id);
    if (left.length > 0) {
      throw new RefusedError(
        "still-serving",
        `the service ${this.context.name} still has the instances ${left.join(", ")}: set the counts of their releases to 0 and wait until they are gone`,
        { instances: left },
      );
    }
    await this.removeGateway();
    await this.drains.detach();
    await removeTree(this.context.folders.root);
  }

  async detach(): Promise<void> {
    await Promise.all([this.drains.detach(), this.instances.detach(), this.gateway?.detach()]);
  }

  /** Ends all its processes at once; what is declared stays. */
  async halt(): Promise<void> {
    await this.drains.detach();
    await Promise.all([this.instances.halt(), this.gateway?.stop()]);
  }

  async state(): Promise<ServiceState> {
    const { claim, settings, revision, serving, releases } = this.stored;
    return {
      name: this.context.name,
      claim,
      settings,
      revision,
      serving,
      generation: this.targets.generation,
      gateway: this.gatewayState(),
      releases: releases.map((release) => publicRelease(release, settings)),
      instances: await Promise.all(this.instances.all.map((instance) => instance.status())),
    };
  }

  async declareGateway(declaration: GatewayDeclaration): Promise<GatewayState> {
    const { ports } = this.context;
    const known = this.stored.gateway?.port ?? null;
    let port = declaration.port ?? known;
    if (port === null || !this.gateway?.holds(port)) {
      if (declaration.port !== null) await ports.demand(declaration.port, this.gatewayHolder);
      else if (port === null || (await ports.takenBy(port, this.gatewayHolder)) !== null) port = null;
    }
    if (port !== known) ports.leave(known, this.gatewayHolder);
    port ??= await ports.choose(this.gatewayHolder);
    this.save({ gateway: { port, declaration } });
    this.startGateway(port, declaration);
    await this.gateway?.adjust(port);
    const state = this.gatewayState();
    if (state === null) throw new Error(`the gateway of ${this.context.name} was removed while it was started`);
    return state;
  }

  async removeGateway(): Promise<void> {
    this.context.ports.leave(this.stored.gateway?.port ?? null, this.gatewayHolder);
    this.save({ gateway: null });
    const { gateway } = this;
    await gateway?.stop();
    this.gateway = null;
  }

  createRelease(owner: Owner, spec: ReleaseSpec): Release {
    if (!sameOwner(this.stored.claim.owner, owner)) throw this.ownedByAnother(owner);
    const { service, release } = recordRelease(this.stored, owner, spec, new Date().toISOString());
    this.save(service);
    return publicRelease(release, this.stored.settings);
  }

  async setCount(id: string, count: number): Promise<Release> {
    const release = this.release(id);
    if (isOver(release)) {
      if (count === 0) return publicRelease(release, this.stored.settings);
      throw new RefusedError(
        "not-found",
        `the release ${id} of ${this.context.name} is over: ${release.events.at(-1)?.event}`,
      );
    }
    const present = {
      wanted: this.instances.wanted(id).length,
      anyLeaving: this.instances.of(id).some(({ leaving }) => leaving),
    };
    this.saveRelease(withCount(release, count, present, new Date().toISOString()));
    for (const instance of this.instances.wanted(id)) if (instance.failed) instance.retry();
    await this.reconcile(id);
    return publicRelease(this.release(id), this.stored.settings);
  }

  recordEvent(id: string, event: ReleaseEventName, detail: string | undefined): void {
    const release = this.release(id);
    const last = release.events.at(-1);
    // A request that is sent again says nothing new.
    if (last?.event === event && last.detail === detail) return;
    this.saveRelease(withEvent(release, event, new Date().toISOString(), detail));
  }

  async removeRelease(id: string): Promise<void> {
    const release = this.stored.releases.find((known) => known.id === id);
    if (release === undefined) return;
    if (this.stored.serving === id) {
      throw new RefusedError(
        "still-serving",
        `the release ${id} serves ${this.context.name}: move the traffic to another one first`,
      );
    }
    this.saveRelease({ ...release, count: 0, confirmed: true });
    const own = this.instances.of(id);
    for (const instance of own) instance.setLeaving(true);
    await Promise.all(own.map((instance) => this.instances.end(instance)));
    await removeTree(this.context.folders.release(id));
    const now = this.release(id);
    if (lastOf(now, ["removed"]) === null) {
      this.saveRelease(withEvent({ ...now, drain: null }, "removed", new Date().toISOString()));
    }
  }

  async setTarget(id: string, expectedServing: string | null): Promise<ServiceState> {
    const release = this.release(id);
    const { serving } = this.stored;
    if (serving !== expectedServing && serving !== id) {
      throw new RefusedError(
        "superseded",
        `the traffic of ${this.context.name} goes to ${serving ?? "no release"}, not to ${expectedServing ?? "no release"}: somebody else has moved it meanwhile`,
        { serving, expectedServing },
      );
    }
    if (serving !== id) {
      this.demandProven(release);
      const moved = withEvent(release, "serving", new Date().toISOString());
      this.save({ ...withRelease(this.stored, moved), serving: id });
      this.context.journal(`${this.context.name}: the traffic moves from ${serving ?? "no release"} to ${id}`);
    }
    await this.gateway?.untilApplied(this.publish());
    return this.state();
  }

  async clearTarget(): Promise<void> {
    this.save({ serving: null });
    await this.gateway?.untilApplied(this.publish());
  }

  /** Makes the instances of a release as many as are wanted. */
  private async reconcile(id: string): Promise<void> {
    const { count } = this.release(id);
    if (this.instances.wanted(id).length < count) this.instances.grow(this.release(id), count);
    else await this.instances.shrink(id, count);
    const served = hasServed(this.release(id));
    this.publish();
    for (const instance of this.instances.of(id)) {
      if (!instance.leaving || instance.ending || (served && instance.proven)) continue;
      // Nobody's work is on it.
      this.instances.end(instance).catch(() => undefined);
    }
    this.changed();
  }

  /** Follows what instances have become. */
  private changed(): void {
    if (!this.loaded) return;
    this.publish();
    for (const release of this.stored.releases) this.recordProgress(release);
    this.drains.wake();
  }

  private recordProgress(release: StoredRelease): void {
    const now = new Date().toISOString();
    if (this.allProven(release) && lastOf(release, ["started", "proven", "failed"]) !== "proven") {
      this.saveRelease(withEvent(release, "proven", now));
    }
    const gone = release.count === 0 && this.instances.of(release.id).length === 0;
    if (gone && lastOf(release, ["serving", "draining", "drained"]) === "draining") {
      this.saveRelease(withEvent({ ...release, drain: null }, "drained", now));
    }
  }

  private allProven({ id, count }: StoredRelease): boolean {
    const wanted = this.instances.wanted(id);
    return count > 0 && wanted.length === count && wanted.every(({ proven }) => proven);
  }

  private demandProven(release: StoredRelease): void {
    if (this.allProven(release)) return;
    const proven = this.instances.wanted(release.id).filter((instance) => instance.proven).length;
    throw new RefusedError(
      "not-proven",
      `of the ${release.count} wanted instances of ${release.id}, ${proven} are proven: traffic moves only to a release of at least one instance, all proven`,
      { count: release.count, proven },
    );
  }

  private publish(): number {
    return this.targets.publish(this.stored.serving, targetsOf(this.instances.all));
  }

  private startGateway(port: number, declaration: GatewayDeclaration): void {
    const { name, folders, ports, journal } = this.context;
    ports.enter(port, this.gatewayHolder);
    writeGatewaySettings(folders, declaration, this.token);
    this.publish();
    this.gateway ??= new GatewayProcess(name, folders, this.token, port, journal);
  }

  private gatewayState(): GatewayState | null {
    const { gateway, stored } = this;
    if (gateway === null || stored.gateway === null) return null;
    const { port, declaration } = stored.gateway;
    return { port, url: urlOf(port), pid: gateway.pid, restarts: gateway.restarts, declaration };
  }

  private get gatewayHolder(): string {
    return `gateway of ${this.context.name}`;
  }

  private refuseDrain(id: string, refusal: Refusal): void {
    const release = this.release(id);
    if (release.drain !== null) this.saveRelease({ ...release, drain: { ...release.drain, refused: refusal } });
  }

  private finishDrain(id: string): void {
    this.saveRelease({ ...this.release(id), drain: null });
    this.recordProgress(this.release(id));
  }

  private release(id: string): StoredRelease {
    const release = this.stored.releases.find((known) => known.id === id);
    if (release === undefined)
      throw new RefusedError("not-found", `the service ${this.context.name} has no release ${id}`);
    return release;
  }

  private ownedByAnother(owner: Owner): RefusedError {
    const { claim } = this.stored;
    return new RefusedError(
      "owned-by-another",
      `the service ${this.context.name} belongs to the stack ${ownerName(claim.owner)} since ${claim.since}, not to ${ownerName(owner)}: give it another name, or take it over when that stack is no more`,
      claim,
    );
  }

  private saveRelease(release: StoredRelease): void {
    this.save(withRelease(this.stored, release));
  }

  private save(change: Partial<StoredService>): void {
    this.stored = { ...this.stored, ...change };
    writeJson(this.context.folders.record, this.stored);
  }
}
