import type { PodSettings, ReleaseNodes, ReleasePlacement, Toleration } from "../deployment";
import { objectNames, releaseLabel } from "./names";

/** Label of a managed node group's nodes: https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html */
export const nodeGroupLabel = "eks.amazonaws.com/nodegroup";
/** Label of the nodes that Karpenter makes of a pool: https://karpenter.sh/docs/concepts/scheduling/#well-known-labels */
export const nodePoolLabel = "karpenter.sh/nodepool";
/** What nodes with GPUs are commonly tainted with, so that other pods stay away. */
const gpuTaint = "nvidia.com/gpu";

/** How the pods of a release are made that runs where its placement says. */
export function placedPod(
  pod: PodSettings,
  placement: ReleasePlacement | undefined,
  service: string,
  release: string,
): PodSettings {
  if (placement === undefined) return pod;
  const nodeSelector = { ...pod.nodeSelector, ...nodeLabels(placement, service, release) };
  return { ...pod, nodeSelector, tolerations: tolerationsOf(pod) };
}

/** The nodes that are a release's own; undefined where it has none. */
export function nodesOfRelease(
  placement: ReleasePlacement | undefined,
  service: string,
  release: string,
): ReleaseNodes | undefined {
  if (placement?.kind !== "perRelease") return undefined;
  const { cluster, region, profile } = placement;
  return {
    cluster,
    ...(region === undefined ? {} : { region }),
    ...(profile === undefined ? {} : { profile }),
    nodeGroup: objectNames(service).release(release),
  };
}

function nodeLabels(placement: ReleasePlacement, service: string, release: string): Readonly<Record<string, string>> {
  switch (placement.kind) {
    case "shared":
      return { [nodeGroupLabel]: placement.nodeGroup };
    case "perRelease":
      return { [nodeGroupLabel]: objectNames(service).release(release) };
    case "karpenter":
      // Nodes of another release have another value: https://karpenter.sh/docs/concepts/scheduling/#exists-operator
      return { [nodePoolLabel]: placement.nodePool, [releaseLabel]: release };
  }
}

function tolerationsOf({ tolerations }: PodSettings): readonly Toleration[] {
  const tolerated = tolerations.some(
    ({ key, operator, effect }) =>
      operator === "Exists" &&
      (key === undefined || key === gpuTaint) &&
      (effect === undefined || effect === "NoSchedule"),
  );
  return tolerated ? tolerations : [...tolerations, { key: gpuTaint, operator: "Exists" }];
}
