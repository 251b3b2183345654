import type { Owner } from "../../supervisor";
import { hasEnded, type LocalView, type ServiceView } from "../platform-view";
import type { KnownObject, KnownObjects } from "./state";

/** Something on a platform that belongs to a stack and that no resource of the stack's state knows. */
export interface Orphan extends OrphanName {
  /** True when users depend on it: it gets new prompts, or they pass through it. */
  readonly serves: boolean;
  /** What a person should know before deciding, for example what it runs. */
  readonly detail: string;
}

/** What an orphan is; which of the names it has depends on its kind. */
export interface OrphanName {
  readonly kind: LocalOrphan["kind"] | "packing" | "programs";
  readonly service?: string;
  readonly release?: string;
  readonly workstation?: string;
  /** Of a single object in a cluster. */
  readonly name?: string;
}

/** An orphan on the local platform. */
export type LocalOrphan = KnownObject & Pick<Orphan, "serves" | "detail">;

/** Compares a platform with a stack's state. Objects of other owners are never orphans. */
export function findOrphans(
  view: LocalView,
  known: KnownObjects,
  isOwn: (owner: Owner) => boolean,
): readonly LocalOrphan[] {
  const { directory } = view;
  return [
    ...view.services
      .filter(({ owner }) => isOwn(owner))
      .flatMap((service) => orphansOfService(service, directory, known)),
    ...view.workstations
      .filter(({ owner, name }) => isOwn(owner) && !known.has({ kind: "workstation", directory, workstation: name }))
      .map(({ name, phase, declared, root }): LocalOrphan => {
        const detail = `${phase ?? `declared ${declared}`}, ${root}; the environment stays`;
        return { kind: "workstation", directory, workstation: name, serves: false, detail };
      }),
  ];
}

function orphansOfService(service: ServiceView, directory: string, known: KnownObjects): readonly LocalOrphan[] {
  const { name, serving, gateway, releases } = service;
  const living = releases.filter((release) => !hasEnded(release));
  if (!known.has({ kind: "service", directory, service: name })) {
    const parts = [...(gateway === null ? [] : ["its gateway"]), ...living.map(({ id }) => id)];
    const detail = parts.length === 0 ? "only the claim" : `with ${parts.join(", ")}`;
    return [{ kind: "service", directory, service: name, serves: serving !== null, detail }];
  }
  const orphans: LocalOrphan[] = [];
  for (const { id, count } of living) {
    const serves = id === serving;
    const instances = `${count} wanted, ${service.instances.filter(({ release }) => release === id).length} there`;
    if (!known.has({ kind: "release", directory, service: name, release: id })) {
      orphans.push({
        kind: "release",
        directory,
        service: name,
        release: id,
        serves,
        detail: `instances: ${instances}`,
      });
    } else if (count > 0 && !known.has({ kind: "instances", directory, service: name, release: id })) {
      orphans.push({ kind: "instances", directory, service: name, release: id, serves, detail: instances });
    }
  }
  if (gateway !== null && !known.has({ kind: "gateway", directory, service: name })) {
    orphans.push({ kind: "gateway", directory, service: name, serves: serving !== null, detail: gateway.url });
  }
  const isKnown = serving !== null && known.has({ kind: "release", directory, service: name, release: serving });
  if (isKnown && !known.has({ kind: "traffic", directory, service: name })) {
    orphans.push({ kind: "traffic", directory, service: name, serves: true, detail: `it goes to ${serving}` });
  }
  return orphans;
}

/** An orphan as a person would call it. */
export function nameOf(orphan: OrphanName): string {
  switch (orphan.kind) {
    case "service":
      return `service ${orphan.service}`;
    case "gateway":
      return `gateway of service ${orphan.service}`;
    case "release":
      return `release ${orphan.release} of service ${orphan.service}`;
    case "instances":
      return `instances of release ${orphan.release} of service ${orphan.service}`;
    case "traffic":
      return `the traffic of service ${orphan.service}`;
    case "workstation":
      return `workstation ${orphan.workstation}`;
    case "packing":
      return `packing ${orphan.name}`;
    case "programs":
      return `programs ${orphan.name}`;
  }
}
