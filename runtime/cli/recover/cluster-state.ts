import type { LabelledKind } from "../../kubernetes";
import { nativeTypes, ownTypes, readOutput, releaseId, type StackState, type StateResource } from "./state";

/** A namespace as a resource of the state names it. */
export interface StatePlace {
  /** A path, relative to the program's folder, or a content; absent for the default. */
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace: string;
  /** Whether the kubeconfig is a secret of the state, which only Pulumi can read. */
  readonly sealed: boolean;
}

/** What of clusters a stack's state knows. Names count within their namespace, whichever cluster that is in. */
export interface KnownInClusters {
  readonly places: readonly StatePlace[];
  readonly has: (what: KnownInCluster) => boolean;
}

export type KnownInCluster = { readonly namespace: string } & (
  | { readonly kind: "service" | "traffic"; readonly service: string }
  | { readonly kind: "release"; readonly service: string; readonly release: string }
  | { readonly kind: "workstation"; readonly workstation: string }
  | { readonly kind: "programs"; readonly name: string }
  | { readonly kind: "object"; readonly object: LabelledKind; readonly name: string }
);

/**
 * Collects what any resource of the state stands for, those that wait for their deletion included. Fails when a resource of this
 * package does not say what it stands for: then nothing could be called an orphan.
 */
export function knownInClusters({ deployment }: StackState): KnownInClusters {
  const places = new Map<string, StatePlace>();
  const keys = new Set<string>();
  for (const resource of deployment.resources ?? []) {
    for (const known of resource.type.startsWith(nativeTypes) ? nativeObjects(resource) : ownObjects(resource)) {
      keys.add(keyOf(known));
    }
    if (!resource.type.startsWith(`${ownTypes}Cluster`)) continue;
    const place = placeOf(resource);
    places.set(JSON.stringify(place), place);
  }
  return { places: [...places.values()], has: (what) => keys.has(keyOf(what)) };
}

function placeOf(resource: StateResource): StatePlace {
  // As an output it may be secret even where it is a path.
  const kubeconfig = resource.inputs?.kubeconfig;
  const { context } = { ...resource.outputs, ...resource.inputs };
  return {
    ...(typeof kubeconfig === "string" ? { kubeconfig } : {}),
    ...(typeof context === "string" ? { context } : {}),
    namespace: readOutput(resource, "namespace"),
    sealed: typeof kubeconfig === "object" && kubeconfig !== null,
  };
}

function ownObjects(resource: StateResource): readonly KnownInCluster[] {
  if (!resource.type.startsWith(`${ownTypes}Cluster`)) return [];
  const kind = resource.type.slice(ownTypes.length);
  const read = (name: string) => readOutput(resource, name);
  const namespace = read("namespace");
  const programs = resource.outputs?.programs;
  const used: readonly KnownInCluster[] =
    typeof programs === "string" ? [{ kind: "programs", namespace, name: programs }] : [];
  switch (kind) {
    case "ClusterServiceClaim":
      return [{ kind: "service", namespace, service: read("service") }, ...used];
    case "ClusterRelease":
      return [{ kind: "release", namespace, service: read("service"), release: releaseId(resource) }, ...used];
    case "ClusterTrafficSwitch":
      return [{ kind: "traffic", namespace, service: read("service") }];
    case "ClusterWorkstationClaim":
    case "ClusterWorkstation":
      return [{ kind: "workstation", namespace, workstation: read("workstation") }, ...used];
    default:
      return used;
  }
}

/** The id of an object is its namespace and name. */
function nativeObjects({ type, id = "" }: StateResource): readonly KnownInCluster[] {
  const object = type.slice(type.lastIndexOf(":") + 1) as LabelledKind;
  const [, namespace, name] = /^([^/]+)\/([^/]+)$/.exec(id) ?? [];
  return namespace === undefined || name === undefined ? [] : [{ kind: "object", namespace, object, name }];
}

function keyOf(known: KnownInCluster): string {
  const names = { service: "", release: "", workstation: "", object: "", name: "", ...known };
  const { kind, namespace, service, release, workstation, object, name } = names;
  return JSON.stringify([kind, namespace, service, release, workstation, object, name]);
}
