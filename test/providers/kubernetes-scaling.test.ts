import { randomBytes } from "node:crypto";
import type { V1Deployment, V1HorizontalPodAutoscaler } from "@kubernetes/client-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Context } from "../../providers/context";
import { clusterHealthGate } from "../../providers/kubernetes/health-gate";
import { clusterRelease } from "../../providers/kubernetes/release";
import {
  type Cluster,
  connectCluster,
  objectNames,
  orNull,
  removeReleases,
  ServiceRecords,
} from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { owner, settings } from "../support/supervisor-platform";

// No controllers run here: Deployments have the pods that a test gives them.

let server: ApiServer;
let cluster: Cluster;
let records: ServiceRecords;
let place: { readonly kubeconfig: string; readonly namespace: string; readonly service: string; displayUrn: string };

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  const namespace = `test-${randomBytes(4).toString("hex")}`;
  const kubeconfig = server.kubeconfig("admin");
  cluster = await connectCluster({ kubeconfig, namespace });
  await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
  records = new ServiceRecords(cluster, "studio");
  await records.claim(owner, settings, false);
  place = { kubeconfig, namespace, service: "studio", displayUrn: "" };
});

const context: Context = {
  info: () => {},
  warn: () => {},
  progress: () => {},
  assertEngine: async () => {},
  signal: new AbortController().signal,
};

const by = { kind: "externalMetric", name: "queue" };
const range = { kind: "range", min: 2, max: 6, by };

async function makeRelease(scaling: object, snapshot = "a") {
  const inputs = clusterRelease.schema.parse({
    ...place,
    owner,
    scaling,
    snapshot: `s3://bucket/p#sha256:${snapshot.repeat(64)}`,
    health: {},
    pod: { image: "registry/comfyui:1", gpus: 0 },
  }) as unknown as Parameters<typeof clusterRelease.create>[0];
  const { id, outputs } = await clusterRelease.create(inputs, context);
  return { id, startCount: outputs.startCount };
}

const labels = (release: string) => ({
  "app.kubernetes.io/name": "comfyui",
  "app.kubernetes.io/instance": "studio",
  "app.kubernetes.io/component": "instance",
  "app.kubernetes.io/managed-by": "pulumi-comfyui",
  "pulumi-comfyui/release": release,
});
const template = (release: string) => ({
  metadata: { labels: labels(release) },
  spec: {
    initContainers: [{ name: "agent", image: "a", restartPolicy: "Always" }],
    containers: [{ name: "comfyui", image: "c" }],
  },
});

/** A release's Deployment and, as its controller would make them, its ReplicaSet and pods, of which all are proven. */
async function deploy(release: string, replicas: number, pods = replicas): Promise<string> {
  const { apps, namespace } = cluster;
  const name = objectNames("studio").release(release);
  const metadata = { name, labels: labels(release) };
  const selector = { matchLabels: labels(release) };
  const deployment = await apps.createNamespacedDeployment({
    namespace,
    body: { metadata, spec: { replicas, selector, template: template(release) } },
  });
  const uid = deployment.metadata?.uid ?? "";
  const ownerOf = (kind: string, owning: string) => [
    { apiVersion: "apps/v1", kind, name, uid: owning, controller: true },
  ];
  const set = await apps.createNamespacedReplicaSet({
    namespace,
    body: {
      metadata: { ...metadata, ownerReferences: ownerOf("Deployment", uid) },
      spec: { replicas, selector, template: template(release) },
    },
  });
  for (let index = 0; index < pods; index++) {
    const pod = `${name}-${index}`;
    const { spec } = template(release);
    await cluster.core.createNamespacedPod({
      namespace,
      body: {
        metadata: {
          name: pod,
          labels: labels(release),
          ownerReferences: ownerOf("ReplicaSet", set.metadata?.uid ?? ""),
        },
        spec: { ...spec, nodeName: "node" },
      },
    });
    const ready = { name: "x", image: "x", imageID: "", ready: true, restartCount: 0, started: true };
    const found = await cluster.core.readNamespacedPod({ name: pod, namespace });
    await cluster.core.replaceNamespacedPodStatus({
      name: pod,
      namespace,
      body: {
        ...found,
        status: {
          phase: "Running",
          conditions: [{ type: "Ready", status: "True" }],
          initContainerStatuses: [{ ...ready, name: "agent", state: { running: {} } }],
          containerStatuses: [{ ...ready, name: "comfyui", state: { running: {} } }],
        },
      },
    });
  }
  return uid;
}

async function setStatus(release: string, readyReplicas: number): Promise<void> {
  const { apps, namespace } = cluster;
  const name = objectNames("studio").release(release);
  const body: V1Deployment = await apps.readNamespacedDeployment({ name, namespace });
  const { replicas = 0 } = body.spec ?? {};
  const { generation = 0 } = body.metadata ?? {};
  const status = { replicas, readyReplicas, observedGeneration: generation };
  await apps.replaceNamespacedDeploymentStatus({ name, namespace, body: { ...body, status } });
}

const replicasOf = async (release: string) =>
  (await cluster.apps.readNamespacedDeployment({ name: `studio-${release}`, namespace: cluster.namespace })).spec
    ?.replicas;

