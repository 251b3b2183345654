import type { V1ConfigMap } from "@kubernetes/client-node";
import { Bell } from "../bell";
import { KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { WatchedObjects } from "./watched-objects";

/** Milliseconds until the first look has to have succeeded. */
const firstLook = 30_000;

/** What somebody says in a ConfigMap, kept up to date by a watch. */
export abstract class WatchedConfigMap<T> {
  protected said: T | null = null;
  private readonly changes = new Bell();
  private readonly watch: WatchedObjects;

  /** @param problem called with what goes wrong between this machine and the cluster, which does not end the watch */
  protected constructor(
    cluster: Cluster,
    name: string,
    read: (data: V1ConfigMap["data"]) => T | null,
    problem: (text: string) => void,
  ) {
    this.watch = new WatchedObjects({
      api: new KubernetesApi(cluster.config),
      path: `/api/v1/namespaces/${cluster.namespace}/configmaps`,
      selector: { fieldSelector: `metadata.name=${name}` },
      log: problem,
      onChange: (objects) => {
        this.said = read((objects.get(name) as V1ConfigMap | undefined)?.data);
        this.changes.ring();
      },
    });
  }

  start(): Promise<void> {
    return this.watch.start(firstLook);
  }

  close(): void {
    this.watch.close();
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }
}
