import type { V1Deployment } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { orNull } from "./failure";
import { objectNames } from "./names";
import type { ServiceRecords } from "./service-record";

/** A release's Deployment, or null when there is none. */
export function deploymentOf({ cluster, service }: ServiceRecords, release: string): Promise<V1Deployment | null> {
  const { apps, namespace } = cluster;
  return orNull(apps.readNamespacedDeployment({ name: objectNames(service).release(release), namespace }));
}

/** Sets how many pods a Deployment has; nothing when it has as many, or is gone. */
export async function scale({ apps, namespace }: Cluster, name: string, replicas: number): Promise<void> {
  const current = await orNull(apps.readNamespacedDeploymentScale({ name, namespace }));
  if (current === null || current.spec?.replicas === replicas) return;
  // Carries the resourceVersion: an autoscaler's or another deployer's change in between is seen, not overwritten.
  const body = { ...current, spec: { ...current.spec, replicas } };
  await apps.replaceNamespacedDeploymentScale({ name, namespace, body });
}

/** Whether a node is there. A pod of one that is not stays "Ready" for a minute. */
export async function nodeExists({ core }: Cluster, name: string): Promise<boolean> {
  return (await orNull(core.readNode({ name }))) !== null;
}

/** Removes a pod whose node is gone: nobody is left to end it. Another pod of the same name is not touched. */
export async function removeLostPod({ core, namespace }: Cluster, name: string, uid: string): Promise<void> {
  await orNull(core.deleteNamespacedPod({ name, namespace, body: { gracePeriodSeconds: 0, preconditions: { uid } } }));
}
