import { Bell } from "../bell";
import type { GatewayStatus } from "../gateway/targets";
import { KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { objectNames } from "./names";
import { WatchedObjects } from "./watched-objects";

/** Milliseconds until the first look has to have succeeded. */
const firstLook = 30_000;

/** What the leading gateway says of itself, by a watch on the ConfigMap that it writes. */
export class GatewayStatusWatch {
  private status: GatewayStatus | null = null;
  private readonly changes = new Bell();
  private readonly watch: WatchedObjects;

  constructor(cluster: Cluster, service: string, problem: (text: string) => void) {
    const name = objectNames(service).gatewayStatus;
    this.watch = new WatchedObjects({
      api: new KubernetesApi(cluster.config),
      path: `/api/v1/namespaces/${cluster.namespace}/configmaps`,
      selector: { fieldSelector: `metadata.name=${name}` },
      log: problem,
      onChange: (objects) => {
        this.status = statusIn(objects.get(name));
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

  /** Null while no gateway has said anything. */
  get current(): GatewayStatus | null {
    return this.status;
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }
}

function statusIn(object: unknown): GatewayStatus | null {
  const text = (object as { readonly data?: Readonly<Record<string, string>> } | undefined)?.data?.["status.json"];
  return text === undefined ? null : (JSON.parse(text) as GatewayStatus);
}
