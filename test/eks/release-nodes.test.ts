import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Context } from "../../providers/context";
import { clusterHealthGate } from "../../providers/kubernetes/health-gate";
import { clusterRelease } from "../../providers/kubernetes/release";
import { type Cluster, connectCluster, ServiceRecords } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { FakeEks } from "../support/fake-eks";
import { owner, settings } from "../support/supervisor-platform";

// No controllers run here: Deployments have no pods but those that a test gives them.

let server: ApiServer;
let fake: FakeEks;
let cluster: Cluster;
let records: ServiceRecords;
let place: { readonly kubeconfig: string; readonly namespace: string; readonly service: string; displayUrn: string };
let warned: string[];

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  warned = [];
  fake = await FakeEks.start();
  for (const [key, value] of Object.entries(fake.environment)) vi.stubEnv(key, value);
  const namespace = `test-${randomBytes(4).toString("hex")}`;
  const kubeconfig = server.kubeconfig("admin");
  cluster = await connectCluster({ kubeconfig, namespace });
  await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
  records = new ServiceRecords(cluster, "studio");
  await records.claim(owner, settings, false);
  place = { kubeconfig, namespace, service: "studio", displayUrn: "" };
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fake.stop();
});

const context: Context = {
  info: () => {},
  warn: (message) => void warned.push(message),
  progress: () => {},
  assertEngine: async () => {},
  signal: new AbortController().signal,
};

function releaseInputs(more: object) {
  return clusterRelease.schema.parse({
    ...place,
    owner,
    scaling: { kind: "fixed", count: 1 },
    snapshot: `s3://bucket/p#sha256:${"a".repeat(64)}`,
    health: {},
    pod: { image: "registry/comfyui:1", nodeSelector: { zone: "a" } },
    ...more,
  }) as unknown as Parameters<typeof clusterRelease.create>[0];
}

