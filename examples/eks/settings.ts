import * as pulumi from "@pulumi/pulumi";
import { karpenter, type PerReleaseArgs, type Placement, perRelease } from "pulumi-comfyui";

/** The stack's settings: README.md lists them. */
export const config = new pulumi.Config("comfyui");

/** What every stack has to say. */
export const required = ["cluster", "context", "namespace", "image", "bucketName"].map((name) => `comfyui:${name}`);

/** A setting under its own name, where it is set. */
export function given<Name extends string>(name: Name): { readonly [key in Name]?: string } {
  const value = config.get(name);
  return (value === undefined ? {} : { [name]: value }) as { readonly [key in Name]?: string };
}

/** What nodes are made of, whether they are the service's own or everybody's. */
export function machine(): PerReleaseArgs {
  const subnetIds = config.getObject<string[]>("subnetIds");
  return {
    cluster: config.require("cluster"),
    instanceTypes: config.getObject<string[]>("instanceTypes") ?? ["g6e.2xlarge"],
    disk: { size: config.get("disk") ?? "200Gi" },
    ...(config.getBoolean("spot") ? { capacity: "spot" } : {}),
    ...(subnetIds === undefined ? {} : { subnetIds }),
  };
}

/** Nodes of the service's own; null where it shares those of the stack. */
export function ownPlacement(): Placement | null {
  const kind = config.get("placement") ?? "shared";
  if (kind === "shared") return null;
  if (kind === "perRelease") return perRelease(machine());
  if (kind === "karpenter") return karpenter({ nodePool: config.require("nodePool") });
  throw new pulumi.RunError(`comfyui:placement is "${kind}": use "shared", "perRelease" or "karpenter"`);
}
