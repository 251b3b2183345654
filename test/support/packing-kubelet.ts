import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import type { PackSpec } from "../../runtime/agent";
import type { Cluster } from "../../runtime/kubernetes";
import { bundles } from "./agent-pod";
import { startProgram } from "./agent-processes";

/**
 * What Job controller, kubelet and garbage collector do of packing Jobs, for an API server without any of them: runs the real agent as a
 * process of this machine, in the folder that stands for the claim.
 */
export class PackingKubelet {
  readonly #folder = mkdtempSync(join(tmpdir(), "packing-kubelet-"));
  readonly #stopped = new AbortController();
  readonly #started = new Set<string>();
  readonly #agents: Promise<void>[] = [];
  readonly #loop: Promise<void>;
  /** Jobs that were begun. */
  readonly seen: V1Job[] = [];

  constructor(
    private readonly cluster: Cluster,
    private readonly claim: string,
    private readonly credentials: Readonly<Record<string, string>>,
  ) {
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#loop;
    await Promise.all(this.#agents);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #run(): Promise<void> {
    const { batch, namespace } = this.cluster;
    while (!this.#stopped.signal.aborted) {
      for (const job of (await batch.listNamespacedJob({ namespace })).items) {
        const uid = job.metadata?.uid ?? "";
        if (job.metadata?.deletionTimestamp !== undefined) await this.#collect(job);
        else if (!this.#started.has(uid)) {
          this.#started.add(uid);
          this.seen.push(job);
          this.#agents.push(this.#pack(job));
        }
      }
      await delay(50);
    }
  }

  async #collect({ metadata }: V1Job): Promise<void> {
    const { batch, core, namespace } = this.cluster;
    const labelSelector = `batch.kubernetes.io/controller-uid=${metadata?.uid}`;
    await core.deleteCollectionNamespacedPod({ namespace, labelSelector, gracePeriodSeconds: 0 });
    const body = [{ op: "remove", path: "/metadata/finalizers" }];
    await batch.patchNamespacedJob({ name: metadata?.name ?? "", namespace, body }).catch(() => undefined);
  }

  async #pack(job: V1Job): Promise<void> {
    const { core, namespace } = this.cluster;
    const root = join(this.#folder, job.metadata?.uid ?? "");
    mkdirSync(root);
    const told = job.spec?.template.spec?.volumes?.find(({ name }) => name === "told")?.configMap?.name ?? "";
    const spec = JSON.parse((await this.#data(told))["pack.json"] ?? "") as PackSpec;
    const here: PackSpec = { ...spec, environment: { ...spec.environment, root: this.claim } };
    const [file, message] = [join(root, "pack.json"), join(root, "termination-log")];
    writeFileSync(file, JSON.stringify(here));
    const args = ["pack", "--spec", file, "--index", join(root, "scan"), "--termination-log", message];
    const env = { PATH: process.env.PATH, HOME: root, ...this.credentials };
    const agent = startProgram(process.execPath, [join(bundles, "agent.js"), ...args], env);
    const { code } = await agent.ended;

    const name = `${job.metadata?.name}-${Math.random().toString(36).slice(2, 7)}`;
    const labels = { "batch.kubernetes.io/controller-uid": job.metadata?.uid ?? "" };
    const containers = [{ name: "agent", image: "node" }];
    await core.createNamespacedPod({ namespace, body: { metadata: { name, labels }, spec: { containers } } });
    const terminated = { exitCode: code ?? 137, message: readFileSync(message, "utf8") };
    const value: V1Pod["status"] = {
      phase: code === 0 ? "Succeeded" : "Failed",
      containerStatuses: [
        { name: "agent", image: "node", imageID: "", ready: false, restartCount: 0, state: { terminated } },
      ],
    };
    await core.patchNamespacedPodStatus({ name, namespace, body: [{ op: "add", path: "/status", value }] });
  }

  /** Its ConfigMap is made after it. */
  async #data(name: string): Promise<Readonly<Record<string, string>>> {
    const { core, namespace } = this.cluster;
    for (;;) {
      this.#stopped.signal.throwIfAborted();
      const found = await core.readNamespacedConfigMap({ name, namespace }).catch(() => undefined);
      if (found?.data !== undefined) return found.data;
      await delay(50);
    }
  }
}
