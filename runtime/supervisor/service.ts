import { hasServed, isOver, lastOf, recordRelease, sameOwner, withCount, withEvent, withRelease } from "../deployment";
import type { Background } from "./background";
import { deployerToken } from "./deployer-token";
import { Drains } from "./drains";
import { removeTree } from "./files";
import type { ServiceFolders } from "./folders";
import { InstanceSet } from "./instance-set";
import { type Journal, reasonOf } from "./journal";
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
import { publicRelease, type StoredRelease, type StoredService } from "./records";
import { ServiceGateway } from "./service-gateway";
import { snapshotsOf, writeService } from "./service-record";
import { serviceRefusals } from "./service-refusals";
import { momentNow } from "./steady-clock";
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

/** Milliseconds before another attempt to write down what could not be written. */
const retryInterval = 5_000;

/**
 * A service: its claim, gateway, releases, and where its traffic goes. Whoever calls makes sure that one operation runs at a
 * time. Each writes down what is wanted before it acts, and goes on from there when it is asked again.
 */
export class Service {
  private readonly instances: InstanceSet;
  private readonly targets: TargetsFile;
  private readonly drains: Drains;
  private readonly token: string;
  private readonly refusals: ReturnType<typeof serviceRefusals>;
  private readonly gateway: ServiceGateway;
  private retry: NodeJS.Timeout | null = null;
  /** False while instances are taken over one by one: the gateway must not hear of a part of them. */
  private loaded = false;

  private constructor(
    private readonly context: ServiceContext,
    private stored: StoredService,
  ) {
    const { name, folders, cache, restores, ports, journal } = context;
    this.token = deployerToken(folders);
    this.refusals = serviceRefusals(name);
    this.targets = new TargetsFile(folders);
    this.gateway = new ServiceGateway({ name, folders, token: this.token, ports, journal });
    this.instances = new InstanceSet({ folders, cache, restores, ports, journal, changed: () => this.changed() });
    this.drains = new Drains({
      instances: this.instances,
      releases: () => this.stored.releases,
      settings: () => this.stored.settings,
      gateway: () => this.gateway.process,
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
    writeService(context.folders, stored);
    const service = new Service(context, stored);
    service.begin();
    return service;
  }

  /** Goes on where an earlier supervisor left a service. */
  static async load(context: ServiceContext, stored: StoredService): Promise<Service> {
    const service = new Service(context, stored);
    await service.instances.load(stored.releases.filter((release) => !isOver(release)));
    service.publish();
    if (stored.gateway === null) service.gateway.clear();
    else service.gateway.start(stored.gateway.port, stored.gateway.declaration);
    service.begin();
    for (const release of stored.releases) if (!isOver(release)) await service.reconcile(release.id);
    return service;
  }

  /** All that there is of it is known from now on. */
  private begin(): void {
    this.loaded = true;
    this.drains.start();
  }

  /** Manifest digests of the snapshots that instances may still be started from. */
  get snapshots(): readonly string[] {
    return snapshotsOf(this.stored);
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
    if (!same && !takeover) throw this.refusals.ownedByAnother(this.stored.claim, owner);
    const claim = same ? this.stored.claim : { owner, since: new Date().toISOString() };
    this.save({ claim, settings });
    this.drains.wake();
    return claim;
  }

  /** Gives the claim up and removes everything of the service. */
  async remove(owner: Owner): Promise<void> {
    if (!sameOwner(this.stored.claim.owner, owner)) throw this.refusals.ownedByAnother(this.stored.claim, owner);
    const left = this.instances.all.map(({ id }) => id);
    if (left.length > 0) throw this.refusals.hasInstances(left);
    await this.removeGateway();
    await this.drains.detach();
    this.forgetRetry();
    await removeTree(this.context.folders.root);
  }

  async detach(): Promise<void> {
    this.forgetRetry();
    await Promise.all([this.drains.detach(), this.instances.detach(), this.gateway.detach()]);
  }

  /** Ends all its processes at once; what is declared stays. */
  async halt(): Promise<void> {
    await this.drains.detach();
    this.forgetRetry();
    await Promise.all([this.instances.halt(), this.gateway.stop()]);
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
      gateway: this.gateway.stateOf(this.stored.gateway),
      releases: releases.map((release) => publicRelease(release, settings)),
      instances: await Promise.all(this.instances.all.map((instance) => instance.status())),
    };
  }

  async declareGateway(declaration: GatewayDeclaration): Promise<GatewayState> {
    const port = await this.gateway.portFor(declaration, this.stored.gateway?.port ?? null);
    this.save({ gateway: { port, declaration } });
    this.publish();
    return this.gateway.run(port, declaration);
  }

  async removeGateway(): Promise<void> {
    this.gateway.leave(this.stored.gateway?.port ?? null);
    this.save({ gateway: null });
    await this.gateway.stop();
  }

  createRelease(owner: Owner, spec: ReleaseSpec): Release {
    if (!sameOwner(this.stored.claim.owner, owner)) throw this.refusals.ownedByAnother(this.stored.claim, owner);
    const { service, release } = recordRelease(this.stored, owner, spec, new Date().toISOString());
    this.save(service);
    return publicRelease(release, this.stored.settings);
  }

  async setCount(id: string, count: number): Promise<Release> {
    const release = this.release(id);
    if (isOver(release)) {
      if (count === 0) return publicRelease(release, this.stored.settings);
      throw this.refusals.isOver(release);
    }
    const present = {
      wanted: this.instances.wanted(id).length,
      anyLeaving: this.instances.of(id).some(({ leaving }) => leaving),
    };
    const counted = withCount(release, count, present, new Date().toISOString());
    this.saveRelease(counted.drain === release.drain ? counted : { ...counted, drainBegan: momentNow() });
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
    if (this.stored.serving === id) throw this.refusals.serves(id);
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
    if (serving !== expectedServing && serving !== id) throw this.refusals.superseded(serving, expectedServing);
    if (serving !== id) {
      this.demandProven(release);
      const moved = withEvent(release, "serving", new Date().toISOString());
      this.save({ ...withRelease(this.stored, moved), serving: id });
      this.context.journal(`${this.context.name}: the traffic moves from ${serving ?? "no release"} to ${id}`);
    }
    await this.gateway.process?.untilApplied(this.publish());
    return this.state();
  }

  async clearTarget(): Promise<void> {
    this.save({ serving: null });
    await this.gateway.process?.untilApplied(this.publish());
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
      this.drains.end(instance);
    }
    this.changed();
  }

