import type * as pulumi from "@pulumi/pulumi";
import { sdk } from "../sdk";

/** What the SDK keeps on every resource, and declares for itself only. */
interface Internals {
  readonly __pulumiType?: string;
  readonly __parentResource?: pulumi.Resource;
}

/**
 * The URN that the engine will give to a resource. A provider is not told it, and an output of a component is no input for its own
 * children, so it is put together as the engine does it: the types of the parents, the resource's own, its name.
 */
export function urnOf(type: string, name: string, parent: pulumi.Resource | undefined): string {
  const types: string[] = [type];
  for (let above = parent; above !== undefined; above = (above as Internals).__parentResource) {
    const { __pulumiType } = above as Internals;
    if (__pulumiType === undefined || __pulumiType === "pulumi:pulumi:Stack") break;
    types.unshift(__pulumiType);
  }
  return `urn:pulumi:${sdk.getStack()}::${sdk.getProject()}::${types.join("$")}::${name}`;
}
