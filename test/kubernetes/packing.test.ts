import { setTimeout as delay } from "node:timers/promises";
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Cluster, connectCluster, packInCluster, packingJobs } from "../../runtime/kubernetes";
import { type PackingJob, packingJob, packingJobName } from "../../runtime/kubernetes/packing-job";
import { waitFor } from "../../runtime/waiting";
import { ApiServer } from "../support/api-server";

/** Milliseconds. */
const patience = 60_000;

let server: ApiServer;
let cluster: Cluster;
let number = 0;
const stop: AbortController[] = [];
let ended: Promise<void>;

const job: PackingJob = {
  workstation: "studio",
  owner: { organization: "organization", project: "project", stack: "dev" },
  snapshot: "urn:studio",
  contentId: "a".repeat(64),
  claim: "environment",
  pod: {
    ...{ agentImage: "node", nodeSelector: {}, tolerations: [], models: null, serviceAccount: null },
    ...{ storeCredentials: null, imagePullSecrets: [], priorityClass: null, user: 1000 },
  },
  resources: { requests: {}, limits: {} },
  spec: '{"store":"s3://bucket/studio"}',
  timeout: 3_600_000,
};

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  number += 1;
  cluster = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace: `packing-${number}` });
  const { core, namespace } = cluster;
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  await core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: {
      metadata: { name: "environment" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
    },
  });
  const controller = new AbortController();
  stop.push(controller);
  ended = collectGarbage(cluster, controller.signal);
});
afterEach(async () => {
  for (const controller of stop.splice(0)) controller.abort();
  await ended;
});

/** What the garbage collector does of a Job's removal: nobody else does here. */
async function collectGarbage({ batch, core, namespace }: Cluster, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const { metadata } of (await batch.listNamespacedJob({ namespace })).items) {
      if (metadata?.deletionTimestamp === undefined) continue;
      const name = metadata.name ?? "";
      const labelSelector = `batch.kubernetes.io/controller-uid=${metadata.uid}`;
      await core.deleteCollectionNamespacedPod({ namespace, labelSelector, gracePeriodSeconds: 0 });
      const body = [{ op: "remove", path: "/metadata/finalizers" }];
      await batch.patchNamespacedJob({ name, namespace, body }).catch(() => undefined);
    }
    await delay(50);
  }
}

interface Run {
  readonly result: Promise<unknown>;
  readonly abort: AbortController;
  readonly said: string[];
}

function start(more: Partial<PackingJob> = {}): Run {
  const abort = new AbortController();
  const said: string[] = [];
  const note = (message: string) => void said.push(message);
  const watch = {
    progress: note,
    warn: note,
    signal: abort.signal,
    assertEngine: async () => abort.signal.throwIfAborted(),
  };
  const result = packInCluster(cluster, { ...job, ...more }, watch);
  result.catch(() => undefined);
  return { result, abort, said };
}

function theJob(isWanted: (job: V1Job) => boolean = () => true): Promise<V1Job> {
  return waitFor({
    what: "the Job",
    deadline: patience,
    look: async () => {
      const { items } = await cluster.batch.listNamespacedJob({ namespace: cluster.namespace });
      return items.find((one) => one.metadata?.deletionTimestamp === undefined && isWanted(one));
    },
  });
}

const runOf = ({ metadata }: V1Job) => metadata?.annotations?.["pulumi-comfyui/run"];

/** What the Job's controller and the kubelet do. */
async function pod({ metadata }: V1Job, status: V1Pod["status"]): Promise<void> {
  const { core, namespace } = cluster;
  const name = `${metadata?.name}-${Math.random().toString(36).slice(2, 7)}`;
  const labels = { "batch.kubernetes.io/controller-uid": metadata?.uid ?? "" };
  const container = { name: "agent", image: "node" };
  await core.createNamespacedPod({
    namespace,
    body: { metadata: { name, labels }, spec: { containers: [container] } },
  });
  const known = { phase: "Running", ...status };
  await core.patchNamespacedPodStatus({ name, namespace, body: [{ op: "add", path: "/status", value: known }] });
}

function ends(exitCode: number, message: object): V1Pod["status"] {
  const terminated = { exitCode, reason: "Error", message: JSON.stringify(message) };
  const container = { name: "agent", image: "node", imageID: "", ready: false, restartCount: 0 };
  return { containerStatuses: [{ ...container, state: { terminated } }] };
}

const packed = { reference: `s3://bucket/studio#sha256:${"0".repeat(64)}`, bytesAdded: 2, bytesStored: 1 };

async function left(): Promise<readonly string[]> {
  const { batch, core, namespace } = cluster;
  const labelSelector = "app.kubernetes.io/component=packer";
  const [{ items: jobs }, { items: maps }] = await Promise.all([
    batch.listNamespacedJob({ namespace }),
    core.listNamespacedConfigMap({ namespace, labelSelector }),
  ]);
  return [...jobs, ...maps].map(({ metadata }) => metadata?.name ?? "");
}

