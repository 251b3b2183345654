import { createHash } from "node:crypto";
import type * as awsSdk from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import { bytesOf } from "../../providers/declarations/pod";
import { instanceType } from "../../runtime/aws";
import { owner } from "../resources";
import { sdk } from "../sdk";
import type { ClusterFacts } from "./cluster";
import type { GpuAmiType, NodeMachineArgs, TaintArgs } from "./node-machine-args";
import { aws } from "./sdk";

/** Keeps pods without GPUs away. */
const gpuTaint: TaintArgs = { key: "nvidia.com/gpu", value: "present", effect: "NoSchedule" };
const defaultDisk = "100Gi";
const capacityTypes = { onDemand: "ON_DEMAND", spot: "SPOT", capacityBlock: "CAPACITY_BLOCK" } as const;
const taintEffects = {
  NoSchedule: "NO_SCHEDULE",
  PreferNoSchedule: "PREFER_NO_SCHEDULE",
  NoExecute: "NO_EXECUTE",
} as const;

/** All taints of the nodes. */
export function taintsOf({ taints = [] }: NodeMachineArgs): readonly TaintArgs[] {
  return [gpuTaint, ...taints];
}

/** GPUs of each node; undefined where neither table nor arguments tell. */
export function gpusPerNode({ instanceTypes, gpusPerNode: stated }: NodeMachineArgs): number | undefined {
  return stated ?? instanceType(instanceTypes[0] ?? "")?.gpus;
}

/** The type that was named, else the one of Amazon Linux for the machines' architecture. */
export function amiTypeOf({ ami, instanceTypes }: NodeMachineArgs): GpuAmiType {
  if (ami?.type !== undefined) return ami.type;
  return instanceType(instanceTypes[0] ?? "")?.architecture === "arm64"
    ? "AL2023_ARM_64_NVIDIA"
    : "AL2023_x86_64_NVIDIA";
}

export function capacityTypeOf({ capacity = "onDemand" }: NodeMachineArgs) {
  return capacityTypes[capacity];
}

/** What a launch template says, but for tags. */
function templateContent(args: NodeMachineArgs) {
  const { disk, capacity, capacityReservation } = args;
  const volume = {
    volumeType: "gp3",
    encrypted: "true",
    deleteOnTermination: "true",
    ...(disk?.kmsKeyId === undefined ? {} : { kmsKeyId: disk.kmsKeyId }),
  };
  const sized = {
    ...volume,
    volumeSize: Math.ceil(bytesOf(disk?.size ?? defaultDisk) / 2 ** 30),
    ...(disk?.iops === undefined ? {} : { iops: disk.iops }),
    ...(disk?.throughput === undefined ? {} : { throughput: disk.throughput }),
  };
  // https://bottlerocket.dev/en/os/latest/concepts/variants/: the system is on the first volume, images and pods' files on the second.
  const devices = amiTypeOf(args).startsWith("BOTTLEROCKET")
    ? { "/dev/xvda": volume, "/dev/xvdb": sized }
    : { "/dev/xvda": sized };
  return {
    blockDeviceMappings: Object.entries(devices).map(([deviceName, ebs]) => ({ deviceName, ebs })),
    // Pods cannot take the node's role: an answer to them would need a further hop.
    // https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html
    metadataOptions: {
      httpEndpoint: "enabled",
      httpTokens: "required",
      httpPutResponseHopLimit: 1,
      instanceMetadataTags: "disabled",
    },
    ...(capacityReservation === undefined
      ? {}
      : {
          capacityReservationSpecification: {
            capacityReservationTarget: sdk.output(capacityReservation).apply(reservationTarget),
          },
        }),
    // https://docs.aws.amazon.com/eks/latest/userguide/capacity-blocks-mng.html: the type is the template's, not the group's.
    ...(capacity === "capacityBlock"
      ? { instanceMarketOptions: { marketType: "capacity-block" }, instanceType: args.instanceTypes[0] ?? "" }
      : {}),
  };
}

function reservationTarget(reservation: string) {
  return reservation.startsWith("arn:")
    ? { capacityReservationResourceGroupArn: reservation }
    : { capacityReservationId: reservation };
}

/**
 * A short hash of all that EKS would change under running pods, or that would replace a group whose name is taken: another hash is another group.
 * Size, labels and tags are not part of it. Unknown at preview only where what it is made from is.
 */
export function machineHash(args: NodeMachineArgs, cluster: ClusterFacts): pulumi.Output<string> {
  return hashOf({
    template: templateContent(args),
    cluster: cluster.name,
    amiType: amiTypeOf(args),
    release: args.ami?.release,
    kubernetesVersion: args.kubernetesVersion,
    instanceTypes: args.instanceTypes,
    capacityType: capacityTypeOf(args),
    taints: taintsOf(args).map(({ key, value, effect }) => [key, value, effect]),
    role: args.role,
    subnetIds: subnetsOf(args, cluster).apply((ids) => [...ids].sort()),
  });
}

function hashOf(content: pulumi.Input<object>): pulumi.Output<string> {
  return sdk
    .output(content)
    .apply((known) => createHash("sha256").update(JSON.stringify(known)).digest("hex").slice(0, 8));
}