const serve = (release: string, revision: number) => records.changeTarget(() => ({ release, revision, draining: [] }));

async function makeAutoscaler(release: string): Promise<void> {
  const name = `studio-${release}`;
  const body: V1HorizontalPodAutoscaler = {
    metadata: { name },
    spec: { maxReplicas: 6, scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name } },
  };
  await cluster.autoscaling.createNamespacedHorizontalPodAutoscaler({ namespace: cluster.namespace, body });
}

const autoscalerOf = (release: string) =>
  orNull(
    cluster.autoscaling.readNamespacedHorizontalPodAutoscaler({
      name: `studio-${release}`,
      namespace: cluster.namespace,
    }),
  );

function gate(release: string, deployment: string, count: number, autoscaled: boolean) {
  const autoscaler = autoscaled ? "externalMetric" : undefined;
  const inputs = { ...place, release, deployment, count, autoscaler, timeout: "3s" };
  return clusterHealthGate.schema.parse(inputs) as unknown as Parameters<typeof clusterHealthGate.create>[0];
}

describe("a release starts", () => {
  test("with the declared count; in a range with its least, while none serves", async () => {
    expect((await makeRelease({ kind: "fixed", count: 3 })).startCount).toBe(3);
    expect((await makeRelease(range, "b")).startCount).toBe(2);
  });

  test.each([
    [1, 2],
    [4, 4],
    [9, 6],
  ])("with what serves, %d instances, within the range: %d", async (live, startCount) => {
    const first = await makeRelease(range);
    await deploy(first.id, live, 0);
    await serve(first.id, 1);
    expect((await makeRelease(range, "b")).startCount).toBe(startCount);
  });
});

describe("a gate over what an autoscaler counts", () => {
  test("proves as many as there are to be, which is not what it started with", async () => {
    const { id } = await makeRelease(range);
    const uid = await deploy(id, 4);
    await clusterHealthGate.create(gate(id, uid, 2, true), context);
    expect(await replicasOf(id)).toBe(4);
    const { releases } = await records.required();
    expect(releases.map(({ count, events }) => [count, events.at(-1)?.event])).toEqual([[4, "proven"]]);
  });

  test("fails when fewer are proven than there are to be", async () => {
    const { id } = await makeRelease(range);
    const uid = await deploy(id, 4, 3);
    await expect(clusterHealthGate.create(gate(id, uid, 2, true), context)).rejects.toThrow(
      `4 instances of ${id} were not proven within 3s: 3 of 4 proven; 1 not created yet`,
    );
    // What failed holds nothing, and its next attempt begins with as many as it began with.
    expect(await replicasOf(id)).toBe(0);
    await expect(clusterHealthGate.create(gate(id, uid, 2, true), context)).rejects.toThrow("of 2 proven");
  });

  test("has nothing to do while as many are ready as it started with, or as are left", async () => {
    const { id } = await makeRelease(range);
    const uid = await deploy(id, 4, 0);
    const look = async (ready: number, startCount: number) => {
      await setStatus(id, ready);
      return (await clusterHealthGate.live?.(id, gate(id, uid, startCount, true)))?.changes;
    };
    expect(await look(3, 2)).toBe(false);
    expect(await look(4, 6)).toBe(false);
    expect(await look(1, 2)).toBe(true);
    // Of a declared count, all have to be there.
    expect((await clusterHealthGate.live?.(id, gate(id, uid, 4, false)))?.changes).toBe(true);
  });
});

test("a count that is declared instead of a range ends the autoscaler before it is set", async () => {
  const { id } = await makeRelease(range);
  const uid = await deploy(id, 4);
  await makeAutoscaler(id);
  const before = gate(id, uid, 2, true);
  await expect(clusterHealthGate.update(id, before, gate(id, uid, 3, false), context)).rejects.toThrow("of 3 proven");
  expect(await autoscalerOf(id)).toBeNull();
});

test("another kind of autoscaler ends the one that is there", async () => {
  const { id } = await makeRelease(range);
  const uid = await deploy(id, 3);
  await makeAutoscaler(id);
  const before = gate(id, uid, 2, true);
  await clusterHealthGate.update(id, before, before, context);
  expect(await autoscalerOf(id)).not.toBeNull();
  await clusterHealthGate.update(id, before, { ...before, autoscaler: "keda" } as typeof before, context);
  expect(await autoscalerOf(id)).toBeNull();
  expect(await replicasOf(id)).toBe(3);
});

test("a release that nobody knows any more loses its autoscaler before it drains, and its disruption budget", async () => {
  const { id } = await makeRelease(range);
  await deploy(id, 0);
  await makeAutoscaler(id);
  const name = `studio-${id}`;
  const { namespace } = cluster;
  await cluster.policy.createNamespacedPodDisruptionBudget({
    namespace,
    body: {
      metadata: { name, labels: labels(id) },
      spec: { maxUnavailable: 1, selector: { matchLabels: labels(id) } },
    },
  });
  await removeReleases(records, { ...context, removeNodes: async () => {} });
  expect(await autoscalerOf(id)).toBeNull();
  expect(await orNull(cluster.policy.readNamespacedPodDisruptionBudget({ name, namespace }))).toBeNull();
});
