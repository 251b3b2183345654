import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { managedBy } from "../../kubernetes";
import { tryingCommand } from "../with-candidate-words";

/** Type of this package's dynamic resources in a stack's state, up to the resource's own name. */
export const ownTypes = "pulumi-nodejs:dynamic/comfyui:";

/** Type of a managed node group of @pulumi/aws. */
export const nodeGroupType = "aws:eks/nodeGroup:NodeGroup";

/** Type of the resources of @pulumi/kubernetes, up to the API group. */
export const nativeTypes = "kubernetes:";

const resourceSchema = z.looseObject({
  urn: z.string(),
  type: z.string(),
  id: z.string().optional(),
  inputs: z.record(z.string(), z.unknown()).optional(),
  outputs: z.record(z.string(), z.unknown()).optional(),
});

const operationSchema = z.looseObject({ type: z.string(), resource: resourceSchema });

const stateSchema = z.looseObject({
  deployment: z.looseObject({
    resources: z.array(resourceSchema).nullish(),
    pending_operations: z.array(operationSchema).nullish(),
  }),
});

export type StackState = z.infer<typeof stateSchema>;
export type StateResource = z.infer<typeof resourceSchema>;

/** Reads what `pulumi stack export` wrote; unknown fields are kept as they are. */
export function parseState(text: string): StackState {
  const parsed = stateSchema.safeParse(JSON.parse(text));
  if (!parsed.success) {
    throw new Error(`pulumi stack export gave a state that this version cannot read: ${z.prettifyError(parsed.error)}`);
  }
  return parsed.data;
}

/** What a dead run was doing to a resource. */
export interface PendingOperation {
  /** `creating`, `updating`, `deleting`, `reading` or `importing`. */
  readonly operation: string;
  readonly urn: string;
  readonly type: string;
  /**
   * True for a creation whose result would be lost with the record: of a resource that is not this package's own.
   * What this package makes, and has made in a cluster, is found and adopted by the next attempt.
   */
  readonly mayBeLost: boolean;
}

export function pendingOperations({ deployment }: StackState): readonly PendingOperation[] {
  return (deployment.pending_operations ?? []).map(({ type: operation, resource }) => ({
    operation,
    urn: resource.urn,
    type: resource.type,
    mayBeLost: operation === "creating" && !isFoundAgain(resource),
  }));
}

/**
 * Whether a later run, or this command, finds what a creation has left: this package's own, what it labels in a cluster, and node groups. A
 * script that tries a release makes nothing.
 */
function isFoundAgain({ type, inputs }: StateResource): boolean {
  if (type.startsWith(ownTypes) || type === nodeGroupType || isVerification(type, inputs)) return true;
  const metadata = inputs?.metadata as { readonly labels?: Readonly<Record<string, unknown>> } | undefined;
  return type.startsWith(nativeTypes) && metadata?.labels?.[managedBy.key] === managedBy.value;
}

/** The Command by which `verify` runs a person's script. */
function isVerification(type: string, inputs: StateResource["inputs"]): boolean {
  const command = inputs?.create;
  return type === "command:local:Command" && typeof command === "string" && command.includes(` ${tryingCommand} `);
}

/**
 * The same state with resources in it that a dead run was creating, by their URNs with their ids. What they are is then read by a refresh.
 * Pulumi's own `refresh --import-pending-creates` takes the operation out of the state, and nothing in (seen with 3.259). A resource that one
 * of them was to replace comes behind it and waits for its deletion, as Pulumi writes it after such a creation.
 */
export function withCreated(state: StackState, ids: ReadonlyMap<string, string>): StackState {
  const created = new Map(
    (state.deployment.pending_operations ?? []).flatMap(({ type: operation, resource }) => {
      const id = ids.get(resource.urn);
      return operation !== "creating" || id === undefined
        ? []
        : [[resource.urn, { ...resource, id, outputs: { ...resource.inputs, id } }] as const];
    }),
  );
  const resources = (state.deployment.resources ?? []).flatMap((resource) => {
    const replacement = created.get(resource.urn);
    if (replacement === undefined || resource.delete === true) return [resource];
    created.delete(resource.urn);
    return [replacement, { ...resource, delete: true }];
  });
  return { ...state, deployment: { ...state.deployment, resources: [...resources, ...created.values()] } };
}

