import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { Bell } from "../bell";
import { KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { containers } from "./pod-phase";
import { WatchedObjects } from "./watched-objects";

/** Milliseconds until the first look has to have succeeded. */
const firstLook = 30_000;
/** Milliseconds without a line after which a log's connection counts as dead; an agent that packs says more often how far it is. */
const logSilence = 60_000;
/** Milliseconds between two attempts to read a log that has broken off. */
const logPause = 2_000;

/** A Job and its pod, kept up to date by watches, and the last line of its output. */
export class PackingWatch {
  private job: V1Job | null = null;
  private pods: readonly V1Pod[] = [];
  private readonly changes = new Bell();
  private readonly watches: readonly WatchedObjects[];
  private readonly ended = new AbortController();
  private readonly api: KubernetesApi;
  private followed: string | null = null;

  constructor(
    private readonly cluster: Cluster,
    name: string,
    uid: string,
    /** Called with what the agent says of its progress. */
    private readonly said: (line: string) => void,
    /** Called with what goes wrong between this machine and the cluster, which does not end the watch. */
    problem: (text: string) => void,
  ) {
    this.api = new KubernetesApi(cluster.config);
    const { api } = this;
    const { namespace } = cluster;
    this.watches = [
      new WatchedObjects({
        api,
        path: `/apis/batch/v1/namespaces/${namespace}/jobs`,
        selector: { fieldSelector: `metadata.name=${name}` },
        log: problem,
        onChange: (objects) => {
          const found = ([...objects.values()] as V1Job[]).find(({ metadata }) => metadata?.uid === uid);
          this.job = found ?? null;
          this.changes.ring();
        },
      }),
      new WatchedObjects({
        api,
        path: `/api/v1/namespaces/${namespace}/pods`,
        selector: { labelSelector: `batch.kubernetes.io/controller-uid=${uid}` },
        log: problem,
        onChange: (objects) => {
          this.pods = [...objects.values()] as V1Pod[];
          this.followLog();
          this.changes.ring();
        },
      }),
    ];
  }

  async start(): Promise<void> {
    for (const watch of this.watches) await watch.start(firstLook);
  }

  close(): void {
    this.ended.abort();
    for (const watch of this.watches) watch.close();
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }

  /** The Job, null when it is gone, and its youngest pod. */
  get seen(): { readonly job: V1Job | null; readonly pod: V1Pod | null } {
    const born = ({ metadata }: V1Pod) => new Date(metadata?.creationTimestamp ?? 0).getTime();
    const [pod = null] = [...this.pods].sort((a, b) => born(b) - born(a));
    return { job: this.job, pod };
  }

  private followLog(): void {
    const { pod } = this.seen;
    const name = pod?.metadata?.name;
    const running = pod?.status?.containerStatuses?.some(({ state }) => state?.running !== undefined) === true;
    if (name === undefined || !running || this.followed === name) return;
    this.followed = name;
    void this.readLog(name);
  }

  /** Only what is shown comes of it: where it breaks off, it goes on with the last lines. */
  private async readLog(name: string): Promise<void> {
    const path = `/api/v1/namespaces/${this.cluster.namespace}/pods/${name}/log`;
    const query = { container: containers.agent, follow: "true", tailLines: "1" };
    while (!this.ended.signal.aborted) {
      try {
        for await (const line of this.api.lines(path, query, logSilence, this.ended.signal)) this.said(messageIn(line));
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, logPause).unref());
      }
    }
  }
}

/** What a line of the agent's output says. */
export function messageIn(line: string): string {
  try {
    const { message } = JSON.parse(line);
    return typeof message === "string" ? message : line;
  } catch {
    // Node.js itself, or what starts it, says something.
    return line;
  }
}
