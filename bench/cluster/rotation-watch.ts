import type { V1Pod } from "@kubernetes/client-node";
import { untilAborted } from "../../runtime/bell";
import {
  type Cluster,
  GatewayStatusWatch,
  labelsOf,
  releaseLabel,
  selectorOf,
  standingOf,
} from "../../runtime/kubernetes";
import { KubernetesApi } from "../../runtime/kubernetes/api";
import { WatchedObjects } from "../../runtime/kubernetes/watched-objects";
import type { RotationSeen } from "./timeline";

interface SeenPod {
  readonly release: string;
  readonly created: number;
  proven?: number;
  gone?: number;
}

const say = (problem: string) => void process.stderr.write(`  ${problem}\n`);

/** Notes when the pods of a service's instances come, are proven and go, and when the gateway has moved its traffic. */
export class RotationWatch {
  readonly #pods = new Map<string, SeenPod>();
  readonly #moved = new Map<string, number>();
  readonly #watch: WatchedObjects;
  readonly #gateway: GatewayStatusWatch;
  #closed = false;

  constructor(
    cluster: Cluster,
    service: string,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#watch = new WatchedObjects({
      api: new KubernetesApi(cluster.config),
      path: `/api/v1/namespaces/${cluster.namespace}/pods`,
      selector: { labelSelector: selectorOf(labelsOf(service, "instance")) },
      log: say,
      onChange: (objects) => this.note([...objects.values()] as V1Pod[]),
    });
    this.#gateway = new GatewayStatusWatch(cluster, service, say);
  }

  async start(): Promise<void> {
    await Promise.all([this.#watch.start(30_000), this.#gateway.start()]);
    void this.#followGateway();
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
    this.#gateway.close();
  }

  /** Takes all pods that are there now. */
  note(pods: readonly V1Pod[]): void {
    const there = new Set<string>();
    for (const pod of pods) {
      const { uid = "", labels } = pod.metadata ?? {};
      there.add(uid);
      const known = this.#pods.get(uid) ?? { release: labels?.[releaseLabel] ?? "", created: this.now() };
      this.#pods.set(uid, known);
      if (standingOf(pod).phase === "proven") known.proven ??= this.now();
    }
    for (const [uid, pod] of this.#pods) if (!there.has(uid)) pod.gone ??= this.now();
  }

  /** Takes the release that the gateway says it serves. */
  noteServing(release: string | null): void {
    if (release !== null && !this.#moved.has(release)) this.#moved.set(release, this.now());
  }

  /** What was seen of the rotation from one release to another within a run of `pulumi up`. */
  seen(from: string, to: string, run: { readonly began: number; readonly ended: number }): RotationSeen {
    const of = (release: string) => [...this.#pods.values()].filter((pod) => pod.release === release);
    const instances = of(to).map(({ created, proven }) => {
      if (proven === undefined) throw new Error(`an instance of ${to} was not seen to be proven`);
      return { created, proven };
    });
    const moved = this.#moved.get(to);
    if (moved === undefined) throw new Error(`the gateway was not seen to serve ${to}`);
    const gone = of(from).map((pod) => {
      if (pod.gone === undefined) throw new Error(`an instance of ${from} was not seen to go`);
      return pod.gone;
    });
    return { ...run, instances, moved, gone: Math.max(moved, ...gone) };
  }

  async #followGateway(): Promise<void> {
    while (!this.#closed) {
      const { next } = this.#gateway;
      this.noteServing(this.#gateway.current?.serving ?? null);
      await untilAborted(next);
    }
  }
}
