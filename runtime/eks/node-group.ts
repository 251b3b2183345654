import type { NodegroupStatus } from "@aws-sdk/client-eks";
import type { ReleaseNodes } from "../deployment";
import { type EksClients, eksClients } from "./clients";
import { isNotFound } from "./failure";

/** A managed node group, and the clients that reach it. */
export interface NodeGroup extends EksClients {
  readonly cluster: string;
  readonly name: string;
}

/** What EKS has against a node group: https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html */
export interface NodeGroupIssue {
  readonly code: string;
  readonly message: string;
}

export interface NodeGroupState {
  readonly status: NodegroupStatus | "UNKNOWN";
  /** Nodes that there are to be. */
  readonly desired: number;
  /** The bounds of `desired`. */
  readonly least: number;
  readonly most: number;
  /** Name of the Auto Scaling group that does the work; null while there is none. */
  readonly autoScalingGroup: string | null;
  readonly issues: readonly NodeGroupIssue[];
}

/** Asks nothing yet. */
export async function nodeGroupOf(nodes: ReleaseNodes): Promise<NodeGroup> {
  return { ...(await eksClients(nodes)), cluster: nodes.cluster, name: nodes.nodeGroup };
}

/** What EKS says of a node group; null when there is none. */
export async function nodeGroupState({ eks, cluster, name }: NodeGroup): Promise<NodeGroupState | null> {
  try {
    const { nodegroup } = await eks.describeNodegroup({ clusterName: cluster, nodegroupName: name });
    const { desiredSize = 0, minSize = 0, maxSize = 0 } = nodegroup?.scalingConfig ?? {};
    return {
      status: nodegroup?.status ?? "UNKNOWN",
      desired: desiredSize,
      least: minSize,
      most: maxSize,
      autoScalingGroup: nodegroup?.resources?.autoScalingGroups?.[0]?.name ?? null,
      issues: (nodegroup?.health?.issues ?? []).map(({ code = "Unknown", message = "" }) => ({ code, message })),
    };
  } catch (error) {
    if (isNotFound(error)) return null;
    throw error;
  }
}

/** How a person finds it. */
export function nodeGroupName({ cluster, name }: Pick<NodeGroup, "cluster" | "name">): string {
  return `node group ${name} of the EKS cluster ${cluster}`;
}

export function issuesText(issues: readonly NodeGroupIssue[]): string {
  return issues.map(({ code, message }) => (message === "" ? code : `${code}: ${message}`)).join("; ");
}
