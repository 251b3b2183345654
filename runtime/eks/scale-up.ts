import type { Cluster } from "../kubernetes";
import { DeadlineError, waitFor } from "../waiting";
import { awsReason, isForbidden, mayPass } from "./failure";
import { LaunchFailures } from "./launch-failures";
import { type NodeGroup, type NodeGroupState, nodeGroupName, nodeGroupState } from "./node-group";
import { type GpuNeed, lackOf, nodesOf } from "./nodes";
import { pace } from "./pace";
import { type EksWatch, NodesUnavailableError, resize } from "./resizing";
import { autoScalingInstances } from "./trimming";

/** Nodes that are named one by one in a message. */
const mostNamed = 5;

export interface ScaleUpRequest extends EksWatch {
  /** The cluster as Kubernetes knows it. */
  readonly cluster: Cluster;
  /** Nodes that have to be there. */
  readonly nodes: number;
  /** Nodes that an autoscaler may go up to. */
  readonly most: number;
  /** What one instance needs of a node. */
  readonly gpu: GpuNeed;
  /** Milliseconds until the nodes have to be there. */
  readonly timeout: number;
  readonly warn: (message: string) => void;
}

/**
 * Has a node group have so many nodes, at least, and waits until they take instances: Ready, with their GPUs. Never scales in.
 * @throws {NodesUnavailableError} with the cloud's own reason: at once where no waiting helps, else at the deadline
 */
export async function scaleUp(group: NodeGroup, request: ScaleUpRequest): Promise<void> {
  const { nodes, most, progress, signal, timeout, assertEngine } = request;
  const started = performance.now();
  const rest = () => Math.max(0, timeout - (performance.now() - started));
  const first = await nodeGroupState(group);
  if (first === null) throw gone(group);
  const failures = await LaunchFailures.after(group, first);
  progress(`scaling ${nodeGroupName(group)} to ${nodesText(nodes)}`);
  const before = await resize(
    group,
    ({ desired }) => ({ desired: Math.max(desired, nodes), most: Math.max(desired, nodes, most) }),
    { progress, signal, assertEngine, deadline: rest() },
  );
  if (before === null) throw gone(group);
  let seen = "";
  let reason: string | null = null;
  let warned = false;
  try {
    await waitFor({
      what: `${nodesText(nodes)} of ${nodeGroupName(group)}`,
      deadline: rest(),
      interval: pace(),
      progress,
      signal,
      seen: () => (reason === null ? seen : `${seen}; ${reason}`),
      look: async () => {
        try {
          const standing = await look(group, request);
          seen = standing.seen;
          if (standing.hidden && !warned) {
            warned = true;
            request.warn(
              "the cluster's nodes may not be listed with these credentials: whether they take instances shows at the gate",
            );
          }
          if (standing.ready) return true;
          const state = await nodeGroupState(group);
          if (state === null || state.status === "DELETING") throw gone(group);
          const failure = await failures.look(state);
          reason = failure?.reason ?? overruled(state, nodes);
          if (failure?.final === true) throw new NodesUnavailableError(failure.reason);
          return undefined;
        } catch (error) {
          if (!mayPass(error)) throw error;
          reason = awsReason(error);
          return undefined;
        }
      },
    });
  } catch (error) {
    if (error instanceof DeadlineError) throw new NodesUnavailableError(error.message, { cause: error });
    throw error;
  }
  progress(`${nodesText(nodes)} of ${nodeGroupName(group)} are ready`);
}

/** Why the nodes that were asked for are not even wanted, or null when they are. */
function overruled({ status, desired }: NodeGroupState, nodes: number): string | null {
  if (status === "UPDATING" || desired >= nodes) return null;
  return `EKS is told to have ${desired} again: something else has changed its size, or EKS could not`;
}

interface Standing {
  readonly ready: boolean;
  readonly seen: string;
  /** Whether the cluster does not let its nodes be looked at. */
  readonly hidden: boolean;
}

async function look(group: NodeGroup, { cluster, nodes, gpu }: ScaleUpRequest): Promise<Standing> {
  const found = await nodesOf(cluster, group.name);
  if (found === null) return { ...(await lookAtInstances(group, nodes)), hidden: true };
  const lacking = found.flatMap((node) => {
    const lack = lackOf(node, gpu);
    return lack === null ? [] : [`${node.metadata?.name} ${lack}`];
  });
  const ready = found.length - lacking.length;
  const named = lacking.slice(0, mostNamed).join(", ");
  const more = lacking.length > mostNamed ? ` and ${lacking.length - mostNamed} more` : "";
  return {
    ready: ready >= nodes,
    seen: [`${ready} of ${nodes} ready`, `${named}${more}`].filter(Boolean).join("; "),
    hidden: false,
  };
}

/** Where nodes cannot be seen, instances that are in service are the next best; without them, the gate decides. */
async function lookAtInstances(group: NodeGroup, nodes: number): Promise<Omit<Standing, "hidden">> {
  try {
    const { instances } = await autoScalingInstances(group);
    const running = instances.filter(({ lifecycle }) => lifecycle === "InService").length;
    return { ready: running >= nodes, seen: `${running} of ${nodes} machines run` };
  } catch (error) {
    if (!isForbidden(error)) throw error;
    return { ready: true, seen: "" };
  }
}

function gone(group: NodeGroup): Error {
  return new NodesUnavailableError(
    `there is no ${nodeGroupName(group)} any more: run "pulumi refresh", then "pulumi up" again`,
  );
}

export const nodesText = (count: number) => `${count} ${count === 1 ? "node" : "nodes"}`;
