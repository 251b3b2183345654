import { isOver, type Owner } from "../../deployment";
import { deleteNodeGroup } from "../../eks";
import {
  type Cluster,
  clusterName,
  drainRelease,
  type LabelledObject,
  labelledObjects,
  listNamespace,
  orNull,
  parseRecord,
  parseTarget,
  partLabel,
  type RemovalRequest,
  removeObjects,
  removeRelease,
  ServiceRecords,
  serviceLabel,
} from "../../kubernetes";
import type { Watch } from "../../waiting";
import { type ClusterOrphan, clusterOrphans, type FoundInNamespace } from "./cluster-orphans";
import type { KnownInClusters } from "./cluster-state";
import { nameOf } from "./orphans";
import type { Site } from "./site";

/** A namespace of a cluster. */
export function clusterSite(
  cluster: Cluster,
  known: KnownInClusters,
  isOwn: (owner: Owner) => boolean,
  remark: (message: string) => void,
): Site {
  const { namespace, config } = cluster;
  const server = config.getCurrentCluster()?.server ?? "";
  const name = `namespace ${namespace} of ${clusterName(cluster)}`;
  return {
    place: { namespace, server },
    name,
    find: async () => {
      const { found, hidden } = await lookAt(cluster);
      if (hidden.length > 0) {
        remark(
          `${hidden.join(", ")} in ${name} may not be looked at with these credentials: what is left of them stays`,
        );
      }
      return clusterOrphans(found, known, isOwn).map((orphan) => ({
        orphan: withoutObjects(orphan),
        remove: (watch) => removeClusterOrphan(orphan, cluster, watch),
      }));
    },
  };
}

/** What a script is told of an orphan. */
function withoutObjects({ objects, ...orphan }: ClusterOrphan) {
  return { ...orphan, objects: objects.map(({ kind, name }) => `${kind}/${name}`) };
}

async function lookAt(
  cluster: Cluster,
): Promise<{ readonly found: FoundInNamespace; readonly hidden: readonly string[] }> {
  const { namespace } = cluster;
  // The objects first: what is claimed meanwhile is then in the records, and not an orphan for want of them.
  const { objects, hidden } = await labelledObjects(cluster);
  const { configMaps, deployments } = await listNamespace(cluster);
  const ofServices = configMaps.filter((object) => partLabel(object) === "service");
  const records = ofServices
    .filter(({ data }) => data?.["record.json"] !== undefined)
    .map((object) => [serviceLabel(object), parseRecord(object)] as const);
  const serving = ofServices
    .filter(({ data }) => data?.["target.json"] !== undefined)
    .flatMap((object) => {
      const { release } = parseTarget(object);
      return release === null ? [] : [[serviceLabel(object), release] as const];
    });
  const programs = deployments.flatMap(({ spec }) =>
    (spec?.template.spec?.volumes ?? []).flatMap(({ configMap }) => configMap?.name ?? []),
  );
  return {
    found: { namespace, objects, records: new Map(records), serving: new Map(serving), programs: new Set(programs) },
    hidden,
  };
}

async function removeClusterOrphan(orphan: ClusterOrphan, cluster: Cluster, watch: Watch): Promise<void> {
  const { kind, service = "", release = "", objects, serves } = orphan;
  const records = new ServiceRecords(cluster, service);
  // There is no engine behind this: it goes on until it is interrupted.
  const assertEngine = async () => watch.signal.throwIfAborted();
  const request = { ...watch, release, assertEngine, removeNodes: deleteNodeGroup };
  const isClaimed = service !== "" && (await records.record()) !== null;
  switch (kind) {
    case "traffic":
      return endTraffic(records);
    case "release":
      if (!isClaimed) return removeObjects(cluster, objects, watch);
      if (serves) await endTraffic(records, release);
      return removeRelease(records, request);
    case "instances":
      if (serves) await endTraffic(records, release);
      if (isClaimed && objects.some(({ kind }) => kind === "Deployment")) await drainRelease(records, request);
      return removeObjects(cluster, objects, watch);
    case "service":
      return removeService(records, objects, request);
    case "workstation":
      watch.progress(`stopping ${nameOf(orphan)}: its running prompt may finish`);
      return removeObjects(cluster, objects, watch);
    default:
      return removeObjects(cluster, objects, watch);
  }
}

/** The gateway serves nothing any more; with a release, only if that one gets the traffic. */
async function endTraffic(records: ServiceRecords, release?: string): Promise<void> {
  await records.changeTarget((target) =>
    release === undefined || target.release === release ? { ...target, release: null, revision: 0 } : target,
  );
}

/** Removes a service as its destroy would have: the instances' work, then the gateway, then the claim. */
async function removeService(
  records: ServiceRecords,
  objects: readonly LabelledObject[],
  request: Omit<RemovalRequest, "release">,
): Promise<void> {
  const { cluster } = records;
  const record = await records.record();
  if (record !== null) {
    // A claim that was killed half way may have a record and no target.
    const { namespace, core } = cluster;
    const target = await orNull(core.readNamespacedConfigMap({ namespace, name: `${records.service}-target` }));
    if (target !== null) {
      await endTraffic(records);
      const living = record.releases.filter((release) => !isOver(release)).map(({ id }) => id);
      const withObjects = objects.flatMap(({ release }) => release ?? []);
      for (const release of new Set([...living, ...withObjects])) await removeRelease(records, { ...request, release });
    }
  }
  await removeObjects(
    cluster,
    objects.filter(({ part }) => part !== "service"),
    request,
  );
  await removeObjects(
    cluster,
    objects.filter(({ isProgram }) => isProgram),
    request,
  );
  // What gateways wrote at their end goes as well; the record last, since it says whose it is.
  await records.remove();
}
