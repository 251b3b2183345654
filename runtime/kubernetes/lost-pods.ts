import type { V1Pod } from "@kubernetes/client-node";
import { ApiError, KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { removeLost } from "./proving";
import { WatchedObjects } from "./watched-objects";

/** Milliseconds between two looks for pods whose nodes are gone. */
const defaultInterval = 10_000;

export interface NamedPod {
  readonly pod: V1Pod;
  /** What a person calls its instance. */
  readonly id: string;
}

/**
 * Removes pods whose node is gone: whatever their last status says, nobody is left to change it, and the cluster itself takes a minute.
 * Nodes are watched, by name: to ask for each would be twenty requests a second for two hundred pods.
 */
export class LostPods {
  private nodes: ReadonlyMap<string, unknown> = new Map();
  private watch: WatchedObjects | null = null;
  private looked = performance.now();
  private forbidden = false;

  constructor(
    private readonly cluster: Cluster,
    private readonly progress: (message: string) => void,
    private readonly interval = defaultInterval,
  ) {}

  /** Looks when it is time to. What lasts no longer than that asks nothing. */
  async removeAmong(pods: readonly NamedPod[]): Promise<void> {
    if (this.forbidden || performance.now() - this.looked < this.interval) return;
    this.looked = performance.now();
    if (this.watch === null && !(await this.begin())) return;
    const suspects = pods.filter(({ pod: { spec } }) => spec?.nodeName !== undefined && !this.nodes.has(spec.nodeName));
    // They are asked for one by one: the watch may not have heard of a new node yet.
    if (suspects.length > 0) await removeLost({ cluster: this.cluster }, suspects, this.progress);
  }

  close(): void {
    this.watch?.close();
  }

  private async begin(): Promise<boolean> {
    const watch = new WatchedObjects({
      api: new KubernetesApi(this.cluster.config),
      path: "/api/v1/nodes",
      selector: {},
      form: "metadata",
      log: this.progress,
      onChange: (nodes) => {
        this.nodes = nodes;
      },
    });
    try {
      await watch.start(0);
      this.watch = watch;
      return true;
    } catch (error) {
      // Nodes are often not a deployer's to see; the cluster then removes the pods itself, later.
      if (error instanceof ApiError && error.status === 403) this.forbidden = true;
      else this.progress(`nodes cannot be looked at: ${(error as Error).message}`);
      return false;
    }
  }
}
