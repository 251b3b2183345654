import { isOver, type Owner, type ReleaseNodes, withEvent, withRelease } from "../deployment";
import { removeAutoscaler } from "./autoscaler";
import { type DrainRequest, drainRelease } from "./draining";
import { labelledObjects, removeObjects } from "./labelled-objects";
import { labelsOf, releaseLabel, selectorOf } from "./names";
import type { ServiceRecords } from "./service-record";

export interface RemovalRequest extends DrainRequest {
  /** Removes nodes that are a release's own, and waits until they are gone; nothing where they are. */
  readonly removeNodes: (nodes: ReleaseNodes, request: Omit<DrainRequest, "release">) => Promise<void>;
}

/**
 * Removes the releases of a service that no resource of the stack knows: of a stack that the service was taken over from, or of a run
 * that was killed. Their instances finish their work first. What serves stays.
 */
export async function removeReleases(records: ServiceRecords, context: Omit<RemovalRequest, "release">): Promise<void> {
  await removeWhere(records, () => true, context);
  // Once the record is gone, nobody knows of what a release has outside of the cluster.
  const { releases } = await records.required();
  for (const { nodes } of releases.filter((release) => !isOver(release))) {
    if (nodes !== undefined) await context.removeNodes(nodes, context);
  }
}

/** The same for the releases of some owners: after a takeover nobody else lets go of what the former one left. */
export async function removeReleasesOf(
  records: ServiceRecords,
  isOwner: (owner: Owner) => boolean,
  context: Omit<RemovalRequest, "release">,
): Promise<void> {
  const { releases } = await records.required();
  const theirs = new Set(releases.flatMap((release) => (isOwner(release.owner) ? [release.id] : [])));
  if (theirs.size > 0) await removeWhere(records, (release) => theirs.has(release), context);
}

/**
 * Removes a release with all its objects, whoever made them, and its nodes, once its instances have finished their work.
 * @throws while it gets the traffic, and when its instances did not finish within the drain's deadline
 */
export async function removeRelease(records: ServiceRecords, request: RemovalRequest): Promise<void> {
  const { cluster, service } = records;
  const { release } = request;
  await drainRelease(records, request);
  await request.assertEngine();
  const { objects } = await labelledObjects(cluster, { ...labelsOf(service, "instance"), [releaseLabel]: release });
  await removeObjects(cluster, objects, request);
  const nodes = (await records.record())?.releases.find(({ id }) => id === release)?.nodes;
  if (nodes !== undefined) await request.removeNodes(nodes, request);
  await recordRemoval(records, release);
}

/** Notes that a release is no more, and that nothing of it drains. */
export async function recordRemoval(records: ServiceRecords, id: string): Promise<void> {
  await records.change((record) => {
    const release = record.releases.find((known) => known.id === id);
    if (release === undefined || isOver(release)) return record;
    return withRelease(record, { ...withEvent(release, "removed", new Date().toISOString()), count: 0, drain: null });
  });
  await records.changeTarget((target) => ({ ...target, draining: target.draining.filter((other) => other !== id) }));
}

async function removeWhere(
  records: ServiceRecords,
  isMeant: (release: string) => boolean,
  context: Omit<RemovalRequest, "release">,
): Promise<void> {
  const { apps, namespace } = records.cluster;
  const labelSelector = `${selectorOf(labelsOf(records.service, "instance"))},${releaseLabel}`;
  const { items } = await apps.listNamespacedDeployment({ namespace, labelSelector });
  const { release: serving } = await records.target();
  for (const { metadata } of items) {
    const release = metadata?.labels?.[releaseLabel];
    const { name } = metadata ?? {};
    if (release === undefined || name === undefined || release === serving || !isMeant(release)) continue;
    await context.assertEngine();
    await removeAutoscaler(records.cluster, name);
    await removeRelease(records, { ...context, release });
  }
}
