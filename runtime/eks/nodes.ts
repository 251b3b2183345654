import type { V1Node } from "@kubernetes/client-node";
import { type Cluster, nodeGroupLabel, statusOf } from "../kubernetes";

/** What one instance needs of its node. */
export interface GpuNeed {
  readonly resource: string;
  readonly count: number;
}

/** A node group's nodes as the cluster knows them; null where they may not be looked at. */
export async function nodesOf(cluster: Cluster, nodeGroup: string): Promise<readonly V1Node[] | null> {
  try {
    const { items } = await cluster.core.listNode({ labelSelector: `${nodeGroupLabel}=${nodeGroup}` });
    return items;
  } catch (error) {
    if (statusOf(error) === 403) return null;
    throw error;
  }
}

/** What a node lacks to take an instance, or null when it lacks nothing. */
export function lackOf({ spec, status }: V1Node, { resource, count }: GpuNeed): string | null {
  if (!status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True")) return "not ready yet";
  if (spec?.unschedulable === true) return "cordoned";
  const gpus = Number(status.allocatable?.[resource] ?? 0);
  if (gpus >= count) return null;
  return gpus === 0
    ? `offers no ${resource} yet: its device plugin makes them known`
    : `offers ${gpus} ${resource}, of which an instance needs ${count}`;
}

/** Id of a node's EC2 instance, from `aws:///<zone>/<id>`; null for a node of another kind. */
export function instanceIdOf({ spec }: V1Node): string | null {
  return /^aws:\/\/.*\/(i-[0-9a-z]+)$/.exec(spec?.providerID ?? "")?.[1] ?? null;
}
