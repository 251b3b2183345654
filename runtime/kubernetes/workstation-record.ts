import type { V1ConfigMap, V1Deployment } from "@kubernetes/client-node";
import { z } from "zod";
import { type Claim, idleStoppedAnnotation, type Owner, ownerName, sameOwner } from "../deployment";
import { parseConfigMap } from "./config-map-json";
import { ConfigMapValue, ConflictError, ownerForm } from "./config-map-value";
import type { Cluster } from "./connection";
import { orNull } from "./failure";
import { labelsOf, workstationNames } from "./names";

/** What the record's ConfigMap holds under `record.json`. */
export interface WorkstationRecord {
  readonly format: 1;
  readonly claim: Claim;
  /** As it was declared last. */
  readonly state: "running" | "stopped";
}

const recordForm: z.ZodType<WorkstationRecord> = z.looseObject({
  format: z.literal(1),
  claim: z.object({ owner: ownerForm, since: z.string() }),
  state: z.enum(["running", "stopped"]),
});

/** The record that a ConfigMap holds. @throws when it is not as this package writes it */
export function parseWorkstationRecord(object: V1ConfigMap): WorkstationRecord {
  return parseConfigMap(object, "record.json", recordForm);
}

/** A workstation's record and objects in its namespace: every change of the record is a compare-and-set on what was read. */
export class WorkstationRecords {
  /** How the names of its objects begin. */
  readonly prefix: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly names: ReturnType<typeof workstationNames>;
  readonly #record: ConfigMapValue<WorkstationRecord>;

  constructor(
    readonly cluster: Cluster,
    readonly workstation: string,
  ) {
    this.names = workstationNames(workstation);
    this.prefix = this.names.workstation;
    this.labels = labelsOf(workstation, "workstation");
    const { labels } = this;
    const what = `workstation ${workstation}`;
    this.#record = new ConfigMapValue({
      ...{ cluster, labels, what },
      name: this.names.record,
      key: "record.json",
      form: recordForm,
    });
  }

  /** Null when nobody has claimed the workstation. @throws when the record is not as this package writes it */
  record(): Promise<WorkstationRecord | null> {
    return this.#record.read();
  }

  /** Claims the workstation for an owner. @throws {ConflictError} when another one has it */
  async claim(owner: Owner): Promise<Claim> {
    const first: WorkstationRecord = {
      format: 1,
      claim: { owner, since: new Date().toISOString() },
      state: "stopped",
    };
    const { claim } = await this.#record.changeOrMake(first, owner, (record) => {
      this.#demandOwner(record, owner);
      return record;
    });
    return claim;
  }

  /** Notes how it is declared. @throws {ConflictError} when it belongs to another owner */
  async declare(owner: Owner, state: "running" | "stopped"): Promise<void> {
    await this.#record.change((record) => {
      this.#demandOwner(record, owner);
      return { ...record, state };
    });
  }

  /** Removes what was made through the API for the workstation; the record last, since it says whose it is. */
  async remove(): Promise<void> {
    const { core, namespace } = this.cluster;
    await orNull(core.deleteNamespacedConfigMap({ name: this.names.workstation, namespace }));
    await this.#record.remove();
  }

  deployment(): Promise<V1Deployment | null> {
    const { apps, namespace } = this.cluster;
    return orNull(apps.readNamespacedDeployment({ name: this.names.workstation, namespace }));
  }

  /** What its agent tells; null before it has told anything. */
  told(): Promise<V1ConfigMap | null> {
    const { core, namespace } = this.cluster;
    return orNull(core.readNamespacedConfigMap({ name: this.names.workstation, namespace }));
  }

  /** Since when it is stopped because nobody used it, or null. Says nothing where it runs. */
  async idleStopped(): Promise<string | null> {
    return (await this.told())?.metadata?.annotations?.[idleStoppedAnnotation] ?? null;
  }

  #demandOwner({ claim }: WorkstationRecord, asking: Owner): void {
    if (!sameOwner(claim.owner, asking)) throw new ConflictError(workstationOfAnother(this.workstation, claim, asking));
  }
}

function workstationOfAnother(workstation: string, { owner, since }: Claim, asking: Owner): string {
  return `the workstation ${workstation} belongs to the stack ${ownerName(owner)} since ${since}, not to ${ownerName(asking)}: give it another name`;
}
