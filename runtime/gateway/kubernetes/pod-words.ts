import { request } from "node:http";
import { ApiError, type KubernetesApi } from "../../kubernetes/api";
import { ports } from "../../kubernetes/pod-places";
import type { Log } from "../log";
import type { GatewayInstanceStatus } from "../targets";
import type { PodInstance } from "./pod-target";

/** Milliseconds between two attempts to tell an agent. */
const again = 2_000;
/** Milliseconds after which an agent that waits is told again that it is waited for: it goes by itself after 30 s of silence. */
const reminder = 8_000;
const answerTimeout = 3_000;
/** Milliseconds between two changes of one pod's annotation. */
const costInterval = 5_000;
const costKey = "controller.kubernetes.io/pod-deletion-cost";

interface Told {
  released: boolean;
  triedAt: number;
  /** Whether the last word was that it is released. */
  last: boolean;
  busy: boolean;
  costAt: number;
  /** What the annotation was set to; null before. */
  cost: string | null;
}

export interface PodWordsOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly leads: () => boolean;
  readonly log: Log;
}

/** What the leader tells of instances to their pods: the agents that they are drained, the cluster which of them are idle. */
export class PodWords {
  private readonly pods = new Map<string, Told>();
  private lastProblem = "";

  constructor(private readonly options: PodWordsOptions) {}

  /** To be called several times a second. Waits for nothing. */
  tell(instances: readonly PodInstance[], status: readonly GatewayInstanceStatus[]): void {
    const byId = new Map(status.map((each) => [each.id, each]));
    const there = new Set<string>();
    for (const instance of instances) {
      const key = `${instance.uid}#${instance.epoch}`;
      there.add(key);
      const known = byId.get(instance.id);
      if (known === undefined) continue;
      const told = this.pods.get(key) ?? {
        released: false,
        triedAt: Number.NEGATIVE_INFINITY,
        last: false,
        busy: false,
        costAt: Number.NEGATIVE_INFINITY,
        cost: null,
      };
      this.pods.set(key, told);
      this.tellAgent(instance, known, told);
      this.tellCluster(instance, known, told);
    }
    for (const key of this.pods.keys()) if (!there.has(key)) this.pods.delete(key);
  }

  /** An agent that waits is kept waiting; one that was released and serves again, or is needed again, has to know that. */
  private tellAgent(instance: PodInstance, { state, drained }: GatewayInstanceStatus, told: Told): void {
    const now = performance.now();
    const due = drained ? !told.released : told.released || state === "draining";
    const pause = drained || told.released ? again : reminder;
    if (!due || told.busy || (now - told.triedAt < pause && told.last === drained) || !this.options.leads()) return;
    told.busy = true;
    told.triedAt = now;
    told.last = drained;
    this.post(instance, drained ? "/released" : "/needed")
      .then(
        () => {
          if (drained) this.options.log(`the agent of ${instance.id} was told that it is released`);
          told.released = drained;
        },
        (error: Error) => {
          this.report(
            `the agent of ${instance.id} could not be told ${drained ? "released" : "needed"}: ${error.message}`,
          );
        },
      )
      .finally(() => {
        told.busy = false;
      });
  }

  private tellCluster(instance: PodInstance, { queueRemaining, inFlight }: GatewayInstanceStatus, told: Told): void {
    const now = performance.now();
    if (queueRemaining === null || now - told.costAt < costInterval || !this.options.leads()) return;
    const cost = queueRemaining + inFlight > 0 ? "1" : "0";
    // No annotation is a cost of 0.
    if (cost === (told.cost ?? instance.deletionCost ?? "0")) return;
    told.costAt = now;
    const { api, namespace } = this.options;
    api
      .request({
        method: "PATCH",
        path: `/api/v1/namespaces/${namespace}/pods/${instance.pod}`,
        // With its uid, so that no other pod of this name is meant.
        body: { metadata: { uid: instance.uid, annotations: { [costKey]: cost } } },
        contentType: "application/merge-patch+json",
      })
      .then(
        () => {
          told.cost = cost;
        },
        (error: Error) => {
          if (!(error instanceof ApiError && [404, 409].includes(error.status))) this.report(error.message);
        },
      );
  }

  private post({ address }: PodInstance, path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const outgoing = request({
        host: address.replace(/^\[|\]$/g, ""),
        port: ports.agent,
        method: "POST",
        path,
        headers: { "content-length": 0, connection: "close" },
        agent: false,
        timeout: answerTimeout,
      });
      outgoing.on("timeout", () => outgoing.destroy(new Error(`silent for ${answerTimeout} ms`)));
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        response.resume();
        const { statusCode = 0 } = response;
        if (statusCode >= 200 && statusCode < 300) resolve();
        else reject(new Error(`POST ${path} was answered with ${statusCode}`));
      });
      outgoing.end();
    });
  }

  private report(problem: string): void {
    if (problem !== this.lastProblem) this.options.log(problem);
    this.lastProblem = problem;
  }
}