const makeRelease = (more: object = {}) => clusterRelease.create(releaseInputs(more), context);
const perRelease = { placement: { kind: "perRelease", cluster: "prod", region: "eu-central-1", machine: "0123abcd" } };
const gpuToleration = { key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" };

describe("the pods of a release", () => {
  test("ask for the nodes of its own, which its record names", async () => {
    const { id, outputs } = await makeRelease(perRelease);
    const nodeSelector = { zone: "a", "eks.amazonaws.com/nodegroup": `studio-${id}` };
    expect(outputs.settings).toMatchObject({ nodeSelector, tolerations: [gpuToleration] });
    const [recorded] = (await records.required()).releases;
    expect(recorded?.nodes).toEqual({ cluster: "prod", region: "eu-central-1", nodeGroup: `studio-${id}` });
    expect(recorded?.spec.pod?.nodeSelector).toEqual(nodeSelector);
  });

  test("ask for a shared group's nodes, for Karpenter's of their release, or for none", async () => {
    const selectorOf = async (placement: object | undefined, snapshot: string) => {
      const pin = { snapshot: `s3://bucket/p#sha256:${snapshot.repeat(64)}` };
      const { id, outputs } = await makeRelease({ ...pin, ...(placement === undefined ? {} : { placement }) });
      return { id, selector: outputs.settings.nodeSelector };
    };
    const shared = await selectorOf({ kind: "shared", nodeGroup: "gpus-1234" }, "b");
    expect(shared.selector).toEqual({ zone: "a", "eks.amazonaws.com/nodegroup": "gpus-1234" });
    const karpenter = await selectorOf({ kind: "karpenter", nodePool: "gpu" }, "c");
    const labels = { "karpenter.sh/nodepool": "gpu", "pulumi-comfyui/release": karpenter.id };
    expect(karpenter.selector).toEqual({ zone: "a", ...labels });
    expect((await selectorOf(undefined, "d")).selector).toEqual({ zone: "a" });
    const { releases } = await records.required();
    expect(releases.map(({ nodes }) => nodes)).toEqual([undefined, undefined, undefined]);
  });

  test.each([
    ["a toleration of something else", [{ key: "team", operator: "Exists" }], true],
    ["one of a value", [{ key: "nvidia.com/gpu", operator: "Equal", value: "true" }], true],
    ["one of all keys", [{ operator: "Exists" }], false],
  ])("tolerate the taint of GPUs beside %s", async (_, tolerations, added) => {
    const pod = { image: "registry/comfyui:1", tolerations };
    const { outputs } = await makeRelease({ ...perRelease, pod });
    const more = added ? [{ key: "nvidia.com/gpu", operator: "Exists" }] : [];
    expect(outputs.settings.tolerations).toEqual([...tolerations, ...more]);
  });

  test("of other machines are another release: the one that was not confirmed is not adopted", async () => {
    const first = await makeRelease(perRelease);
    expect((await makeRelease(perRelease)).id).toBe(first.id);
    const other = { placement: { ...perRelease.placement, machine: "ffff0000" } };
    expect((await makeRelease(other)).id).not.toBe(first.id);
    expect(clusterRelease.replaceOn).toContain("placement");
  });
});

test("a release warns where Karpenter's NodePool may not be looked at", async () => {
  const inputs = { ...releaseInputs({ placement: { kind: "karpenter", nodePool: "gpu" } }) };
  const restricted = { ...inputs, kubeconfig: server.kubeconfig("nobody") };
  await clusterRelease.check?.(restricted, null, context);
  expect(warned).toEqual([
    expect.stringMatching(/NodePool "gpu" cannot be looked at.*pulumi-comfyui\/release, operator: Exists/),
  ]);
});

describe("a gate over nodes of the release's own", () => {
  const gate = (release: string, deployment: string, more: object = {}) =>
    clusterHealthGate.schema.parse({
      ...{ ...place, release, deployment, count: 1, timeout: "1s", nodes: 1 },
      ...more,
    }) as unknown as Parameters<typeof clusterHealthGate.create>[0];

  const labelsOf = (release: string) => ({
    "app.kubernetes.io/name": "comfyui",
    "app.kubernetes.io/instance": "studio",
    "app.kubernetes.io/component": "instance",
    "app.kubernetes.io/managed-by": "pulumi-comfyui",
    "pulumi-comfyui/release": release,
  });

  /** A Deployment with one proven pod on a node, if any. */
  async function deploy(release: string, node?: string): Promise<string> {
    const { apps, core, namespace } = cluster;
    const labels = labelsOf(release);
    const metadata = { name: `studio-${release}`, labels };
    const spec = { containers: [{ name: "comfyui", image: "c" }] };
    const rest = { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } };
    const made = await apps.createNamespacedDeployment({
      namespace,
      body: { metadata, spec: { replicas: 1, ...rest } },
    });
    const uid = made.metadata?.uid ?? "";
    if (node === undefined) return uid;
    const ownedBy = (kind: string, owning: string) => [
      { apiVersion: "apps/v1", kind, name: metadata.name, uid: owning, controller: true },
    ];
    const set = await apps.createNamespacedReplicaSet({
      namespace,
      body: {
        metadata: { ...metadata, ownerReferences: ownedBy("Deployment", uid) },
        spec: { replicas: 1, ...rest },
      },
    });
    const ownerReferences = ownedBy("ReplicaSet", set.metadata?.uid ?? "");
    const pod = {
      metadata: { ...metadata, name: `${metadata.name}-0`, ownerReferences },
      spec: { ...spec, nodeName: node },
    };
    const body = await core.createNamespacedPod({ namespace, body: pod });
    const conditions = [{ type: "Ready", status: "True" }];
    const status = { phase: "Running", conditions };
    await core.replaceNamespacedPodStatus({ name: pod.metadata.name, namespace, body: { ...body, status } });
    return uid;
  }

  test("gives them back when it fails, and those of nobody else", async () => {
    const { id } = await makeRelease(perRelease);
    const group = fake.addGroup("prod", `studio-${id}`, { maxSize: 1, desiredSize: 1 });
    const other = fake.addGroup("prod", "other", { maxSize: 1, desiredSize: 1 });
    const uid = await deploy(id);
    await expect(clusterHealthGate.create(gate(id, uid), context)).rejects.toThrow(`release ${id} is not healthy`);
    expect([group.size.desiredSize, other.size.desiredSize]).toEqual([0, 1]);
  });

  test("warns where it may not end those that are no longer needed", async () => {
    const { id } = await makeRelease(perRelease);
    fake.addGroup("prod", `studio-${id}`, { maxSize: 2, desiredSize: 2 });
    fake.faults.push({ action: "DescribeAutoScalingGroups", status: 403, code: "AccessDenied", message: "not you" });
    const uid = await deploy(id, "a-node");
    await clusterHealthGate.update(id, gate(id, uid), gate(id, uid, { timeout: "20s" }), context);
    expect(warned).toEqual([`nodes that ${id} no longer needs stay: AccessDenied: not you`]);
  });

  test("says what stays when they cannot be given back", async () => {
    const { id } = await makeRelease(perRelease);
    fake.addGroup("prod", `studio-${id}`, { maxSize: 1, desiredSize: 1 });
    fake.faults.push({
      action: "UpdateNodegroupConfig",
      status: 403,
      code: "AccessDeniedException",
      message: "not you",
    });
    const uid = await deploy(id);
    await expect(clusterHealthGate.create(gate(id, uid), context)).rejects.toThrow(
      /or nodes of its own, could not be taken away and stay: not you/,
    );
  });

  test("ends those that no instance is left on, once fewer are wanted", async () => {
    const { id } = await makeRelease(perRelease);
    const group = fake.addGroup("prod", `studio-${id}`, { maxSize: 2, desiredSize: 2 });
    const names = group.machines.map(({ id: machine }) => `${place.namespace}-${machine}`);
    for (const [index, name] of names.entries()) {
      const metadata = { name, labels: { "eks.amazonaws.com/nodegroup": group.name } };
      const providerID = `aws:///zone/${group.machines[index]?.id}`;
      await cluster.core.createNode({ body: { metadata, spec: { providerID } } });
    }
    const uid = await deploy(id, names[1]);
    const before = gate(id, uid, { count: 2, nodes: 2 });
    await clusterHealthGate.update(id, before, gate(id, uid, { timeout: "20s" }), context);
    expect(group.size.desiredSize).toBe(1);
    expect(
      fake.requests
        .filter(({ action }) => action.startsWith("Terminate"))
        .map(({ parameters }) => parameters.InstanceId),
    ).toEqual([names[0]?.replace(`${place.namespace}-`, "")]);
  });
});
