import type { V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { orNull } from "./failure";
import { labelsOf, objectNames, selectorOf, workstationNames } from "./names";
import { isReady } from "./pod-phase";
import { ports } from "./pod-places";

/** What a person can be led to, and by which pods. */
export interface WayIn {
  readonly kind: "service" | "workstation";
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of its pods. */
  readonly port: number;
}

/** What of this name there is: services first. */
export async function waysIn({ core, namespace }: Cluster, name: string): Promise<readonly WayIn[]> {
  const exists = async (configMap: string) =>
    (await orNull(core.readNamespacedConfigMap({ name: configMap, namespace }))) !== null;
  const [service, workstation] = await Promise.all([
    exists(objectNames(name).record),
    exists(workstationNames(name).record),
  ]);
  return [
    ...(service ? [{ kind: "service" as const, name, labels: labelsOf(name, "gateway"), port: ports.gateway }] : []),
    ...(workstation
      ? [{ kind: "workstation" as const, name, labels: labelsOf(name, "workstation"), port: ports.relay }]
      : []),
  ];
}

/** What a namespace has to be led to, by the labels of records. */
export async function allWaysIn(cluster: Cluster): Promise<readonly Pick<WayIn, "kind" | "name">[]> {
  const { core, namespace } = cluster;
  const labelSelector =
    "app.kubernetes.io/managed-by=pulumi-comfyui,app.kubernetes.io/component in (service,workstation)";
  const { items } = await core.listNamespacedConfigMap({ namespace, labelSelector });
  return items.flatMap(({ metadata }): Pick<WayIn, "kind" | "name">[] => {
    const name = metadata?.labels?.["app.kubernetes.io/instance"] ?? "";
    if (metadata?.name === objectNames(name).record) return [{ kind: "service", name }];
    return metadata?.name === workstationNames(name).record ? [{ kind: "workstation", name }] : [];
  });
}

/** A pod through which a connection goes now; null when there is none. */
export async function podOf({ core, namespace }: Cluster, { labels }: WayIn): Promise<string | null> {
  const { items } = await core.listNamespacedPod({ namespace, labelSelector: selectorOf(labels) });
  const there = items.filter(({ metadata }) => metadata?.deletionTimestamp === undefined);
  // One that is not ready says why it does not answer.
  const pod = there.find(isReady) ?? there.find(isUp);
  return pod?.metadata?.name ?? null;
}

const isUp = ({ status }: V1Pod) =>
  status?.initContainerStatuses?.some(({ name, state }) => name === "agent" && state?.running !== undefined) === true;
