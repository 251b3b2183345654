/**
 * A resource as a policy sees it. One of `@pulumi/policy`'s `validateStack` is such a resource as it is, and so are the arguments of
 * `validateResource`.
 */
export interface DeclaredResource {
  /** For example `kubernetes:core/v1:Service`. */
  readonly type: string;
  readonly name: string;
  readonly urn: string;
  /** What is declared of it, or what it came to be. */
  readonly props: Readonly<Record<string, unknown>>;
  /** The component that made it. @default services and workstations are told apart by namespace and name */
  readonly parent?: { readonly urn: string } | undefined;
  /** Which resources each property's value comes from. @default not known */
  readonly propertyDependencies?: Readonly<Record<string, readonly { readonly type: string; readonly name: string }[]>>;
}

/** What a policy finds. */
export interface Violation {
  /** Name of the component or resource. */
  readonly resource: string;
  readonly urn: string;
  /** The argument that is to be changed, as the component has it. */
  readonly property: string;
  /** What is wrong, and what would be right. */
  readonly reason: string;
}

/** Which stacks are production: by name, or by a pattern of it. */
export interface ProductionSettings {
  /** @default "prod" and "production" */
  readonly production?: readonly (string | RegExp)[];
}

/** Stands for a value that a preview does not know yet. */
export const unknown = Symbol("unknown");

/** What the engine sends in place of such a value, where nobody has looked for it before (`UnknownStringValue`). */
const marker = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** A value inside of a resource's properties; undefined where there is none. */
export function valueAt({ props }: DeclaredResource, ...path: readonly string[]): unknown {
  let value: unknown = props;
  for (const name of path) {
    if (typeof value !== "object" || value === null) return undefined;
    try {
      value = (value as Readonly<Record<string, unknown>>)[name];
    } catch (error) {
      // As `@pulumi/policy` refuses to read what is not known.
      if (error instanceof Error && "unknownTypeSentinel" in error) return unknown;
      throw error;
    }
    if (value === marker) return unknown;
  }
  return value;
}

/** The same where it is a text; undefined where it is none. */
export function textAt(resource: DeclaredResource, ...path: readonly string[]): string | undefined {
  const value = valueAt(resource, ...path);
  return typeof value === "string" ? value : undefined;
}

/** The same where it is a number; undefined where it is none. */
export function numberAt(resource: DeclaredResource, ...path: readonly string[]): number | undefined {
  const value = valueAt(resource, ...path);
  // Numbers of some inputs travel as text.
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

/** Whether it is one of this package's own resources, for example `ClusterRelease`. */
export function isOwn({ type }: DeclaredResource, ...kinds: readonly string[]): boolean {
  return kinds.some((kind) => type === `pulumi-nodejs:dynamic/comfyui:${kind}`);
}

/** Whether it is an object that this package makes in a cluster: its kind, and what it is part of. */
export function isPart(
  resource: DeclaredResource,
  kind: string,
  part: "gateway" | "instance" | "workstation",
): boolean {
  const labels = ["metadata", "labels"] as const;
  return (
    resource.type.startsWith("kubernetes:") &&
    resource.type.endsWith(`:${kind}`) &&
    textAt(resource, ...labels, "app.kubernetes.io/managed-by") === "pulumi-comfyui" &&
    textAt(resource, ...labels, "app.kubernetes.io/component") === part
  );
}

/** Name of the service or workstation that a resource belongs to. */
export function subjectOf(resource: DeclaredResource): string {
  return (
    textAt(resource, "service") ??
    textAt(resource, "workstation") ??
    textAt(resource, "metadata", "labels", "app.kubernetes.io/instance") ??
    resource.name
  );
}

/** Tells services and workstations of a stack apart. */
export function placeOf(resource: DeclaredResource): string {
  if (resource.parent !== undefined) return resource.parent.urn;
  const namespace = textAt(resource, "namespace") ?? textAt(resource, "metadata", "namespace") ?? "";
  return `${namespace}/${subjectOf(resource)}`;
}

export function isProduction({ urn }: DeclaredResource, { production = ["prod", "production"] }: ProductionSettings) {
  // urn:pulumi:<stack>::<project>::<types>::<name>
  const stack = urn.split("::", 1)[0]?.replace(/^urn:pulumi:/, "") ?? "";
  return production.some((known) => (typeof known === "string" ? known === stack : known.test(stack)));
}
