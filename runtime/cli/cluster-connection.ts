import { type Cluster, type ClusterAddress, connectCluster } from "../kubernetes";
import type { Patience } from "../kubernetes/retrying";
import { InvalidInputError } from "../problems";

/** Connects to the cluster that a person names; asks nothing yet. @throws InvalidInputError where there is none such */
export async function connectTo(address: ClusterAddress, patience: Patience = {}): Promise<Cluster> {
  try {
    return await connectCluster(address, patience);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const path = address.context !== undefined && reason.includes("context") ? "--context" : "--kubeconfig";
    throw new InvalidInputError([{ path, reason }]);
  }
}
