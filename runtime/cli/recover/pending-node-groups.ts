import type { ReleaseNodes } from "../../deployment";
import { awsReason, nodeGroupOf, nodeGroupState } from "../../eks";
import { nodeGroupType, ownTypes, type StackState } from "./state";

/** A node group of EKS that a dead run was creating. */
interface PendingNodeGroup {
  readonly urn: string;
  /** By which Pulumi knows it. */
  readonly id: string;
  readonly nodes: ReleaseNodes;
}

/** What became of node groups that a dead run was creating, by the operation's URN. */
export interface PendingNodeGroups {
  /** Those that exist, with the id by which Pulumi knows them. */
  readonly made: ReadonlyMap<string, string>;
  /** Those of which nobody knows, with the reason. */
  readonly unknown: ReadonlyMap<string, string>;
}

/**
 * Looks which node groups exist that a dead run was creating. Their names are the service's and the release's, so that one that is not in
 * the state would stand in the way of the next attempt.
 */
export async function lookAtPendingNodeGroups(state: StackState): Promise<PendingNodeGroups> {
  const made = new Map<string, string>();
  const unknown = new Map<string, string>();
  for (const { urn, id, nodes } of pendingNodeGroups(state)) {
    try {
      if ((await nodeGroupState(await nodeGroupOf(nodes))) !== null) made.set(urn, id);
    } catch (error) {
      unknown.set(urn, awsReason(error));
    }
  }
  return { made, unknown };
}

function pendingNodeGroups(state: StackState): readonly PendingNodeGroup[] {
  return (state.deployment.pending_operations ?? []).flatMap(({ type: operation, resource }) => {
    const { clusterName, nodeGroupName, region } = resource.inputs ?? {};
    if (operation !== "creating" || resource.type !== nodeGroupType) return [];
    if (typeof clusterName !== "string" || typeof nodeGroupName !== "string") return [];
    const place = { ...placeOf(clusterName, state), ...(typeof region === "string" ? { region } : {}) };
    const nodes = { ...place, cluster: clusterName, nodeGroup: nodeGroupName };
    // https://www.pulumi.com/registry/packages/aws/api-docs/eks/nodegroup/#import
    return [{ urn: resource.urn, id: `${clusterName}:${nodeGroupName}`, nodes }];
  });
}

/** Region and profile of a cluster, as the stack's releases on it say. */
function placeOf(cluster: string, { deployment }: StackState): Pick<ReleaseNodes, "region" | "profile"> {
  for (const { type, inputs } of deployment.resources ?? []) {
    if (type !== `${ownTypes}ClusterRelease`) continue;
    const placement = (inputs?.placement ?? {}) as Readonly<Record<string, unknown>>;
    if (placement.cluster !== cluster) continue;
    const { region, profile } = placement;
    return {
      ...(typeof region === "string" ? { region } : {}),
      ...(typeof profile === "string" ? { profile } : {}),
    };
  }
  return {};
}