describe("packing in a cluster", () => {
  it("makes a Job with its programs and what it is told, and leaves nothing of it", async () => {
    const run = start();
    const made = await theJob();
    const volumes = made.spec?.template.spec?.volumes ?? [];
    const mapOf = (name: string) => volumes.find((one) => one.name === name)?.configMap?.name ?? "";
    const { core, namespace } = cluster;
    const [told, program] = await waitFor({
      what: "its ConfigMaps",
      deadline: patience,
      look: async () => {
        const read = (name: string) => core.readNamespacedConfigMap({ name: mapOf(name), namespace });
        return Promise.all([read("told"), read("program")]).catch(() => undefined);
      },
    });
    expect(told.data).toEqual({ "pack.json": job.spec });
    expect(Object.keys(program.binaryData ?? {})).toContain("agent.js.gz");
    for (const { metadata } of [told, program]) {
      expect(metadata?.ownerReferences).toMatchObject([{ kind: "Job", uid: made.metadata?.uid }]);
    }
    await pod(made, ends(0, packed));
    expect(await run.result).toMatchObject(packed);
    expect(await left()).toEqual([]);
  });

  it("fails with the reason that the agent leaves", async () => {
    const run = start();
    await pod(await theJob(), ends(70, { reason: "the bucket is another's" }));
    await expect(run.result).rejects.toThrow("claim environment was not packed: the bucket is another's");
    expect(await left()).toEqual([]);
  });

  it("begins once more where the pod was lost, and only once", async () => {
    const run = start();
    const first = await theJob();
    await pod(first, ends(143, { reason: "told to end" }));
    const second = await theJob(({ metadata }) => metadata?.uid !== first.metadata?.uid);
    expect(run.said.join()).toContain("it is begun once more");
    await pod(second, ends(143, { reason: "told to end" }));
    await expect(run.result).rejects.toThrow("although it was tried 2 times");
    expect(await left()).toEqual([]);
  });

  it("goes on with an equal Job, which the run before then leaves alone", async () => {
    const first = start();
    const made = await theJob();
    const second = start();
    const adopted = await theJob((one) => runOf(one) !== runOf(made));
    expect(adopted.metadata?.uid).toBe(made.metadata?.uid);
    first.abort.abort(new Error("the engine is gone"));
    await expect(first.result).rejects.toThrow("the engine is gone");
    await pod(adopted, ends(0, packed));
    expect(await second.result).toMatchObject(packed);
    expect(await left()).toEqual([]);
  });

  it("takes its Job away when it is aborted", async () => {
    const run = start();
    await theJob();
    run.abort.abort(new Error("the engine is gone"));
    await expect(run.result).rejects.toThrow("the engine is gone");
    expect(await left()).toEqual([]);
  });

  it("removes what an earlier run of the same snapshot has left, and nothing of another one", async () => {
    const other = start({ snapshot: "urn:other" });
    const others = await theJob();
    const { batch, namespace } = cluster;
    const old = packingJob({ ...job, contentId: "b".repeat(64) }, "old", null);
    await batch.createNamespacedJob({ namespace, body: old });
    const run = start();
    const made = await theJob(({ metadata }) => metadata?.name === packingJobName(job));
    expect((await packingJobs(cluster)).map(({ name }) => name).sort()).toEqual(
      [others.metadata?.name, made.metadata?.name].sort(),
    );
    await pod(made, ends(0, packed));
    await pod(others, ends(0, packed));
    expect(await run.result).toMatchObject(packed);
    expect(await other.result).toMatchObject(packed);
    expect(await left()).toEqual([]);
  });

  it("is on the node of the pod that has a claim of one node, and refused where that pod must be the only one", async () => {
    const { core, namespace } = cluster;
    const holder = (claim: string): V1Pod => ({
      metadata: { name: `holds-${claim}` },
      spec: {
        nodeName: "gpu-7",
        containers: [{ name: "comfyui", image: "comfyui" }],
        volumes: [{ name: "environment", persistentVolumeClaim: { claimName: claim } }],
      },
    });
    await core.createNamespacedPod({ namespace, body: holder("environment") });
    const run = start();
    const made = await theJob();
    expect(made.spec?.template.spec?.affinity?.nodeAffinity).toEqual({
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["gpu-7"] }] }],
      },
    });
    await pod(made, ends(0, packed));
    await run.result;

    const spec = { accessModes: ["ReadWriteOncePod"], resources: { requests: { storage: "1Gi" } } };
    await core.createNamespacedPersistentVolumeClaim({ namespace, body: { metadata: { name: "alone" }, spec } });
    await core.createNamespacedPod({ namespace, body: holder("alone") });
    await expect(start({ claim: "alone" }).result).rejects.toThrow(
      "claim alone is ReadWriteOncePod and pod holds-alone holds it",
    );
    await expect(start({ claim: "none" }).result).rejects.toThrow("has no claim none");
    expect(await left()).toEqual([]);
  });

  it("lists what is left, for a person to remove", async () => {
    const run = start();
    await theJob();
    const [found] = await packingJobs(cluster);
    expect(found).toMatchObject({ workstation: "studio", owner: "organization/project/dev", state: "running" });
    await found?.remove();
    const again = await theJob();
    expect(run.said.join()).toContain("removed by somebody else");
    await pod(again, ends(0, packed));
    await run.result;
    expect(await packingJobs(cluster)).toEqual([]);
  });
});
