import type * as pulumi from "@pulumi/pulumi";
import { gpuNodeGroupProblems } from "../../providers/declarations/gpu-node-group";
import { knownLater } from "../../providers/unknown";
import { InvalidInputError } from "../../runtime/problems";
import { plain } from "../declarations";
import { sdk } from "../sdk";
import { clusterFacts, type EksCluster } from "./cluster";
import { type DevicePluginArgs, devicePlugin } from "./device-plugin";
import { gpusPerNode, launchTemplate, machineHash, nodeGroup, nodeRole, taintsOf } from "./node-group-parts";
import type { NodeMachineArgs, TaintArgs } from "./node-machine-args";

/** By which EKS tells its nodes apart. */
const groupLabel = "eks.amazonaws.com/nodegroup";

/** Bounds of a group that a cluster autoscaler scales. */
export interface NodeRangeArgs {
  readonly min: number;
  /** At least 1. */
  readonly max: number;
  /** Nodes that the group begins with; from then on it is the autoscaler's, and a change of it changes nothing. @default `min` */
  readonly desired?: number;
}

/** Arguments of {@link GpuNodeGroup}. */
export interface GpuNodeGroupArgs extends NodeMachineArgs {
  /**
   * How many nodes: a number, or bounds for a cluster autoscaler. Changed in place. Where an autoscaler scales, change its bounds with `pulumi up --refresh`:
   * AWS is told the number of nodes with them, and without a refresh that is the one of the last run.
   */
  readonly size: number | NodeRangeArgs;
  /**
   * Runs NVIDIA's device plugin on the nodes of this group, without which those of Amazon Linux have no `nvidia.com/gpu`. Leave it out where the cluster has the
   * plugin or NVIDIA's GPU operator already; Bottlerocket brings it. @default none
   */
  readonly devicePlugin?: DevicePluginArgs;
}

/**
 * A managed node group with GPUs, for any number of services: `placement: shared(group)`. It costs what its machines and disks cost, whether they are used or
 * not. EKS changes nothing of it under running pods: what it would change in place enters the group's name, so that such a change
 * makes another group, and services on it rotate onto that before the old one goes. Size, labels and tags change in place.
 *
 *     const gpus = new GpuNodeGroup("gpus", { cluster, instanceTypes: ["g6e.2xlarge"], size: 2, disk: { size: "200Gi" } });
 *
 * Throws an `InvalidInputError` that lists everything which is wrong with its arguments.
 */
export class GpuNodeGroup extends sdk.ComponentResource {
  /** Name of the group in EKS, `<name>-<hash>`: the value of the label `eks.amazonaws.com/nodegroup` of its nodes. */
  readonly nodeGroupName: pulumi.Output<string>;
  /** Labels that its nodes have, that one included. */
  readonly labels: pulumi.Output<Readonly<Record<string, string>>>;
  /** ARN of the nodes' role. */
  readonly roleArn: pulumi.Output<string>;
  /** Taints that its nodes have. */
  readonly taints: readonly TaintArgs[];
  readonly instanceTypes: readonly string[];
  /** GPUs of each node. */
  readonly gpusPerNode: number;

  constructor(name: string, args: GpuNodeGroupArgs, opts?: pulumi.ComponentResourceOptions) {
    const problems = gpuNodeGroupProblems(name, declared(args));
    if (problems.length > 0) throw new InvalidInputError(problems);
    super("comfyui:index:GpuNodeGroup", name, {}, opts);
    const child = { parent: this };
    const { size } = args;

    const cluster = clusterFacts(args.cluster, args.region, child);
    const template = launchTemplate(name, args, cluster, child);
    const role = nodeRole(name, args, child);
    const group = nodeGroup(
      name,
      args,
      cluster,
      {
        nodeGroupName: sdk.interpolate`${name}-${machineHash(args, cluster)}`,
        size: typeof size === "number" ? { min: size, max: size, desired: size } : { desired: size.min, ...size },
        template,
        role,
      },
      { ...child, ...(typeof size === "number" ? { ignoreChanges: [] } : {}) },
    );
    const plugin =
      args.devicePlugin === undefined
        ? undefined
        : devicePlugin(name, args.devicePlugin, group.nodeGroupName, {
            ...child,
            provider: args.devicePlugin.provider,
          });

    // What runs on the nodes comes after the plugin, and goes before it.
    this.nodeGroupName = sdk.all([group.nodeGroupName, plugin?.metadata.name]).apply(([known]) => known);
    this.labels = this.nodeGroupName.apply(
      (known): Record<string, string> => ({ ...args.labels, [groupLabel]: known }),
    );
    this.roleArn = sdk.output(role.arn);
    this.taints = taintsOf(args);
    this.instanceTypes = args.instanceTypes;
    this.gpusPerNode = gpusPerNode(args) ?? 0;
    this.registerOutputs({ nodeGroupName: this.nodeGroupName, labels: this.labels, roleArn: this.roleArn });
  }
}

/** The arguments without the resources in them, as they are checked. */
function declared({ cluster, devicePlugin: plugin, ...args }: GpuNodeGroupArgs): object {
  return plain({
    ...args,
    cluster: nameOrLater(cluster),
    devicePlugin: plugin === undefined ? undefined : { version: plugin.version, provider: knownLater },
  }) as object;
}

function nameOrLater(cluster: EksCluster): unknown {
  return typeof cluster === "object" ? knownLater : cluster;
}
