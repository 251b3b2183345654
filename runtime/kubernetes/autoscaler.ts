import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";

/** KEDA's objects. https://keda.sh/docs/latest/reference/scaledobject-spec/ */
const keda = { group: "keda.sh", version: "v1alpha1" } as const;

/**
 * Takes the autoscaler of a Deployment away, of whichever kind it is: what changes a count by hand, or drains, must have no other who
 * changes it as well. KEDA's goes first: it would make its HorizontalPodAutoscaler again.
 * @param name of the Deployment, which its autoscaler shares.
 */
export async function removeAutoscaler({ autoscaling, custom, namespace }: Cluster, name: string): Promise<void> {
  await unlessAbsent(custom.deleteNamespacedCustomObject({ ...keda, namespace, plural: "scaledobjects", name }));
  await unlessAbsent(
    custom.deleteNamespacedCustomObject({ ...keda, namespace, plural: "triggerauthentications", name }),
  );
  await unlessAbsent(autoscaling.deleteNamespacedHorizontalPodAutoscaler({ name, namespace }));
}

/** Who may delete no autoscalers has made none. */
async function unlessAbsent(request: Promise<unknown>): Promise<void> {
  try {
    await orNull(request);
  } catch (error) {
    if (statusOf(error) !== 403) throw error;
  }
}