function subnetsOf({ subnetIds }: NodeMachineArgs, cluster: ClusterFacts): pulumi.Output<readonly string[]> {
  return subnetIds === undefined ? cluster.subnetIds : sdk.output(subnetIds);
}

/**
 * The template of a group's nodes, named by its content, so that other content is another template. Its tags are left as they were made:
 * a further version would have EKS replace the nodes in place.
 */
export function launchTemplate(
  name: string,
  args: NodeMachineArgs,
  cluster: ClusterFacts,
  opts: pulumi.CustomResourceOptions,
): awsSdk.ec2.LaunchTemplate {
  const content = templateContent(args);
  // Names of templates are the account's and region's; services of one name may be in several clusters, and stacks.
  const hash = hashOf({ ...content, cluster: cluster.name, owner: owner() });
  const tags = { Name: name, ...args.tags };
  return new (aws("a GPU node group").ec2.LaunchTemplate)(
    `${name}-nodes`,
    {
      ...regionOf(args),
      name: sdk.interpolate`${name}-${hash}`,
      ...content,
      tagSpecifications: ["instance", "volume", "network-interface"].map((resourceType) => ({ resourceType, tags })),
      tags,
    },
    { ...opts, ignoreChanges: ["tagSpecifications"] },
  );
}

/** A role for nodes, and what must be there before they use it. */
export interface NodeRole {
  readonly arn: pulumi.Input<string>;
  readonly dependsOn: readonly pulumi.Resource[];
}

/** The role that is given, else one with the least that nodes need. https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html */
export function nodeRole(name: string, args: NodeMachineArgs, opts: pulumi.CustomResourceOptions): NodeRole {
  if (args.role !== undefined) return { arn: args.role, dependsOn: [] };
  const { iam, getPartitionOutput } = aws("a GPU node group");
  const role = new iam.Role(
    `${name}-nodes`,
    {
      description: `Nodes with GPUs of ${name}`,
      assumeRolePolicy: JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } }],
      }),
      tags: { ...args.tags },
    },
    opts,
  );
  const { partition } = getPartitionOutput({}, opts.parent === undefined ? {} : { parent: opts.parent });
  const policies = [
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    ...(args.cniPolicy === true ? ["AmazonEKS_CNI_Policy"] : []),
  ];
  const attachments = policies.map(
    (policy) =>
      new iam.RolePolicyAttachment(
        `${name}-nodes-${policy}`,
        { role: role.name, policyArn: sdk.interpolate`arn:${partition}:iam::aws:policy/${policy}` },
        opts,
      ),
  );
  return { arn: role.arn, dependsOn: attachments };
}

/** What a group has besides its machines. */
export interface NodeGroupDeclaration {
  /** In AWS; at most 63 characters. Its resource has it from the caller's `name`. */
  readonly nodeGroupName: pulumi.Input<string>;
  /** `desired` is for the creation: later it is the cluster autoscaler's, or the EKS API's. */
  readonly size: { readonly min: number; readonly max: number; readonly desired: number };
  readonly template: awsSdk.ec2.LaunchTemplate;
  readonly role: NodeRole;
  readonly labels?: Readonly<Record<string, pulumi.Input<string>>>;
}

/** The managed node group. */
export function nodeGroup(
  name: string,
  args: NodeMachineArgs,
  cluster: ClusterFacts,
  { nodeGroupName, size, template, role, labels }: NodeGroupDeclaration,
  opts: pulumi.CustomResourceOptions & { readonly dependsOn?: readonly pulumi.Resource[] },
): awsSdk.eks.NodeGroup {
  const { ami, kubernetesVersion, instanceTypes, capacity } = args;
  const { dependsOn = [], ...rest } = opts;
  return new (aws("a GPU node group").eks.NodeGroup)(
    `${name}-nodes`,
    {
      ...regionOf(args),
      clusterName: cluster.name,
      nodeGroupName,
      nodeRoleArn: role.arn,
      subnetIds: subnetsOf(args, cluster).apply((ids) => [...ids]),
      amiType: amiTypeOf(args),
      ...(ami?.release === undefined ? {} : { releaseVersion: ami.release }),
      ...(kubernetesVersion === undefined ? {} : { version: kubernetesVersion }),
      capacityType: capacityTypeOf(args),
      ...(capacity === "capacityBlock" ? {} : { instanceTypes: [...instanceTypes] }),
      // Of a template with this name there is no other version.
      launchTemplate: { id: template.id, version: "1" },
      scalingConfig: { minSize: size.min, maxSize: size.max, desiredSize: size.desired },
      labels: { ...args.labels, ...labels },
      taints: taintsOf(args).map(({ effect, ...taint }) => ({ ...taint, effect: taintEffects[effect] })),
      tags: { ...args.tags },
      updateConfig: { maxUnavailable: 1 },
    },
    {
      ...rest,
      dependsOn: [...dependsOn, ...role.dependsOn],
      ignoreChanges: opts.ignoreChanges ?? ["scalingConfig.desiredSize"],
    },
  );
}

function regionOf({ region }: NodeMachineArgs) {
  return region === undefined ? {} : { region };
}
