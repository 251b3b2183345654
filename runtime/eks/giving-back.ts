import type { ReleaseNodes } from "../deployment";
import { waitFor } from "../waiting";
import { awsReason, isInUse, isNotFound, mayPass } from "./failure";
import { type NodeGroup, nodeGroupName, nodeGroupOf, nodeGroupState } from "./node-group";
import { pace } from "./pace";
import { type EksWatch, NodesUnavailableError, resize, untilSettled } from "./resizing";

/** Milliseconds until EKS has to have taken a group's new size, which includes changes that are under way. */
const settling = 600_000;
/** Milliseconds until a group is gone: its nodes are drained and ended first. */
const deleting = 1_800_000;

/** Has a node group have no nodes. One that is gone, or was never made, has none. Does not wait for them to go. */
export async function giveBack(group: NodeGroup, watch: EksWatch): Promise<void> {
  watch.progress(`giving back the nodes of ${nodeGroupName(group)}`);
  try {
    await resize(group, ({ most }) => ({ desired: 0, most }), { ...watch, deadline: settling });
  } catch (error) {
    // It was created empty.
    if (error instanceof NodesUnavailableError) return;
    throw error;
  }
}

/** As {@link giveBack}, and waits until EKS is done with it, so that the group can be deleted. */
export async function giveBackForGood(group: NodeGroup, watch: EksWatch): Promise<void> {
  await giveBack(group, watch);
  await untilSettled(group, { ...watch, deadline: settling });
}

/** Gives back the nodes of a release, as its record has them; nothing for one without nodes of its own. */
export async function giveBackNodes(nodes: ReleaseNodes | undefined, watch: EksWatch): Promise<void> {
  if (nodes !== undefined) await giveBack(await nodeGroupOf(nodes), watch);
}

/** Removes a release's node group with its nodes, and waits until it is gone. One that is gone is done. */
export async function deleteNodeGroup(nodes: ReleaseNodes, watch: EksWatch): Promise<void> {
  const group = await nodeGroupOf(nodes);
  await giveBackForGood(group, watch);
  let seen = "";
  await waitFor({
    what: `${nodeGroupName(group)} to be gone`,
    deadline: deleting,
    interval: pace(),
    progress: watch.progress,
    signal: watch.signal,
    seen: () => seen,
    look: async () => {
      try {
        const state = await nodeGroupState(group);
        if (state === null) return true;
        seen = `it is ${state.status}`;
        if (state.status === "DELETING") return undefined;
        await watch.assertEngine();
        await group.eks.deleteNodegroup({ clusterName: group.cluster, nodegroupName: group.name });
      } catch (error) {
        if (isNotFound(error)) return true;
        if (!isInUse(error) && !mayPass(error)) throw error;
        seen = awsReason(error);
      }
      return undefined;
    },
  });
}
