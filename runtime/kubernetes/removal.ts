import type { Owner } from "../deployment";
import { removeAutoscaler } from "./autoscaler";
import { type DrainRequest, drainRelease } from "./draining";
import { orNull } from "./failure";
import { labelsOf, releaseLabel, selectorOf } from "./names";
import type { ServiceRecords } from "./service-record";

/**
 * Removes the releases of a service that no resource of the stack knows: of a stack that the service was taken over from, or of a run
 * that was killed. Their instances finish their work first. What serves stays.
 */
export async function removeReleases(records: ServiceRecords, context: Omit<DrainRequest, "release">): Promise<void> {
  await removeWhere(records, () => true, context);
}

/** The same for the releases of some owners: after a takeover nobody else lets go of what the former one left. */
export async function removeReleasesOf(
  records: ServiceRecords,
  isOwner: (owner: Owner) => boolean,
  context: Omit<DrainRequest, "release">,
): Promise<void> {
  const { releases } = await records.required();
  const theirs = new Set(releases.flatMap(({ id, owner }) => (isOwner(owner) ? [id] : [])));
  if (theirs.size > 0) await removeWhere(records, (release) => theirs.has(release), context);
}

async function removeWhere(
  records: ServiceRecords,
  isMeant: (release: string) => boolean,
  context: Omit<DrainRequest, "release">,
): Promise<void> {
  const { apps, core, policy, namespace } = records.cluster;
  const labelSelector = `${selectorOf(labelsOf(records.service, "instance"))},${releaseLabel}`;
  const { items } = await apps.listNamespacedDeployment({ namespace, labelSelector });
  const { release: serving } = await records.target();
  for (const { metadata } of items) {
    const release = metadata?.labels?.[releaseLabel];
    const { name } = metadata ?? {};
    if (release === undefined || name === undefined) continue;
    if (release === serving || !isMeant(release)) continue;
    await context.assertEngine();
    await removeAutoscaler(records.cluster, name);
    await drainRelease(records, { ...context, release });
    await context.assertEngine();
    await orNull(apps.deleteNamespacedDeployment({ name, namespace, propagationPolicy: "Foreground" }));
    await orNull(policy.deleteNamespacedPodDisruptionBudget({ name, namespace }));
    await orNull(core.deleteNamespacedConfigMap({ name, namespace }));
    await orNull(core.deleteNamespacedSecret({ name, namespace }));
  }
}
