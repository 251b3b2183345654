import { createHash, randomBytes } from "node:crypto";
import { isUnknown } from "../plugin-base/properties";
import { at, isValues, objectIn, textAt, type Values } from "../plugin-base/values";

/** The annotations by which a program tells the plugin what to do: pulumi.com/registry/packages/kubernetes/installation-configuration. */
export const annotations = {
  autonamed: "pulumi.com/autonamed",
  deletionPropagation: "pulumi.com/deletionPropagationPolicy",
  patchForce: "pulumi.com/patchForce",
  patchFieldManager: "pulumi.com/patchFieldManager",
  replaceUnready: "pulumi.com/replaceUnready",
  skipAwait: "pulumi.com/skipAwait",
  timeoutSeconds: "pulumi.com/timeoutSeconds",
  waitFor: "pulumi.com/waitFor",
} as const;

export function annotation(object: Values, name: string): string | undefined {
  const value = at(object, "metadata", "annotations", name);
  return value === undefined ? undefined : String(value);
}

export function isAnnotated(object: Values, name: string): boolean {
  return annotation(object, name)?.toLowerCase() === "true";
}

function annotate(object: Values, name: string, value: string): void {
  objectIn(objectIn(object, "metadata"), "annotations")[name] = value;
}

export const nameOf = (object: Values) => textAt(object, "metadata", "name") ?? "";
export const namespaceOf = (object: Values) => textAt(object, "metadata", "namespace") ?? "";
export const kindOf = (object: Values) => textAt(object, "kind") ?? "";
export const apiVersionOf = (object: Values) => textAt(object, "apiVersion") ?? "";

/** `namespace/name`, which is a resource's id; of what belongs to no namespace, the name. */
export function qualifiedName(object: Values): string {
  const namespace = namespaceOf(object);
  return namespace === "" ? nameOf(object) : `${namespace}/${nameOf(object)}`;
}

export function fromQualifiedName(id: string): { readonly namespace: string; readonly name: string } {
  const [first = "", second] = id.split("/");
  return second === undefined ? { namespace: "", name: first } : { namespace: first, name: second };
}

export interface ResourceType {
  readonly apiVersion: string;
  readonly kind: string;
  /** Patch resources change an object of another owner. */
  readonly patch: boolean;
}

/** What the type in a URN stands for: `kubernetes:core/v1:ConfigMap` is `v1`, `ConfigMap`. */
export function typeOf(urn: string): ResourceType {
  const type = urn.split("::")[2]?.split("$").at(-1) ?? "";
  const [, module = "", kind = ""] = type.split(":");
  const [group = "", version = ""] = module.split("/");
  if (version === "") throw new Error(`the stand-in does not serve ${type}`);
  const patch = kind.endsWith("Patch") && kind !== "Patch";
  return {
    apiVersion: group === "core" ? version : module,
    kind: patch ? kind.slice(0, -"Patch".length) : kind,
    patch,
  };
}

export function resourceName(urn: string): string {
  return urn.split("::").slice(3).join("::");
}

/** Gives an object a name where it has none: the resource's, with 8 random digits that the engine's seed decides. */
export function nameIfUnnamed(object: Values, urn: string, seed: Uint8Array): void {
  const metadata = objectIn(object, "metadata");
  if (isUnknown(metadata.name) || metadata.generateName !== undefined || nameOf(object) !== "") return;
  const random = seed.length > 0 ? createHash("sha256").update(seed) : createHash("sha256").update(randomBytes(32));
  metadata.name = `${resourceName(urn)}-${random.digest("hex").slice(0, 8)}`;
  annotate(object, annotations.autonamed, "true");
}

/** Keeps the name that was given to the object earlier. */
export function keepGivenName(object: Values, old: Values): void {
  const metadata = objectIn(object, "metadata");
  if (metadata.name !== undefined || !isAnnotated(old, annotations.autonamed)) return;
  metadata.name = nameOf(old);
  annotate(object, annotations.autonamed, "true");
}

export function newFieldManager(): string {
  return `pulumi-kubernetes-${randomBytes(4).toString("hex")}`;
}

const readOnlyMetadata = [
  "creationTimestamp",
  "deletionGracePeriodSeconds",
  "deletionTimestamp",
  "generation",
  "managedFields",
  "resourceVersion",
  "uid",
];

/** Inputs as they are compared: without what only the API server sets; a Secret's `stringData` is where it will be found, in `data`. */
export function normalize(object: Values): Values {
  const result: Values = { ...object };
  if (isValues(result.metadata)) {
    result.metadata = Object.fromEntries(
      Object.entries(result.metadata).filter(([key]) => !readOnlyMetadata.includes(key)),
    );
  }
  if (result.kind === "Secret" && isValues(result.stringData)) {
    const encoded = Object.entries(result.stringData).map(([key, value]) => [
      key,
      isUnknown(value) ? value : Buffer.from(String(value)).toString("base64"),
    ]);
    result.data = { ...(isValues(result.data) ? result.data : {}), ...Object.fromEntries(encoded) };
    delete result.stringData;
  }
  return result;
}

/** Only that of a live object which its inputs speak of. */
export function prune(live: Values, inputs: Values): Values {
  const result: Values = {};
  for (const [key, wanted] of Object.entries(inputs)) {
    if (live[key] !== undefined) result[key] = pruneValue(live[key], wanted);
  }
  return result;
}

function pruneValue(live: unknown, wanted: unknown): unknown {
  if (isValues(live) && isValues(wanted)) return prune(live, wanted);
  if (Array.isArray(live) && Array.isArray(wanted)) return live.map((value, i) => pruneValue(value, wanted[i]));
  return live;
}

// Asked only where the API server cannot be.
const clusterWide = new Set([
  "ClusterRole",
  "ClusterRoleBinding",
  "CustomResourceDefinition",
  "IngressClass",
  "Namespace",
  "Node",
  "PersistentVolume",
  "PriorityClass",
  "RuntimeClass",
  "StorageClass",
]);

export function isUsuallyNamespaced(kind: string): boolean {
  return !clusterWide.has(kind);
}
