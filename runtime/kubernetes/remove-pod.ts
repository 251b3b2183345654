import type { V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";

/**
 * Tells a pod to go, unless it has gone: another of its name, which nobody asked to end, is not touched.
 * @param gracePeriodSeconds default: the pod's own
 */
export async function removePod(
  { core, namespace }: Cluster,
  { metadata: { name = "", uid = "" } = {} }: V1Pod,
  gracePeriodSeconds?: number,
): Promise<void> {
  const grace = gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds };
  try {
    await orNull(core.deleteNamespacedPod({ name, namespace, body: { ...grace, preconditions: { uid } } }));
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
  }
}
