import { type Cluster, clusterName } from "./connection";
import { orNull, reasonOf, statusOf } from "./failure";
import { releaseLabel } from "./names";

interface NodePool {
  readonly spec?: {
    readonly template?: {
      readonly spec?: { readonly requirements?: readonly { readonly key?: string; readonly operator?: string }[] };
    };
  };
}

/** What was found of a NodePool of Karpenter. */
export type NodePoolLook =
  | { readonly kind: "fine" }
  | { readonly kind: "wrong"; readonly reason: string }
  /** It may not be looked at. */
  | { readonly kind: "hidden"; readonly reason: string };

/**
 * Looks whether a NodePool takes pods that ask for nodes of their release: of a label that it does not know, Karpenter makes no nodes; with the
 * operator `Exists` it gives nodes the value that the pods ask for. https://karpenter.sh/docs/concepts/scheduling/
 */
export async function lookAtNodePool(cluster: Cluster, name: string): Promise<NodePoolLook> {
  const wrong = (reason: string): NodePoolLook => ({ kind: "wrong", reason });
  try {
    const request = cluster.custom.getClusterCustomObject({
      group: "karpenter.sh",
      version: "v1",
      plural: "nodepools",
      name,
    });
    const found: NodePool | null = await orNull(request);
    if (found === null) {
      const { groups } = await cluster.apis.getAPIVersions();
      if (!groups.some((group) => group.name === "karpenter.sh")) {
        return wrong(`Karpenter is not in ${clusterName(cluster)}: its API server has no group karpenter.sh`);
      }
      return wrong(`${clusterName(cluster)} has no NodePool ${JSON.stringify(name)} (karpenter.sh/v1)`);
    }
    const requirements = found.spec?.template?.spec?.requirements ?? [];
    if (requirements.some(({ key, operator }) => key === releaseLabel && operator === "Exists"))
      return { kind: "fine" };
    return wrong(
      `the NodePool ${JSON.stringify(name)} makes no nodes for one release alone: add { key: ${releaseLabel}, operator: Exists } to its spec.template.spec.requirements`,
    );
  } catch (error) {
    const reason = `the NodePool ${JSON.stringify(name)} cannot be looked at: ${reasonOf(error)}`;
    return { kind: statusOf(error) === 403 ? "hidden" : "wrong", reason };
  }
}
