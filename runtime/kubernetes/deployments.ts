import type { V1Deployment } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";
import { objectNames } from "./names";
import type { ServiceRecords } from "./service-record";

/** A release's Deployment, or null when there is none. */
export function deploymentOf({ cluster, service }: ServiceRecords, release: string): Promise<V1Deployment | null> {
  const { apps, namespace } = cluster;
  return orNull(apps.readNamespacedDeployment({ name: objectNames(service).release(release), namespace }));
}

/** How often a change is tried again when another one came between reading and writing. */
const attempts = 10;

/** Sets how many pods a Deployment has; nothing when it has as many, or is gone. */
export async function scale({ apps, namespace }: Cluster, name: string, replicas: number): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const current = await orNull(apps.readNamespacedDeploymentScale({ name, namespace }));
    if (current === null || current.spec?.replicas === replicas) return;
    // Carries the resourceVersion: sent twice, it is carried out once.
    const body = { ...current, spec: { ...current.spec, replicas } };
    try {
      await apps.replaceNamespacedDeploymentScale({ name, namespace, body });
      return;
    } catch (error) {
      // The controller writes to it as well.
      if (statusOf(error) !== 409 || attempt >= attempts) throw error;
    }
  }
}
