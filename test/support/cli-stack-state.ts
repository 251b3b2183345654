/** Parts of what `pulumi stack export` writes, for the project `studio` and its stack `dev`. */
export interface StateResource {
  readonly urn: string;
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A resource of this package. A release's id is the resource's own, not an output. */
export function stateResource(kind: string, all: Readonly<Record<string, unknown>>): StateResource {
  const type = `pulumi-nodejs:dynamic/comfyui:${kind}`;
  const { release, ...others } = all;
  const name = typeof release === "string" ? release : "studio";
  const outputs = kind === "Release" ? others : all;
  return {
    urn: `urn:pulumi:dev::studio::${type}::${name}`,
    custom: true,
    id: name,
    type,
    inputs: {},
    outputs: { ...outputs },
  };
}

export function pending(type: string, resource: StateResource) {
  return { type, resource };
}

export function stackState({
  resources = [],
  pending = [],
}: {
  readonly resources?: readonly StateResource[];
  readonly pending?: readonly unknown[];
}) {
  return {
    version: 3,
    deployment: {
      manifest: { time: "2026-01-01T10:00:00Z", magic: "", version: "v3.259.0" },
      ...(resources.length > 0 ? { resources } : {}),
      ...(pending.length > 0 ? { pending_operations: pending } : {}),
    },
  };
}
