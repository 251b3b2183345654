import type { V1ConfigMap } from "@kubernetes/client-node";
import { Bell } from "../bell";
import { type WorkstationStatus, workstationStatusIn } from "../deployment";
import { KubernetesApi } from "./api";
import { WatchedObjects } from "./watched-objects";
import type { WorkstationRecords } from "./workstation-record";

/** Milliseconds until the first look has to have succeeded. */
const firstLook = 30_000;

/** What a workstation's agent says of itself, by a watch on the ConfigMap that it writes. */
export class WorkstationStatusWatch {
  private status: WorkstationStatus | null = null;
  private readonly changes = new Bell();
  private readonly watch: WatchedObjects;

  constructor({ cluster, names: { workstation: name } }: WorkstationRecords, problem: (text: string) => void) {
    this.watch = new WatchedObjects({
      api: new KubernetesApi(cluster.config),
      path: `/api/v1/namespaces/${cluster.namespace}/configmaps`,
      selector: { fieldSelector: `metadata.name=${name}` },
      log: problem,
      onChange: (objects) => {
        this.status = workstationStatusIn((objects.get(name) as V1ConfigMap | undefined)?.data);
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

  /** What the agent of this pod says; null while it has said nothing. */
  of(pod: string): WorkstationStatus | null {
    return this.status?.pod === pod ? this.status : null;
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }
}
