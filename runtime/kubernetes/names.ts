import { type Owner, ownerName } from "../deployment";

/** Label keys and values of this package, and the names of a service's objects: docs/kubernetes.md lists them. */
export const releaseLabel = "pulumi-comfyui/release";
export const ownerAnnotation = "pulumi-comfyui/owner";
/** Of a service's entrance: the host under which people reach it. */
export const hostAnnotation = "pulumi-comfyui/host";

/** The label by which everything of this package is found. */
export const managedBy = { key: "app.kubernetes.io/managed-by", value: "pulumi-comfyui" } as const;

export type Part = "instance" | "gateway" | "workstation" | "packer" | "service";

/** Labels of everything that belongs to a service or workstation. */
export function labelsOf(name: string, component: Part): Readonly<Record<string, string>> {
  return {
    "app.kubernetes.io/name": "comfyui",
    "app.kubernetes.io/instance": name,
    "app.kubernetes.io/component": component,
    [managedBy.key]: managedBy.value,
  };
}

interface Labelled {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> | undefined } | undefined;
}

/** Which service or workstation an object belongs to. */
export function serviceLabel({ metadata }: Labelled): string {
  return metadata?.labels?.["app.kubernetes.io/instance"] ?? "";
}

/** What of it an object is: a {@link Part}, if this package made it. */
export function partLabel({ metadata }: Labelled): string {
  return metadata?.labels?.["app.kubernetes.io/component"] ?? "";
}

/** A label selector as the API takes it. */
export function selectorOf(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

export function annotationsOf(owner: Owner): Readonly<Record<string, string>> {
  return annotationsFor(ownerName(owner));
}

/** As {@link annotationsOf}, of an owner's name. */
export function annotationsFor(owner: string): Readonly<Record<string, string>> {
  return { [ownerAnnotation]: owner };
}

/** Which snapshot's a packing Job is: a short hash. */
export const snapshotLabel = "pulumi-comfyui/snapshot";

/** How the objects of a service's entrance end, so that no service must be called so. */
export const entranceEnding = "-entrance";

export const objectNames = (service: string) => ({
  record: `${service}-record`,
  target: `${service}-target`,
  gatewayStatus: `${service}-gateway-status`,
  deployer: `${service}-deployer`,
  gateway: `${service}-gateway`,
  lease: `${service}-gateway`,
  instancePolicy: `${service}-instance`,
  entrance: `${service}${entranceEnding}`,
  /** A release's Deployment, ConfigMap and Secret. */
  release: (id: string) => `${service}-${id}`,
});

/** How objects of workstations end, so that a service must not be called so. */
export const workstationEnding = "-workstation";

/** The names of a workstation's objects. */
export const workstationNames = (workstation: string) => ({
  record: `${workstation}${workstationEnding}-record`,
  /** Its Deployment and Service, what its agent tells and may do, and ComfyUI's environment variables. */
  workstation: `${workstation}${workstationEnding}`,
  /** What its agent is told. */
  settings: `${workstation}${workstationEnding}-settings`,
  /** The claim that is made for its environment. */
  environment: `${workstation}-environment`,
});
