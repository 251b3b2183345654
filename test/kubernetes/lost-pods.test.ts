import type { V1Pod } from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CountingProxy } from "../../bench/cluster/counting-proxy";
import { type Cluster, connectCluster } from "../../runtime/kubernetes";
import { LostPods, type NamedPod } from "../../runtime/kubernetes/lost-pods";
import { waitFor } from "../../runtime/waiting";
import { ApiServer } from "../support/api-server";

const namespace = "default";

let server: ApiServer;
let proxy: CountingProxy;
let cluster: Cluster;

beforeAll(async () => {
  server = await ApiServer.start();
  proxy = await CountingProxy.before(server.kubeconfig("admin"));
  cluster = await connectCluster({ kubeconfig: proxy.kubeconfig, namespace });
}, 180_000);

afterAll(async () => {
  proxy?.close();
  await server?.stop();
});

async function makeNode(name: string): Promise<void> {
  await cluster.core.createNode({ body: { metadata: { name } } });
}

async function makePod(name: string, nodeName: string): Promise<NamedPod> {
  const spec = { nodeName, containers: [{ name: "main", image: "none" }] };
  const pod = await cluster.core.createNamespacedPod({ namespace, body: { metadata: { name }, spec } });
  return { pod, id: name };
}

const namesOfPods = async () =>
  (await cluster.core.listNamespacedPod({ namespace })).items.map(({ metadata }: V1Pod) => metadata?.name).sort();

/** Looks until something holds. */
function looking(lost: LostPods, pods: readonly NamedPod[], what: string, holds: () => Promise<boolean>) {
  return waitFor({
    what,
    deadline: 60_000,
    look: async () => {
      await lost.removeAmong(pods);
      return (await holds()) ? true : undefined;
    },
  });
}

test("pods of nodes that are gone are removed, others stay, and nodes that are there are not asked for one by one", async () => {
  const names = Array.from({ length: 20 }, (_, index) => `node-${index}`);
  for (const name of names) await makeNode(name);
  const pods: NamedPod[] = [];
  for (const name of names) pods.push(await makePod(`pod-on-${name}`, name));
  const said: string[] = [];
  const lost = new LostPods(cluster, (message) => said.push(message), 0);
  try {
    await lost.removeAmong(pods);
    proxy.requests.length = 0;
    for (let round = 0; round < 10; round++) await lost.removeAmong(pods);
    expect(proxy.requests).toEqual([]);

    await cluster.core.deleteNode({ name: "node-7" });
    await looking(lost, pods, "the pod to be removed", async () => !(await namesOfPods()).includes("pod-on-node-7"));

    expect(await namesOfPods()).toEqual(
      names
        .filter((name) => name !== "node-7")
        .map((name) => `pod-on-${name}`)
        .sort(),
    );
    expect(said).toContain("pod-on-node-7 is lost with its node node-7");
    const nodesAskedFor = proxy.requests.filter(({ what }) => what === "get nodes");
    expect(nodesAskedFor.length).toBeGreaterThan(0);
    expect(nodesAskedFor.length).toBeLessThan(names.length);
  } finally {
    lost.close();
  }
});

test("a pod on a node of which the watch has not heard yet stays", async () => {
  await makeNode("early");
  const early = await makePod("pod-on-early", "early");
  const lost = new LostPods(cluster, () => undefined, 0);
  try {
    await lost.removeAmong([early]);
    // As a node's pod may be known before the node is.
    await makeNode("late");
    const late = await makePod("pod-on-late", "late");
    await lost.removeAmong([early, late]);

    expect(await namesOfPods()).toEqual(expect.arrayContaining(["pod-on-early", "pod-on-late"]));
  } finally {
    lost.close();
  }
});

test("who may not see nodes removes nothing and asks once", async () => {
  const strangers = await CountingProxy.before(server.kubeconfig("stranger"));
  const lost = new LostPods(await connectCluster({ kubeconfig: strangers.kubeconfig, namespace }), () => undefined, 0);
  try {
    const pod = await makePod("pod-on-nothing", "nothing");
    for (let round = 0; round < 3; round++) await lost.removeAmong([pod]);

    expect(strangers.requests.map(({ what }) => what)).toEqual(["list nodes"]);
    expect(await namesOfPods()).toContain("pod-on-nothing");
  } finally {
    lost.close();
    strangers.close();
  }
});
