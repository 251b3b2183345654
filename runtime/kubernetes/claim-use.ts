import type { V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { orNull } from "./failure";
import { labelsOf } from "./names";

/** How many nodes and pods may use a claim, and which ones do. */
export interface ClaimUse {
  readonly accessModes: readonly string[];
  /** Pods that hold it now, but packers. */
  readonly holders: readonly V1Pod[];
}

/** Looks at a claim; null where there is none. */
export async function claimUse({ core, namespace }: Cluster, claim: string): Promise<ClaimUse | null> {
  const found = await orNull(core.readNamespacedPersistentVolumeClaim({ name: claim, namespace }));
  if (found === null) return null;
  const { items } = await core.listNamespacedPod({ namespace });
  const packer = labelsOf("", "packer")["app.kubernetes.io/component"];
  const holders = items.filter(
    ({ metadata, spec, status }) =>
      status?.phase !== "Succeeded" &&
      status?.phase !== "Failed" &&
      metadata?.labels?.["app.kubernetes.io/component"] !== packer &&
      spec?.volumes?.some(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName === claim) === true,
  );
  return { accessModes: found.spec?.accessModes ?? [], holders };
}

/** The only pod that may use a claim, where that is one. */
export function soleHolder({ accessModes, holders }: ClaimUse): V1Pod | null {
  return accessModes.includes("ReadWriteOncePod") ? (holders[0] ?? null) : null;
}

/** The node on which a further pod has to be to use the claim as well; null where it may be anywhere. */
export function nodeOf({ accessModes, holders }: ClaimUse): string | null {
  const shared = accessModes.some((mode) => mode === "ReadWriteMany" || mode === "ReadOnlyMany");
  if (shared) return null;
  return holders.find(({ spec }) => spec?.nodeName !== undefined)?.spec?.nodeName ?? null;
}

/** The workstation whose pods use a claim, by their Deployment; null where there is none. */
export async function workstationOf({ apps, namespace }: Cluster, claim: string): Promise<string | null> {
  const { items } = await apps.listNamespacedDeployment({
    namespace,
    labelSelector: `app.kubernetes.io/component=workstation,app.kubernetes.io/managed-by=pulumi-comfyui`,
  });
  const found = items.find(({ spec }) =>
    spec?.template.spec?.volumes?.some(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName === claim),
  );
  return found?.metadata?.labels?.["app.kubernetes.io/instance"] ?? null;
}
