import { join } from "node:path";
import type { Background } from "./background";
import { namesIn, removeIfEmpty, removeTree } from "./files";
import type { ServiceFolders } from "./folders";
import { Instance } from "./instance";
import { newInstanceRecord, readInstanceRecord } from "./instance-record";
import { type Journal, reasonOf } from "./journal";
import type { PortBook } from "./port-book";
import { killMarked } from "./processes";
import type { StoredRelease } from "./records";

export interface InstanceSetContext {
  readonly folders: ServiceFolders;
  readonly cache: string;
  readonly restores: Background;
  readonly ports: PortBook;
  readonly journal: Journal;
  /** Hears of every change that others act by. */
  readonly changed: () => void;
}

/** The instances of a service, over all its releases. */
export class InstanceSet {
  private readonly instances = new Set<Instance>();

  constructor(private readonly context: InstanceSetContext) {}

  /** Takes over what an earlier supervisor left, and removes what it did not finish making or removing. */
  async load(releases: readonly StoredRelease[]): Promise<void> {
    const { folders } = this.context;
    for (const id of await namesIn(folders.releases)) {
      const release = releases.find((known) => known.id === id);
      for (const name of await namesIn(folders.instances(id))) {
        const record = readInstanceRecord(folders.instance(id, Number(name)));
        if (release !== undefined && record !== null) this.add(release, Number(name));
        else await this.removeLeftOver(join(folders.instances(id), name));
      }
      if (release === undefined) await removeTree(folders.release(id));
    }
  }

  of(release: string): readonly Instance[] {
    return this.all.filter((instance) => instance.release === release);
  }

  /** Those of a release that are wanted. */
  wanted(release: string): readonly Instance[] {
    return this.of(release).filter((instance) => !instance.leaving && !instance.going);
  }

  /** In the order of their ids. */
  get all(): readonly Instance[] {
    return [...this.instances].sort((a, b) => (a.release === b.release ? a.index - b.index : a.id < b.id ? -1 : 1));
  }

  /** Makes a release have more wanted instances: what was to go and is still there first, then new ones. */
  grow(release: StoredRelease, count: number): void {
    for (const instance of this.of(release.id).filter(({ leaving, going }) => leaving && !going)) {
      if (this.wanted(release.id).length < count) instance.setLeaving(false);
    }
    for (let index = 0; this.wanted(release.id).length < count; index++) {
      if (this.of(release.id).every((instance) => instance.index !== index)) this.add(release, index);
    }
  }

  /** Tells surplus ones of a release to go: those that serve nobody first, then those with the least to do. */
  async shrink(release: string, count: number): Promise<void> {
    const candidates = await Promise.all(
      this.wanted(release).map(async (instance) => ({
        instance,
        cost: instance.proven ? 1 + ((await instance.status()).queueRemaining ?? 0) : instance.failed ? -1 : 0,
      })),
    );
    candidates.sort((a, b) => a.cost - b.cost || b.instance.index - a.instance.index);
    for (const { instance } of candidates.slice(0, Math.max(0, candidates.length - count))) instance.setLeaving(true);
  }

  /** Ends an instance and forgets it. A failure is reported and tried again by who asks next. */
  async end(instance: Instance): Promise<void> {
    try {
      await instance.end();
      this.instances.delete(instance);
      await removeIfEmpty(this.context.folders.instances(instance.release));
      this.context.changed();
    } catch (error) {
      this.context.journal(`${instance.id}: could not be removed: ${reasonOf(error)}`);
      throw error;
    }
  }

  async detach(): Promise<void> {
    await Promise.all(this.all.map((instance) => instance.detach()));
  }

  async halt(): Promise<void> {
    await Promise.all(this.all.map((instance) => instance.halt()));
  }

  private add(release: StoredRelease, index: number): void {
    const { folders, changed, ...shared } = this.context;
    const own = folders.instance(release.id, index);
    const record = readInstanceRecord(own) ?? newInstanceRecord(new Date().toISOString());
    const instance = new Instance(
      { ...shared, changed, release: release.id, index, spec: release.spec, folders: own },
      record,
    );
    this.instances.add(instance);
    instance.start();
  }

  private async removeLeftOver(root: string): Promise<void> {
    this.context.journal(`${root}: removes what was left of an instance`);
    killMarked(root);
    await removeTree(root);
  }
}
