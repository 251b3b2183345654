import type { V1Pod } from "@kubernetes/client-node";
import { type Cluster, labelsOf, releaseLabel, selectorOf } from "../kubernetes";
import { isNotFound } from "./failure";
import { type NodeGroup, nodeGroupState } from "./node-group";
import { instanceIdOf, nodesOf } from "./nodes";
import { type EksWatch, resize } from "./resizing";

/** Milliseconds that EKS gets to carry out what is under way. */
const settling = 600_000;

interface AutoScalingInstances {
  readonly desired: number;
  /** Those that are not on their way out. */
  readonly instances: readonly { readonly id: string; readonly lifecycle: string }[];
}

/** What a node group's Auto Scaling group has. */
export async function autoScalingInstances(group: NodeGroup): Promise<AutoScalingInstances> {
  const name = (await nodeGroupState(group))?.autoScalingGroup ?? null;
  if (name === null) return { desired: 0, instances: [] };
  const { AutoScalingGroups = [] } = await group.autoScaling.describeAutoScalingGroups({
    AutoScalingGroupNames: [name],
  });
  const [found] = AutoScalingGroups;
  const instances = (found?.Instances ?? [])
    .map(({ InstanceId = "", LifecycleState = "" }) => ({ id: InstanceId, lifecycle: String(LifecycleState) }))
    .filter(({ lifecycle }) => !lifecycle.startsWith("Terminat"));
  return { desired: found?.DesiredCapacity ?? 0, instances };
}

export interface TrimRequest extends EksWatch {
  readonly cluster: Cluster;
  readonly service: string;
  readonly release: string;
  /** Nodes that stay in any case. */
  readonly nodes: number;
}

/**
 * Ends machines of a node group that hold no pod of the release, as many as there are too many, and has as many fewer be wanted. Only the
 * one that is named is ended: told just a smaller size, the Auto Scaling group would choose by itself, without regard to pods.
 * https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_TerminateInstanceInAutoScalingGroup.html
 * @returns how many were ended; null where nodes may not be looked at.
 */
export async function trim(group: NodeGroup, request: TrimRequest): Promise<number | null> {
  const { cluster, service, release, nodes, progress, assertEngine, signal } = request;
  const { desired, instances } = await autoScalingInstances(group);
  if (desired <= nodes) return 0;
  const found = await nodesOf(cluster, group.name);
  if (found === null) return null;
  const labelSelector = selectorOf({ ...labelsOf(service, "instance"), [releaseLabel]: release });
  const { items } = await cluster.core.listNamespacedPod({ namespace: cluster.namespace, labelSelector });
  const used = new Set(items.filter(isThere).map(({ spec }) => spec?.nodeName));
  const inUse = new Set(found.filter(({ metadata }) => used.has(metadata?.name)).map(instanceIdOf));
  // Those that are no node yet go first: nobody has anything there.
  const joined = new Set(found.map(instanceIdOf));
  const empty = instances
    .filter(({ id }) => !inUse.has(id))
    .sort((a, b) => Number(joined.has(a.id)) - Number(joined.has(b.id)));
  const surplus = empty.slice(0, Math.max(0, instances.length - nodes));
  for (const { id } of surplus) {
    signal.throwIfAborted();
    await assertEngine();
    progress(`ending ${id}, on which nothing of ${release} runs`);
    await terminate(group, id);
  }
  // What was wanted and never came would come later.
  const left = instances.length - surplus.length;
  if (desired > instances.length) {
    const size = Math.max(left, Math.min(nodes, desired));
    await resize(group, ({ most }) => ({ desired: size, most }), {
      progress,
      signal,
      assertEngine,
      deadline: settling,
    });
  }
  return surplus.length;
}

async function terminate({ autoScaling }: NodeGroup, id: string): Promise<void> {
  try {
    await autoScaling.terminateInstanceInAutoScalingGroup({ InstanceId: id, ShouldDecrementDesiredCapacity: true });
  } catch (error) {
    // It went by itself, or was ended by an earlier attempt.
    if (!isNotFound(error) && !/not found|terminat/i.test((error as Error).message)) throw error;
  }
}

const isThere = ({ status }: V1Pod) => status?.phase !== "Succeeded" && status?.phase !== "Failed";
