import type * as pulumi from "@pulumi/pulumi";
import { knownLater } from "../providers/unknown";
import type { Duration } from "../runtime/units";
import type { NodeMachineArgs } from "./aws/node-machine-args";

/** A managed node group: a `GpuNodeGroup`, an `aws.eks.NodeGroup`, or its name alone. */
export type NodeGroupReference =
  | { readonly name: pulumi.Input<string> }
  | { readonly nodeGroupName: pulumi.Input<string> };

/** See {@link shared}. */
export interface SharedPlacement {
  readonly kind: "shared";
  readonly nodeGroup: NodeGroupReference;
}

/** Arguments of {@link perRelease}: what the nodes are made of, and how long they may take. */
export interface PerReleaseArgs extends NodeMachineArgs {
  /**
   * How long all nodes of a release together may take until they take instances: machines, their joining, their GPUs. Changing it changes
   * nothing that runs. @default "20m"
   */
  readonly timeout?: Duration;
  /** Instances that share a node. @default as many as have their GPUs there; 1 for pods without GPUs */
  readonly instancesPerNode?: number;
}

/** See {@link perRelease}. */
export interface PerReleasePlacement extends PerReleaseArgs {
  readonly kind: "perRelease";
}

/** Arguments of {@link karpenter}. */
export interface KarpenterArgs {
  /** Name of the NodePool. */
  readonly nodePool: string;
}

/** See {@link karpenter}. */
export interface KarpenterPlacement extends KarpenterArgs {
  readonly kind: "karpenter";
}

/** See {@link anywhere}. */
export interface AnywherePlacement {
  readonly kind: "anywhere";
}

/** On which nodes instances run, and what becomes of the nodes in a rotation. */
export type Placement = SharedPlacement | PerReleasePlacement | KarpenterPlacement | AnywherePlacement;

/**
 * On the nodes of a group that any number of services use. They stay in a rotation, unless the group itself is replaced: then the new
 * nodes come first, and the old ones go last.
 *
 *     placement: shared(new GpuNodeGroup("gpus", { … }))
 *     placement: shared({ name: "gpus" })
 */
export function shared(nodeGroup: NodeGroupReference): SharedPlacement {
  return { kind: "shared", nodeGroup };
}

/**
 * On nodes that each release has for itself: a rotation makes new ones, proves the instances on them, moves the traffic, and lets the old
 * ones go once they are drained. Until then both are paid for; a preview says how much that is. A change of anything but `labels`,
 * `tags`, `timeout` and `instancesPerNode` is a rotation.
 *
 *     placement: perRelease({ cluster, instanceTypes: ["g6e.2xlarge"], disk: { size: "200Gi" } })
 */
export function perRelease(args: PerReleaseArgs): PerReleasePlacement {
  return { kind: "perRelease", ...args };
}

/**
 * On nodes that Karpenter (https://karpenter.sh) makes for each release and removes when they are empty. Makes nothing in AWS itself. The NodePool must
 * allow the label that tells releases apart: a requirement `{ key: "pulumi-comfyui/release", operator: "Exists" }`.
 */
export function karpenter(args: KarpenterArgs): KarpenterPlacement {
  return { kind: "karpenter", ...args };
}

/** Wherever the pods' own `nodeSelector` and `tolerations` let them. */
export function anywhere(): AnywherePlacement {
  return { kind: "anywhere" };
}

/** A node group alone means {@link shared}. */
export function placementOf(given: Placement | NodeGroupReference | undefined): Placement {
  if (given === undefined) return anywhere();
  return "kind" in given ? given : shared(given);
}

/** Name of a node group that is there. */
export function nodeGroupNameOf(group: NodeGroupReference): pulumi.Input<string> {
  return "nodeGroupName" in group ? group.nodeGroupName : group.name;
}

/** What a `GpuNodeGroup` tells of its nodes. */
function knownOf(group: NodeGroupReference & { readonly gpusPerNode?: number; readonly taints?: unknown }): object {
  const { gpusPerNode, taints } = group;
  return gpusPerNode === undefined ? {} : { gpusPerNode, taints };
}

/** What of a placement is plain, for the check of all that is declared: resources stand for themselves elsewhere. */
export function publicPlacement(given: Placement | NodeGroupReference): object {
  const placement = placementOf(given);
  switch (placement.kind) {
    case "shared":
      return { kind: "shared", nodeGroup: nodeGroupNameOf(placement.nodeGroup), ...knownOf(placement.nodeGroup) };
    case "perRelease": {
      const { cluster, ...args } = placement;
      return { ...args, cluster: typeof cluster === "string" ? cluster : knownLater };
    }
    default:
      return placement;
  }
}