/** The same state without pending operations. */
export function withoutPendingOperations(state: StackState): StackState {
  const { pending_operations: _, ...deployment } = state.deployment;
  return { ...state, deployment };
}

/** What of a local platform a stack's state knows. */
export interface KnownObjects {
  /** Absolute paths. */
  readonly directories: ReadonlySet<string>;
  readonly has: (object: KnownObject) => boolean;
}

export type KnownObject = { readonly directory: string } & (
  | { readonly kind: "service" | "gateway" | "traffic"; readonly service: string }
  | { readonly kind: "release" | "instances"; readonly service: string; readonly release: string }
  | { readonly kind: "workstation"; readonly workstation: string }
);

/**
 * Collects the platform's objects that any resource of the state stands for, those that wait for their deletion
 * included. Fails when a resource of this package does not say what it stands for: then nothing could be called an orphan.
 */
export function knownObjects({ deployment }: StackState, programFolder: string): KnownObjects {
  const directories = new Set<string>();
  const keys = new Set<string>();
  for (const resource of deployment.resources ?? []) {
    if (!resource.type.startsWith(ownTypes)) continue;
    for (const object of objectsOf(resource, programFolder)) {
      directories.add(object.directory);
      keys.add(keyOf(object));
    }
  }
  return { directories, has: (object) => keys.has(keyOf(object)) };
}

function objectsOf(resource: StateResource, programFolder: string): readonly KnownObject[] {
  const kind = resource.type.slice(ownTypes.length);
  const read = (name: string) => readOutput(resource, name);
  const directory = () => canonicalDirectory(read("directory"), programFolder);
  switch (kind) {
    case "ServiceClaim":
      return [{ kind: "service", directory: directory(), service: read("service") }];
    case "Gateway":
      return [{ kind: "gateway", directory: directory(), service: read("service") }];
    case "Release":
      return [{ kind: "release", directory: directory(), service: read("service"), release: releaseId(resource) }];
    case "Instances":
      return [{ kind: "instances", directory: directory(), service: read("service"), release: read("release") }];
    case "Workstation":
      return [{ kind: "workstation", directory: directory(), workstation: read("workstation") }];
    case "TrafficSwitch":
      return [{ kind: "traffic", directory: directory(), service: read("service") }];
    default:
      // A gate, a snapshot: nothing on the platform goes by its name.
      return [];
  }
}

/** A release goes by the resource's id; what depends on it has that as an output. */
export function releaseId(resource: StateResource): string {
  return typeof resource.outputs?.release === "string"
    ? resource.outputs.release
    : (resource.id ?? readOutput(resource, "release"));
}

export function readOutput({ outputs, urn }: StateResource, name: string): string {
  const value = outputs?.[name];
  if (typeof value === "string") return value;
  throw new Error(
    `${urn} has no readable output "${name}" in the stack's state, so what it stands for cannot be told from an orphan; ` +
      "run pulumi up with this version of pulumi-comfyui first, or name no resource secret",
  );
}

function keyOf(object: KnownObject): string {
  const name = object.kind === "workstation" ? [object.workstation] : [object.service];
  const release = object.kind === "release" || object.kind === "instances" ? [object.release] : [];
  return JSON.stringify([object.kind, object.directory, ...name, ...release]);
}

/** One form of a directory's path, however a program wrote it; links are followed where it exists. */
export function canonicalDirectory(directory: string, base: string): string {
  const absolute = resolve(base, directory);
  try {
    return realpathSync(absolute);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return absolute;
    throw error;
  }
}
