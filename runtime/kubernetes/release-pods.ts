import type { V1Deployment, V1Pod, V1ReplicaSet } from "@kubernetes/client-node";
import { Bell } from "../bell";
import { KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { labelsOf, objectNames, releaseLabel, selectorOf } from "./names";
import { WatchedObjects } from "./watched-objects";

/** Milliseconds until the first look has to have succeeded. */
const firstLook = 30_000;

/**
 * The pods of a release's Deployment, kept up to date by watches: an API server is asked no more often for two hundred pods than for
 * one. Only what the Deployment with this UID owns counts: a leftover of the same name proves nothing.
 */
export class ReleasePods {
  private replicaSets = new Map<string, V1ReplicaSet>();
  private found: readonly V1Pod[] = [];
  private readonly changes = new Bell();
  private readonly watches: readonly WatchedObjects[];

  constructor(
    cluster: Cluster,
    service: string,
    private readonly release: string,
    /** Called with what goes wrong between this machine and the cluster, which does not end the watch. */
    problem: (text: string) => void,
  ) {
    const api = new KubernetesApi(cluster.config);
    const { namespace } = cluster;
    const labelSelector = selectorOf({ ...labelsOf(service, "instance"), [releaseLabel]: release });
    const watch = (path: string, onChange: (objects: ReadonlyMap<string, unknown>) => void) =>
      new WatchedObjects({ api, path, selector: { labelSelector }, log: problem, onChange });
    this.watches = [
      watch(`/apis/apps/v1/namespaces/${namespace}/replicasets`, (objects) => {
        this.replicaSets = new Map([...objects.values()].map((object) => [uidOf(object), object as V1ReplicaSet]));
        this.changes.ring();
      }),
      watch(`/api/v1/namespaces/${namespace}/pods`, (objects) => {
        this.found = [...objects.values()] as V1Pod[];
        this.changes.ring();
      }),
    ];
  }

  async start(): Promise<void> {
    for (const watch of this.watches) await watch.start(firstLook);
  }

  close(): void {
    for (const watch of this.watches) watch.close();
  }

  /** Those of the Deployment with this UID, by name; with null of any. */
  of(deployment: string | null): readonly V1Pod[] {
    const own = this.found.filter((pod) => deployment === null || this.ownerOf(pod) === deployment);
    return [...own].sort((a, b) => ((a.metadata?.name ?? "") < (b.metadata?.name ?? "") ? -1 : 1));
  }

  /** How many pods the Deployment with this UID is to have, as its ReplicaSet has been told; 0 while it has none. */
  wanted(deployment: string): number {
    const own = [...this.replicaSets.values()].filter(({ metadata }) =>
      metadata?.ownerReferences?.some(({ controller, uid }) => controller === true && uid === deployment),
    );
    return own.reduce((sum, { spec }) => sum + (spec?.replicas ?? 0), 0);
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }

  /** What a person calls an instance. */
  idOf(pod: V1Pod, service: string): string {
    return instanceId(pod, service, this.release);
  }

  /** UID of the Deployment that a pod belongs to, through its ReplicaSet; undefined when that is not known (yet). */
  private ownerOf({ metadata }: V1Pod): string | undefined {
    const set = metadata?.ownerReferences?.find(({ controller, kind }) => controller === true && kind === "ReplicaSet");
    const owners = set === undefined ? undefined : this.replicaSets.get(set.uid)?.metadata?.ownerReferences;
    return owners?.find(({ controller }) => controller === true)?.uid;
  }
}

/** `<release>/<what the pod's name has after the Deployment's>`: the gateway calls it the same. */
export function instanceId({ metadata }: V1Pod, service: string, release: string): string {
  const prefix = `${objectNames(service).release(release)}-`;
  const name = metadata?.name ?? "";
  return `${release}/${name.startsWith(prefix) ? name.slice(prefix.length) : name}`;
}

/** Whether all that a Deployment declares is there and ready. */
export function isAvailable({ metadata, spec, status }: V1Deployment): boolean {
  const wanted = spec?.replicas ?? 1;
  return (
    wanted > 0 &&
    (status?.observedGeneration ?? 0) >= (metadata?.generation ?? 0) &&
    status?.replicas === wanted &&
    status.readyReplicas === wanted
  );
}

function uidOf(object: unknown): string {
  return (object as { readonly metadata?: { readonly uid?: string } }).metadata?.uid ?? "";
}
