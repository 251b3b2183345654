import { randomBytes } from "node:crypto";
import type { V1Pod, V1PodCondition } from "@kubernetes/client-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CountingProxy } from "../../bench/cluster/counting-proxy";
import { type Cluster, connectCluster, orNull } from "../../runtime/kubernetes";
import { LostPods, removeLostPods } from "../../runtime/kubernetes/lost-pods";
import { ApiServer } from "../support/api-server";

let server: ApiServer;
let cluster: Cluster;
let node: string;
let said: string[];

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  const namespace = `test-${randomBytes(4).toString("hex")}`;
  cluster = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace });
  await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
  node = `node-${namespace}`;
  said = [];
});

const secondsAgo = (seconds: number) => new Date(Math.floor(Date.now() / 1000) * 1000 - seconds * 1000);
const evicted = { type: "DisruptionTarget", status: "True", reason: "DeletionByTaintManager" };

async function makeNode(ready: string, since: Date, name = node): Promise<void> {
  await cluster.core.createNode({ body: { metadata: { name } } });
  const condition = { type: "Ready", status: ready, lastTransitionTime: since };
  await cluster.core.replaceNodeStatus({ name, body: { metadata: { name }, status: { conditions: [condition] } } });
}

/** A pod on the node; one that is told to go stays, as nobody ends it. */
async function makePod({
  conditions = [],
  deleted = false,
  nodeName = node,
}: {
  readonly conditions?: V1PodCondition[];
  readonly deleted?: boolean;
  readonly nodeName?: string;
} = {}): Promise<V1Pod> {
  const { core, namespace } = cluster;
  const name = `pod-${randomBytes(4).toString("hex")}`;
  const spec = { nodeName, containers: [{ name: "comfyui", image: "image" }] };
  const made = await core.createNamespacedPod({ namespace, body: { metadata: { name }, spec } });
  await core.replaceNamespacedPodStatus({
    name,
    namespace,
    body: { ...made, status: { phase: "Running", conditions } },
  });
  if (deleted) await core.deleteNamespacedPod({ name, namespace, gracePeriodSeconds: 1800 });
  return core.readNamespacedPod({ name, namespace });
}

async function look(pod: V1Pod, holdsWork: boolean): Promise<ReadonlyMap<string, string>> {
  const pods = [{ pod, id: "r1-aaaaa/x" }];
  return removeLostPods(cluster, { pods, holdsWork: () => holdsWork, progress: (text) => said.push(text) });
}

async function isThere({ metadata }: V1Pod): Promise<boolean> {
  const { core, namespace } = cluster;
  return (await orNull(core.readNamespacedPod({ name: metadata?.name ?? "", namespace }))) !== null;
}

describe("a pod is removed when nobody is left to end it:", () => {
  test("of a node that is gone, whatever the pod says", async () => {
    const pod = await makePod({ conditions: [{ type: "Ready", status: "True" }] });
    await look(pod, true);
    expect(await isThere(pod)).toBe(false);
    expect(said).toEqual([`r1-aaaaa/x is lost with its node ${node}`]);
  });

  test("of a node that does not answer, once the cluster has given the pod up", async () => {
    await makeNode("Unknown", secondsAgo(20));
    const pod = await makePod({ conditions: [evicted], deleted: true });
    await look(pod, true);
    expect(await isThere(pod)).toBe(false);
    expect(said[0]).toMatch(/^r1-aaaaa\/x is given up: its node node-\S+ has not been ready since 20/);
  });

  test("of a node that has not answered for a minute, where the pod has nothing to lose", async () => {
    await makeNode("Unknown", secondsAgo(90));
    const pod = await makePod({ deleted: true });
    await look(pod, false);
    expect(await isThere(pod)).toBe(false);
  });
});

describe("a pod is left alone, and waited for,", () => {
  test("while its node answers, though a taint evicts it", async () => {
    await makeNode("True", secondsAgo(3600));
    const pod = await makePod({ conditions: [evicted], deleted: true });
    expect(await look(pod, false)).toEqual(new Map());
    expect(await isThere(pod)).toBe(true);
  });

  test("while it may hold work on a node that does not answer, with the node and since when", async () => {
    await makeNode("Unknown", secondsAgo(3600));
    for (const pod of [await makePod(), await makePod({ deleted: true })]) {
      const [text] = (await look(pod, true)).values();
      expect(text).toMatch(/^its node node-\S+ has not been ready since 20/);
      expect(await isThere(pod)).toBe(true);
    }
    expect(said).toEqual([]);
  });

  test("for ever while the node is there, when two of them would do harm", async () => {
    await makeNode("Unknown", secondsAgo(3600));
    const pod = await makePod({ conditions: [evicted], deleted: true });
    const request = { pods: [{ pod, id: "studio" }], holdsWork: () => false, exclusive: true };
    expect((await removeLostPods(cluster, { ...request, progress: (text) => said.push(text) })).size).toBe(1);
    expect(await isThere(pod)).toBe(true);
  });

  test("for a minute when it holds no work", async () => {
    await makeNode("Unknown", secondsAgo(20));
    const pod = await makePod();
    expect((await look(pod, false)).size).toBe(1);
    expect(await isThere(pod)).toBe(true);
  });

  test("when another one has its name by now", async () => {
    const pod = await makePod();
    await look({ ...pod, metadata: { ...pod.metadata, uid: "another" } }, true);
    expect(await isThere(pod)).toBe(true);
  });

  test("when nodes are not to be looked at", async () => {
    const pod = await makePod();
    const { namespace } = cluster;
    const restricted = await connectCluster({ kubeconfig: server.kubeconfig("nobody"), namespace });
    const pods = [{ pod, id: "r1-aaaaa/x" }];
    const request = { pods, holdsWork: () => true, progress: (text: string) => void said.push(text) };
    expect(await removeLostPods(restricted, request)).toEqual(new Map());
    expect(await isThere(pod)).toBe(true);
  });
});

describe("while something is waited for", () => {
  test("ten nodes are asked for at a time, in turn, and what is known of the others stays", async () => {
    const proxy = await CountingProxy.before(server.kubeconfig("admin"));
    try {
      const { namespace } = cluster;
      const counted = await connectCluster({ kubeconfig: proxy.kubeconfig, namespace });
      const names = Array.from({ length: 25 }, (_, index) => `${node}-${index}`);
      const pods = await Promise.all(
        names.map(async (nodeName) => {
          if (nodeName !== `${node}-24`) await makeNode("Unknown", secondsAgo(20), nodeName);
          return { pod: await makePod({ nodeName }), id: nodeName };
        }),
      );
      const lost = new LostPods(counted, (text) => said.push(text), { interval: 0 });
      const asked = async () => {
        proxy.requests.length = 0;
        await lost.removeAmong(pods, () => true);
        return proxy.requests.filter(({ what }) => what === "get nodes").length;
      };
      expect([await asked(), lost.notes.size]).toEqual([10, 10]);
      expect([await asked(), lost.notes.size]).toEqual([10, 20]);
      expect([await asked(), lost.notes.size]).toEqual([10, 24]);
      expect(said).toEqual([`${node}-24 is lost with its node ${node}-24`]);
    } finally {
      proxy.close();
    }
  });

  test("nothing is asked before it is time to", async () => {
    const pod = await makePod();
    const lost = new LostPods(cluster, (text) => said.push(text), { interval: 3_600_000 });
    await lost.removeAmong([{ pod, id: "r1-aaaaa/x" }], () => true);
    expect(await isThere(pod)).toBe(true);
  });
});
