import { type Watch, waitFor } from "../waiting";
import { awsReason, isInUse, isNotFound, mayPass } from "./failure";
import { issuesText, type NodeGroup, type NodeGroupState, nodeGroupName, nodeGroupState } from "./node-group";
import { pace } from "./pace";

/** What a wait in EKS reports to, stops by, and asks right before it changes anything. */
export interface EksWatch extends Watch {
  /** Fails when nobody is behind the operation any more: a process that outlived its run must not scale. */
  readonly assertEngine: () => Promise<void>;
}

/** Nodes that will not come by waiting longer. */
export class NodesUnavailableError extends Error {
  override readonly name = "NodesUnavailableError";
}

/** Bounds and size of a node group as they are to be. */
export interface Size {
  readonly desired: number;
  readonly most: number;
}

/**
 * Sets the size of a node group, once no other change of it is under way: EKS carries out one at a time.
 * @param sizeFor what it is to be, of what it is; asked anew whenever another change came in between.
 * @returns what it was before; null when there is no such group, or it is about to go.
 * @throws {NodesUnavailableError} when EKS refuses, or the group was never made
 */
export async function resize(
  group: NodeGroup,
  sizeFor: (state: NodeGroupState) => Size,
  { progress, signal, assertEngine, deadline }: EksWatch & { readonly deadline: number },
): Promise<NodeGroupState | null> {
  const { eks, cluster, name } = group;
  let seen = "";
  const answer = await waitFor<{ readonly before: NodeGroupState | null }>({
    what: `${nodeGroupName(group)} to take another size`,
    deadline,
    interval: pace(),
    progress,
    signal,
    seen: () => seen,
    look: async () => {
      try {
        const state = await nodeGroupState(group);
        if (state === null || state.status === "DELETING") return { before: null };
        if (state.status === "CREATE_FAILED") {
          throw new NodesUnavailableError(`${nodeGroupName(group)} was not made: ${issuesText(state.issues)}`);
        }
        seen = `it is ${state.status}`;
        if (state.status === "CREATING" || state.status === "UPDATING") return undefined;
        const size = sizeFor(state);
        const most = Math.max(1, size.most);
        if (state.desired === size.desired && state.most === most && state.least === 0) return { before: state };
        await assertEngine();
        await eks.updateNodegroupConfig({
          clusterName: cluster,
          nodegroupName: name,
          scalingConfig: { minSize: 0, maxSize: most, desiredSize: size.desired },
        });
        return { before: state };
      } catch (error) {
        if (isNotFound(error)) return { before: null };
        if (isInUse(error) || mayPass(error)) {
          seen = awsReason(error);
          return undefined;
        }
        throw error;
      }
    },
  });
  return answer.before;
}

/** Waits until no change of a node group is under way, or it is gone: EKS deletes none before. */
export async function untilSettled(
  group: NodeGroup,
  { progress, signal, deadline }: Watch & { readonly deadline: number },
): Promise<NodeGroupState | null> {
  let seen = "";
  const answer = await waitFor({
    what: `changes of ${nodeGroupName(group)} to be carried out`,
    deadline,
    interval: pace(),
    progress,
    signal,
    seen: () => seen,
    look: async () => {
      try {
        const state = await nodeGroupState(group);
        if (state === null || state.status === "DELETING") return { state: null };
        seen = `it is ${state.status}`;
        return state.status === "UPDATING" || state.status === "CREATING" ? undefined : { state };
      } catch (error) {
        if (!mayPass(error)) throw error;
        seen = awsReason(error);
        return undefined;
      }
    },
  });
  return answer.state;
}
