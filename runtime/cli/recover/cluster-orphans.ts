import { isOver, type Owner, type ReleaseNodes } from "../../deployment";
import { type LabelledObject, objectNames, type ServiceRecord } from "../../kubernetes";
import type { KnownInClusters } from "./cluster-state";
import type { Orphan } from "./orphans";

/** An orphan in a namespace, with the objects that go with it. */
export interface ClusterOrphan extends Orphan {
  readonly namespace: string;
  readonly objects: readonly LabelledObject[];
}

/** What was found in a namespace. */
export interface FoundInNamespace {
  readonly namespace: string;
  readonly objects: readonly LabelledObject[];
  /** By the service's name. */
  readonly records: ReadonlyMap<string, ServiceRecord>;
  /** By the service's name: the release that gets its traffic. */
  readonly serving: ReadonlyMap<string, string>;
  /** Names of the programs that pods are made with. */
  readonly programs: ReadonlySet<string>;
}

/** Compares a namespace with a stack's state. Objects of other owners are never orphans. */
export function clusterOrphans(
  found: FoundInNamespace,
  known: KnownInClusters,
  isOwn: (owner: Owner) => boolean,
): readonly ClusterOrphan[] {
  const { namespace, objects, records } = found;
  const own = objects.filter((object) => isOwn(ownerOf(object)));
  const unknown = own.filter(({ kind, name }) => !known.has({ kind: "object", namespace, object: kind, name }));
  const services = new Set([
    ...[...records].flatMap(([name, { claim }]) => (isOwn(claim.owner) ? [name] : [])),
    // What is left of one whose record is gone.
    ...unknown
      .filter((object) => isPartOfService(object) && !records.has(object.service))
      .map(({ service }) => service),
  ]);
  return [
    ...[...services].sort().flatMap((service) => orphansOfService(service, found, unknown, known)),
    ...workstationOrphans(namespace, objects, own, known),
    ...unknown
      .filter((object) => object.part === "packer")
      .map((object): ClusterOrphan => single("packing", namespace, object, "nobody waits for what it packs")),
    ...unknown
      .filter((object) => isUnusedProgram(object, found, known) && !belongsToOrphan(object, namespace, known))
      .map((object): ClusterOrphan => single("programs", namespace, object, "no pod is made with it")),
  ];
}

function single(
  kind: "packing" | "programs",
  namespace: string,
  object: LabelledObject,
  detail: string,
): ClusterOrphan {
  return { kind, namespace, name: `${object.kind} ${object.name}`, serves: false, detail, objects: [object] };
}

function orphansOfService(
  service: string,
  found: FoundInNamespace,
  unknown: readonly LabelledObject[],
  known: KnownInClusters,
): readonly ClusterOrphan[] {
  const { namespace } = found;
  const serving = found.serving.get(service) ?? null;
  const orphan = (kind: ClusterOrphan["kind"], objects: readonly LabelledObject[], more: Partial<ClusterOrphan>) => ({
    ...{ kind, namespace, service, serves: false, detail: namesOf(objects), objects },
    ...more,
  });
  if (!known.has({ kind: "service", namespace, service })) {
    // Gateways write objects of their own, which say no owner.
    const all = found.objects.filter((object) => isPartOfService(object) && object.service === service);
    return [orphan("service", all, { serves: serving !== null, detail: serviceText(all) })];
  }
  const mine = unknown.filter((object) => isPartOfService(object) && object.service === service);
  const releases = (found.records.get(service)?.releases ?? []).filter((release) => !isOver(release));
  const living = releases.map(({ id }) => id);
  const withObjects = mine.flatMap(({ release }) => release ?? []);
  const orphans: ClusterOrphan[] = [];
  for (const release of new Set([...living, ...withObjects])) {
    const objects = mine.filter((object) => object.release === release);
    const isKnown = known.has({ kind: "release", namespace, service, release });
    if (isKnown && objects.length === 0) continue;
    const runs = !isKnown || objects.some(({ kind }) => kind === "Deployment");
    const serves = runs && release === serving;
    const nodes = isKnown ? undefined : releases.find(({ id }) => id === release)?.nodes;
    const detail = [namesOf(objects), ...(nodes === undefined ? [] : [nodesText(nodes)])].join(", ");
    orphans.push(orphan(isKnown ? "instances" : "release", objects, { release, serves, detail }));
  }
  const front = mine.filter((object) => object.release === null && object.part !== "service");
  const made = front.filter((object) => !isMadeByGateway(object, service));
  if (made.length > 0) orphans.push(orphan("gateway", made, { serves: serving !== null }));
  const isServingKnown = serving !== null && known.has({ kind: "release", namespace, service, release: serving });
  if (isServingKnown && !known.has({ kind: "traffic", namespace, service })) {
    orphans.push(orphan("traffic", [], { serves: true, detail: `it goes to ${serving}` }));
  }
  return orphans;
}

/** The claim with the environment stays: nobody can tell what a person has in it. */
function workstationOrphans(
  namespace: string,
  objects: readonly LabelledObject[],
  own: readonly LabelledObject[],
  known: KnownInClusters,
): readonly ClusterOrphan[] {
  const names = new Set(own.filter((object) => object.part === "workstation").map(({ service }) => service));
  return [...names]
    .filter((workstation) => !known.has({ kind: "workstation", namespace, workstation }))
    .sort()
    .map((workstation): ClusterOrphan => {
      // What its agent tells says no owner.
      const all = objects.filter((object) => object.part === "workstation" && object.service === workstation);
      const detail = `${namesOf(all)}; the environment stays`;
      return { kind: "workstation", namespace, workstation, serves: false, detail, objects: all };
    });
}

function isUnusedProgram(
  object: LabelledObject,
  { namespace, programs }: FoundInNamespace,
  known: KnownInClusters,
): boolean {
  const { isProgram, name } = object;
  return isProgram && !programs.has(name) && !known.has({ kind: "programs", namespace, name });
}

/** Whether it goes with a whole service or workstation already. */
function belongsToOrphan(object: LabelledObject, namespace: string, known: KnownInClusters): boolean {
  const { service: name } = object;
  return object.part === "workstation"
    ? !known.has({ kind: "workstation", namespace, workstation: name })
    : !known.has({ kind: "service", namespace, service: name });
}

function isPartOfService(object: LabelledObject): boolean {
  return ["service", "gateway", "instance"].includes(object.part);
}

/** Made anew at once while gateways run, and removed with the claim. */
function isMadeByGateway({ kind, name }: LabelledObject, service: string): boolean {
  return kind === "Lease" || (kind === "ConfigMap" && name === objectNames(service).gatewayStatus);
}

/** Nobody's where it does not say. */
function ownerOf({ owner }: LabelledObject): Owner {
  const [organization = "", project = "", stack = ""] = (owner ?? "").split("/");
  return { organization, project, stack };
}

function serviceText(objects: readonly LabelledObject[]): string {
  const releases = new Set(objects.flatMap(({ release }) => release ?? []));
  const parts = [...(objects.some((object) => object.part === "gateway") ? ["its gateway"] : []), ...releases];
  return parts.length === 0 ? "only the claim" : `with ${parts.join(", ")}`;
}

function nodesText({ cluster, nodeGroup }: ReleaseNodes): string {
  return `node group ${nodeGroup} of the EKS cluster ${cluster}`;
}

function namesOf(objects: readonly LabelledObject[]): string {
  return objects.map(({ kind, name }) => `${kind} ${name}`).join(", ") || "only its record";
}
