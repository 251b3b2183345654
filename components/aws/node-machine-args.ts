import type * as pulumi from "@pulumi/pulumi";
import type { EksCluster } from "./cluster";

/** The AMI types of EKS that bring NVIDIA's drivers. */
export type GpuAmiType =
  | "AL2023_x86_64_NVIDIA"
  | "AL2023_ARM_64_NVIDIA"
  | "BOTTLEROCKET_x86_64_NVIDIA"
  | "BOTTLEROCKET_ARM_64_NVIDIA";

/** A taint of a group's nodes, in the spelling of Kubernetes. */
export interface TaintArgs {
  readonly key: string;
  readonly value?: string;
  readonly effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
}

/** The disk of each node. */
export interface NodeDiskArgs {
  /** As Kubernetes writes quantities; whole GiB, rounded up. Holds images, restored environments and what ComfyUI writes. @default "100Gi" */
  readonly size?: string;
  /** ARN of the KMS key that encrypts it; the Auto Scaling service's role must be allowed to use it. @default the account's key for EBS */
  readonly kmsKeyId?: pulumi.Input<string>;
  /** I/O operations a second, 3000 to 80000. @default 3000, which costs nothing extra */
  readonly iops?: number;
  /** MiB a second, 125 to 2000. @default 125, which costs nothing extra; a restore reads and writes whole environments */
  readonly throughput?: number;
}

/**
 * What nodes with GPUs are made of. A change of anything but `labels` and `tags` makes other nodes: EKS would change or fail to change
 * a group in place, so that another group is made, and the old one goes after its pods.
 */
export interface NodeMachineArgs {
  /** `aws.eks.Cluster`, the `Cluster` of `@pulumi/eks`, or the name of a cluster that there is. */
  readonly cluster: EksCluster;
  /** For example `["g6e.2xlarge"]`. Several must have the same architecture and the same number of GPUs; on-demand capacity is tried in this order. */
  readonly instanceTypes: readonly string[];
  /**
   * `"spot"` nodes may be taken back with two minutes' notice. `"capacityBlock"` is time bought in advance, for one instance type, and needs
   * `capacityReservation`. @default "onDemand"
   */
  readonly capacity?: "onDemand" | "spot" | "capacityBlock";
  /** Id of a capacity reservation or block, or ARN of a resource group of reservations: nodes are launched there and nowhere else. @default none */
  readonly capacityReservation?: pulumi.Input<string>;
  /** GPUs of each node, for instance types that this package does not know yet: then `ami.type` is needed as well. @default what is known of the type */
  readonly gpusPerNode?: number;
  readonly disk?: NodeDiskArgs;
  readonly ami?: {
    /** @default the AL2023 one of the instance types' architecture */
    readonly type?: GpuAmiType;
    /** For example `"1.33.5-20251112"`. @default the newest when the group is created, and then that one */
    readonly release?: string;
  };
  /** For example `"1.33"`. @default the cluster's when the group is created, and then that one */
  readonly kubernetesVersion?: string;
  /** Name private ones where the cluster has public ones too; those of its zone for a capacity block. @default the cluster's own */
  readonly subnetIds?: pulumi.Input<readonly pulumi.Input<string>[]>;
  /** ARN of the nodes' role. @default one with the least that nodes need: to join the cluster and to pull images */
  readonly role?: pulumi.Input<string>;
  /**
   * Gives the role that is made the policy `AmazonEKS_CNI_Policy`. Only for clusters whose `aws-node` has no role of its own by Pod Identity or IRSA, which is
   * what AWS recommends. @default false
   */
  readonly cniPolicy?: boolean;
  /** Further labels of the nodes. Changed in place. @default none */
  readonly labels?: Readonly<Record<string, string>>;
  /** Taints besides `nvidia.com/gpu=present:NoSchedule`; pods must tolerate them. @default none */
  readonly taints?: readonly TaintArgs[];
  /**
   * Tags of what is made in AWS. Changed in place on group, template and role; instances, their volumes and network interfaces have those with which their
   * template was made, since other ones would replace the nodes. @default none
   */
  readonly tags?: Readonly<Record<string, string>>;
  /** @default that of the stack's `aws:region` or of the provider */
  readonly region?: string;
}
