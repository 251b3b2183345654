import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { Claim, DeploymentRecord, Owner, ServiceSettings } from "../deployment";
import { ownerName, sameOwner } from "../deployment";
import { ConfigMapValue, ConflictError, ownerForm } from "./config-map-value";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";
import { annotationsOf, labelsOf, objectNames } from "./names";

export { ConflictError } from "./config-map-value";

/** What the record's ConfigMap holds under `record.json`. */
export interface ServiceRecord extends DeploymentRecord {
  readonly format: 1;
}

/** Where a service's traffic goes: `target.json`. The gateway watches it. */
export interface Target {
  /** Grows with every write. */
  readonly generation: number;
  /** The release that gets new prompts, or null. */
  readonly release: string | null;
  /** Its revision; 0 when none serves. */
  readonly revision: number;
  /** Releases that only finish what they have. */
  readonly draining: readonly string[];
}

const recordForm = z.looseObject({
  format: z.literal(1),
  claim: z.object({ owner: ownerForm, since: z.string() }),
  settings: z.looseObject({
    drain: z.looseObject({ deadline: z.number(), onDeadline: z.enum(["keep", "stop"]) }),
  }),
  revision: z.int().nonnegative(),
  releases: z.array(
    z.looseObject({
      id: z.string(),
      revision: z.int(),
      owner: ownerForm,
      specHash: z.string(),
      count: z.int(),
      confirmed: z.boolean(),
      events: z.array(z.looseObject({ event: z.string(), at: z.string() })),
    }),
  ),
}) as unknown as z.ZodType<ServiceRecord>;

const targetForm: z.ZodType<Target> = z.object({
  generation: z.int().nonnegative(),
  release: z.string().nullable(),
  revision: z.int().nonnegative(),
  draining: z.array(z.string()),
});

const noTarget: Target = { generation: 0, release: null, revision: 0, draining: [] };

/** A service's record and target in its namespace: every change is a compare-and-set on what was read. */
export class ServiceRecords {
  /** How the names of its objects begin. */
  readonly prefix: string;
  /** Of the objects that belong to no release. */
  readonly labels: Readonly<Record<string, string>>;
  readonly #names: ReturnType<typeof objectNames>;
  readonly #record: ConfigMapValue<ServiceRecord>;
  readonly #target: ConfigMapValue<Target>;

  constructor(
    readonly cluster: Cluster,
    readonly service: string,
  ) {
    this.prefix = service;
    this.labels = labelsOf(service, "service");
    this.#names = objectNames(service);
    const place = { cluster, labels: this.labels, what: `service ${service}` };
    this.#record = new ConfigMapValue({ ...place, name: this.#names.record, key: "record.json", form: recordForm });
    this.#target = new ConfigMapValue({ ...place, name: this.#names.target, key: "target.json", form: targetForm });
  }

  /** Null when nobody has claimed the service. @throws when the record is not as this package writes it */
  record(): Promise<ServiceRecord | null> {
    return this.#record.read();
  }

  async target(): Promise<Target> {
    return (await this.#target.read()) ?? noTarget;
  }

  /** The record, which must be there. */
  async required(): Promise<ServiceRecord> {
    const record = await this.record();
    if (record === null) throw this.#record.gone();
    return record;
  }

  /**
   * Claims the service for an owner, or brings the owner's settings up to date.
   * @throws {ConflictError} when another owner has it and it is not to be taken over
   */
  async claim(owner: Owner, settings: ServiceSettings, takeover: boolean): Promise<Claim> {
    const since = new Date().toISOString();
    const fresh: ServiceRecord = { format: 1, claim: { owner, since }, settings, revision: 0, releases: [] };
    const { claim } = await this.#record.changeOrMake(fresh, owner, (record) => {
      if (sameOwner(record.claim.owner, owner)) return { ...record, settings };
      if (!takeover) throw new ConflictError(ownedByAnother(this.service, record.claim, owner));
      return { ...record, settings, claim: { owner, since } };
    });
    await this.#target.changeOrMake(noTarget, owner, (target) => target);
    await this.#ensureToken(owner);
    return claim;
  }

  /** Changes the record of a service that is there. */
  async change(change: (record: ServiceRecord) => ServiceRecord): Promise<ServiceRecord> {
    return this.#record.change(change);
  }

  /** Changes the target; the change sees what it replaces, and may refuse by throwing. Its generation grows by itself. */
  async changeTarget(change: (target: Target) => Omit<Target, "generation">): Promise<Target> {
    return this.#target.change((target) => {
      const next = change(target);
      const same =
        next.release === target.release &&
        next.revision === target.revision &&
        JSON.stringify(next.draining) === JSON.stringify(target.draining);
      return same ? target : { ...next, generation: target.generation + 1 };
    });
  }

  /** Removes all that was made through the API for the service; the record last, since it says whose it is. */
  async remove(): Promise<void> {
    const { core, coordination, namespace } = this.cluster;
    const { target, gatewayStatus, deployer, lease, record } = this.#names;
    await orNull(core.deleteNamespacedConfigMap({ name: target, namespace }));
    await orNull(core.deleteNamespacedConfigMap({ name: gatewayStatus, namespace }));
    await orNull(core.deleteNamespacedSecret({ name: deployer, namespace }));
    await orNull(coordination.deleteNamespacedLease({ name: lease, namespace }));
    await orNull(core.deleteNamespacedConfigMap({ name: record, namespace }));
  }

  async deployerToken(): Promise<string> {
    const { core, namespace } = this.cluster;
    const { data } = await core.readNamespacedSecret({ name: this.#names.deployer, namespace });
    return Buffer.from(data?.token ?? "", "base64").toString("utf8");
  }

  async #ensureToken(owner: Owner): Promise<void> {
    const { core, namespace } = this.cluster;
    const name = this.#names.deployer;
    if ((await orNull(core.readNamespacedSecret({ name, namespace }))) !== null) return;
    const metadata = { name, labels: { ...this.labels }, annotations: { ...annotationsOf(owner) } };
    try {
      await core.createNamespacedSecret({
        namespace,
        body: { metadata, stringData: { token: randomBytes(32).toString("base64url") } },
      });
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
    }
  }
}

export function ownedByAnother(service: string, { owner, since }: Claim, asking: Owner): string {
  return `the service ${service} belongs to the stack ${ownerName(owner)} since ${since}, not to ${ownerName(asking)}: give it another name, or take it over with takeover: true when that stack is no more`;
}
