import { randomBytes } from "node:crypto";
import type { V1Pod, V1PodStatus } from "@kubernetes/client-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { podSettings } from "../../providers/declarations/pod";
import { type Cluster, connectCluster, ServiceRecords, UnhealthyError, untilProven } from "../../runtime/kubernetes";
import { labelsOf, releaseLabel } from "../../runtime/kubernetes/names";
import { ApiLink, ApiServer } from "../support/api-server";

const release = "r1-aaaaa";
const labels = { ...labelsOf("studio", "instance"), [releaseLabel]: release };
const ready: V1PodStatus = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
const nodePressure: V1PodStatus = {
  phase: "Failed",
  reason: "Evicted",
  message: "The node was low on resource: ephemeral-storage. ",
};
const settings = podSettings({ image: "image", gpus: 0 }, {});

/** A gate against a real API server; Deployments, pods and kubelets are what a test writes to it. */
describe("a gate", () => {
  let server: ApiServer;
  let link: ApiLink;
  let cluster: Cluster;
  let deployment: string;
  let replicaSet: string;
  let said: string[];
  let warned: string[];

  beforeAll(async () => {
    server = await ApiServer.start();
    link = await ApiLink.to(server.port);
  });
  afterAll(async () => {
    link?.close();
    await server?.stop();
  });

  beforeEach(async () => {
    const namespace = `test-${randomBytes(4).toString("hex")}`;
    said = [];
    warned = [];
    cluster = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace });
    await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
    const metadata = { name: `studio-${release}`, labels };
    const template = { metadata: { labels }, spec: { containers: [{ name: "comfyui", image: "image" }] } };
    const spec = { selector: { matchLabels: labels }, template };
    const made = await cluster.apps.createNamespacedDeployment({ namespace, body: { metadata, spec } });
    deployment = made.metadata?.uid ?? "";
    const owner = ownedBy("Deployment", metadata.name, deployment);
    const set = await cluster.apps.createNamespacedReplicaSet({
      namespace,
      body: { metadata: { ...metadata, name: `${metadata.name}-x`, ...owner }, spec },
    });
    replicaSet = set.metadata?.uid ?? "";
  });

  async function makePod(name: string, status: V1PodStatus = {}): Promise<V1Pod> {
    const { core, namespace } = cluster;
    const owner = ownedBy("ReplicaSet", `studio-${release}-x`, replicaSet);
    const metadata = { name: `studio-${release}-x-${name}`, labels, ...owner };
    const spec = { nodeName: "node", containers: [{ name: "comfyui", image: "image" }] };
    const pod = await core.createNamespacedPod({ namespace, body: { metadata, spec } });
    return setStatus(pod, status);
  }

  function setStatus(pod: V1Pod, status: V1PodStatus): Promise<V1Pod> {
    const { core, namespace } = cluster;
    const name = pod.metadata?.name ?? "";
    return core.replaceNamespacedPodStatus({ name, namespace, body: { ...pod, status } });
  }

  async function gate({ count = 1, timeout = 60_000, port = server.port, nodeSelector = {} } = {}): Promise<void> {
    const { namespace } = cluster;
    const own = await connectCluster({ kubeconfig: server.kubeconfig("admin", port), namespace });
    await untilProven(new ServiceRecords(own, "studio"), {
      ...{ release, deployment, count, timeout },
      settings: { ...settings, nodeSelector },
      progress: (text) => said.push(text),
      warn: (text) => warned.push(text),
      signal: new AbortController().signal,
    });
  }

  test("passes when a pod that was evicted by a node in need has been replaced, and says so once", async () => {
    await makePod("a", nodePressure);
    const gated = gate();
    await expect.poll(() => warned, { timeout: 30_000 }).toHaveLength(1);
    const next = await makePod("b");
    await setStatus(next, { ...ready });
    await gated;
    expect(warned).toEqual([
      "r1-aaaaa/x-a was taken away (the pod has ended (Evicted: The node was low on resource: ephemeral-storage.)): another one in its place is waited for",
    ]);
  });

  test("waits for nodes of Karpenter's without warning, and names them at its end", async () => {
    const message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
    const status = { type: "PodScheduled", status: "False", reason: "Unschedulable", message };
    await makePod("a", { phase: "Pending", conditions: [status] });
    const nodeSelector = { "karpenter.sh/nodepool": "gpu", [releaseLabel]: release };
    const text = "Karpenter has made no node of the NodePool gpu for r1-aaaaa/x-a so far";
    await expect(gate({ timeout: 1_000, nodeSelector })).rejects.toThrow(text);
    expect(said.join("\n")).toContain(`${text}: 0/3 nodes are available`);
    expect(warned).toEqual([]);
  });

  test("fails when pods are taken away again and again, with the reason", async () => {
    for (const name of ["a", "b", "c"]) await makePod(name, nodePressure);
    const failure = await gate().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnhealthyError);
    expect((failure as UnhealthyError).evidence).toHaveLength(3);
    expect((failure as Error).message).toContain("The node was low on resource: ephemeral-storage.");
  });

  test("fails at once when the kubelet evicted a pod that used more than it may", async () => {
    const message = "Pod ephemeral local storage usage exceeds the total limit of containers 100Mi. ";
    await makePod("a", { phase: "Failed", reason: "Evicted", message });
    await expect(gate()).rejects.toThrow("Evicted: Pod ephemeral local storage usage exceeds the total limit");
  });

  test("says why the cluster refuses its pods, at once and when it fails", async () => {
    const { apps, namespace } = cluster;
    const name = `studio-${release}-x`;
    const message = 'pods "studio" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes';
    const body = await apps.readNamespacedReplicaSet({ name, namespace });
    const conditions = [{ type: "ReplicaFailure", status: "True", reason: "FailedCreate", message }];
    await apps.replaceNamespacedReplicaSetStatus({
      name,
      namespace,
      body: { ...body, status: { replicas: 0, conditions } },
    });

    const failure = await gate({ timeout: 1_000 }).catch((error: Error) => error);

    expect(warned).toEqual([`the cluster refuses pods of ${release}: ${message}`]);
    expect(String(failure)).toContain(message);
  });

  test("goes on where it was when the API server was away meanwhile", async () => {
    const pod = await makePod("a");
    const gated = gate({ port: link.port });
    await expect.poll(() => said.join(), { timeout: 30_000 }).toContain("0 of 1 proven");
    link.cut();
    await setStatus(pod, ready);
    await expect.poll(() => said.join(), { timeout: 30_000 }).toContain("what is known stays in force");
    link.open();
    await gated;
    expect(said.at(-1)).toBe("1 of 1 proven");
  });
});

function ownedBy(kind: string, name: string, uid: string) {
  return { ownerReferences: [{ apiVersion: "apps/v1", kind, name, uid, controller: true }] };
}
