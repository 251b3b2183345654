import type * as pulumi from "@pulumi/pulumi";
import type { ResourceType } from "../../providers";
import { sdk } from "../sdk";
import { shim } from "./shim";
import { urnOf } from "./urn";

const providers = new Map<ResourceType, ReturnType<typeof shim>>();

/** One provider object for each type: the SDK serialises it once. */
function providerOf(type: ResourceType): ReturnType<typeof shim> {
  const known = providers.get(type) ?? shim(type);
  providers.set(type, known);
  return known;
}

/** A dynamic resource of this package. */
export abstract class ComfyUIResource extends sdk.dynamic.Resource {
  protected constructor(
    type: ResourceType,
    name: string,
    inputs: pulumi.Inputs,
    outputs: readonly string[],
    opts: pulumi.CustomResourceOptions,
  ) {
    const displayUrn = urnOf(`pulumi-nodejs:dynamic/comfyui:${type}`, name, opts.parent);
    const declared = Object.fromEntries(outputs.map((output) => [output, undefined]));
    super(providerOf(type), name, { ...declared, ...inputs, displayUrn }, opts, "comfyui", type);
  }
}

/** Who declares: what owns a service on its platform. */
export function owner() {
  return { organization: sdk.getOrganization(), project: sdk.getProject(), stack: sdk.getStack() };
}