  /** Follows what instances have become. What cannot be written, on a full disk for example, is tried again: they go on meanwhile. */
  private changed(): void {
    if (!this.loaded) return;
    try {
      this.publish();
      for (const release of this.stored.releases) this.recordProgress(release);
    } catch (error) {
      this.context.journal(`service ${this.context.name}: ${reasonOf(error)}; it is tried again`);
      this.retry ??= setTimeout(() => {
        this.retry = null;
        this.changed();
      }, retryInterval);
    }
    this.drains.wake();
  }

  private forgetRetry(): void {
    this.loaded = false;
    if (this.retry !== null) clearTimeout(this.retry);
  }

  private recordProgress(release: StoredRelease): void {
    const now = new Date().toISOString();
    if (this.allProven(release) && lastOf(release, ["started", "proven", "failed"]) !== "proven") {
      this.saveRelease(withEvent(release, "proven", now));
    }
    const gone = release.count === 0 && this.instances.of(release.id).length === 0;
    if (gone && lastOf(release, ["serving", "draining", "drained"]) === "draining") {
      this.saveRelease(withEvent({ ...release, drain: null, drainBegan: null }, "drained", now));
    }
  }

  private allProven({ id, count }: StoredRelease): boolean {
    const wanted = this.instances.wanted(id);
    return count > 0 && wanted.length === count && wanted.every(({ proven }) => proven);
  }

  private demandProven(release: StoredRelease): void {
    if (this.allProven(release)) return;
    const proven = this.instances.wanted(release.id).filter((instance) => instance.proven).length;
    throw this.refusals.notProven(release, proven);
  }

  private publish(): number {
    return this.targets.publish(this.stored.serving, targetsOf(this.instances.all));
  }

  private refuseDrain(id: string, refusal: Refusal): void {
    const release = this.release(id);
    if (release.drain !== null) this.saveRelease({ ...release, drain: { ...release.drain, refused: refusal } });
  }

  private finishDrain(id: string): void {
    // Nothing may have been told to go yet.
    if (this.instances.wanted(id).length > this.release(id).count) return;
    this.saveRelease({ ...this.release(id), drain: null, drainBegan: null });
    this.recordProgress(this.release(id));
  }

  private release(id: string): StoredRelease {
    const release = this.stored.releases.find((known) => known.id === id);
    if (release === undefined) throw this.refusals.unknownRelease(id);
    return release;
  }

  private saveRelease(release: StoredRelease): void {
    this.save(withRelease(this.stored, release));
  }

  /** What could not be written is not so: whoever asked hears of it, and may ask again. */
  private save(change: Partial<StoredService>): void {
    const stored = { ...this.stored, ...change };
    writeService(this.context.folders, stored);
    this.stored = stored;
  }
}
