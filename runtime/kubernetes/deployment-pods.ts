import type { V1Pod, V1ReplicaSet } from "@kubernetes/client-node";
import { Bell } from "../bell";
import { KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { selectorOf } from "./names";
import { WatchedObjects } from "./watched-objects";

/** Milliseconds until the first look has to have succeeded. */
const firstLook = 30_000;

/**
 * The pods of a Deployment, kept up to date by watches: an API server is asked no more often for two hundred pods than for
 * one. Only what the Deployment with this UID owns counts: a leftover of the same name proves nothing.
 */
export class DeploymentPods {
  private replicaSets = new Map<string, V1ReplicaSet>();
  private found: readonly V1Pod[] = [];
  private readonly changes = new Bell();
  private readonly watches: readonly WatchedObjects[];

  constructor(
    cluster: Cluster,
    /** Of its pods and ReplicaSets. */
    labels: Readonly<Record<string, string>>,
    /** Called with what goes wrong between this machine and the cluster, which does not end the watch. */
    problem: (text: string) => void,
  ) {
    const api = new KubernetesApi(cluster.config);
    const { namespace } = cluster;
    const labelSelector = selectorOf(labels);
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
    return this.setsOf(deployment).reduce((sum, { spec }) => sum + (spec?.replicas ?? 0), 0);
  }

  /** Why the API server does not take its pods, a policy or a quota say; null where it does. */
  refusal(deployment: string): string | null {
    const conditions = this.setsOf(deployment).flatMap(({ status }) => status?.conditions ?? []);
    const failure = conditions.find(({ type, status }) => type === "ReplicaFailure" && status === "True");
    return failure === undefined ? null : (failure.message ?? failure.reason ?? "without a reason");
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }

  private setsOf(deployment: string): readonly V1ReplicaSet[] {
    return [...this.replicaSets.values()].filter(({ metadata }) =>
      metadata?.ownerReferences?.some(({ controller, uid }) => controller === true && uid === deployment),
    );
  }

  /** UID of the Deployment that a pod belongs to, through its ReplicaSet; undefined when that is not known (yet). */
  private ownerOf({ metadata }: V1Pod): string | undefined {
    const set = metadata?.ownerReferences?.find(({ controller, kind }) => controller === true && kind === "ReplicaSet");
    const owners = set === undefined ? undefined : this.replicaSets.get(set.uid)?.metadata?.ownerReferences;
    return owners?.find(({ controller }) => controller === true)?.uid;
  }
}

function uidOf(object: unknown): string {
  return (object as { readonly metadata?: { readonly uid?: string } }).metadata?.uid ?? "";
}
