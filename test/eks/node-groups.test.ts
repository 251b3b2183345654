import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { NodeGroup } from "../../runtime/eks";
import {
  deleteNodeGroup,
  giveBack,
  giveBackForGood,
  nodeGroupOf,
  nodeGroupState,
  scaleUp,
  trim,
} from "../../runtime/eks";
import { type Cluster, connectCluster } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { FakeEks, type FakeNodeGroup, shortages } from "../support/fake-eks";

const cluster = "prod";
const name = "studio-r2-abcde";
const resource = "nvidia.com/gpu";

let server: ApiServer;
let kubernetes: Cluster;
let fake: FakeEks;
let group: NodeGroup;
let progress: string[];
let warnings: string[];

beforeAll(async () => {
  server = await ApiServer.start();
  kubernetes = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace: "default" });
});
afterAll(() => server.stop());

beforeEach(async () => {
  progress = [];
  warnings = [];
  fake = await FakeEks.start({
    launch: (made, machine) => join(made, machine.id),
    terminate: (_, { id }) => leave(id),
  });
  for (const [key, value] of Object.entries(fake.environment)) vi.stubEnv(key, value);
  group = await nodeGroupOf({ cluster, nodeGroup: name });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fake.launched();
  await fake.stop();
  await kubernetes.core.deleteCollectionNode({});
});

/** A machine becomes a node that takes instances. */
async function join(made: FakeNodeGroup, id: string, { gpus = 1, ready = true } = {}): Promise<void> {
  const machine = made.machines.find((each) => each.id === id);
  const metadata = { name: id, labels: { "eks.amazonaws.com/nodegroup": made.name } };
  const body = await kubernetes.core.createNode({
    body: { metadata, spec: { providerID: `aws:///eu-central-1a/${id}` } },
  });
  await kubernetes.core.replaceNodeStatus({
    name: id,
    body: {
      ...body,
      status: {
        allocatable: { [resource]: String(gpus) },
        capacity: { [resource]: String(gpus) },
        conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      },
    },
  });
  // The controller that takes this taint off runs nowhere here.
  const node = await kubernetes.core.readNode({ name: id });
  await kubernetes.core.replaceNode({ name: id, body: { ...node, spec: { ...node.spec, taints: [] } } });
  if (machine?.lifecycle === "Pending") machine.lifecycle = "InService";
}

async function leave(id: string): Promise<void> {
  await kubernetes.core.deleteNode({ name: id }).catch(() => undefined);
}

const watch = (signal = new AbortController().signal) => ({
  progress: (message: string) => void progress.push(message),
  warn: (message: string) => void warnings.push(message),
  signal,
  assertEngine: async () => {},
});

const up = (nodes: number, more: object = {}) =>
  scaleUp(group, {
    ...watch(),
    ...{ cluster: kubernetes, nodes, most: nodes, gpu: { resource, count: 1 }, timeout: 30_000 },
    ...more,
  });

const sizes = () =>
  fake.requests
    .filter(({ action }) => action === "UpdateNodegroupConfig")
    .map(({ parameters }) => parameters.scalingConfig);

describe("scaling a node group up", () => {
  test("asks EKS for the nodes and waits until they take instances", async () => {
    fake.addGroup(cluster, name);
    await up(2, { most: 5 });
    expect(sizes()).toEqual([{ minSize: 0, maxSize: 5, desiredSize: 2 }]);
    expect(await nodeGroupState(group)).toMatchObject({ desired: 2, most: 5 });
    expect(progress.at(-1)).toBe(`2 nodes of node group ${name} of the EKS cluster prod are ready`);
  });

  test("asks for nothing when they are there", async () => {
    fake.addGroup(cluster, name, { maxSize: 2, desiredSize: 2 });
    await up(2);
    expect(sizes()).toEqual([]);
  });

  test("never asks for fewer", async () => {
    fake.addGroup(cluster, name, { maxSize: 4, desiredSize: 3 });
    await up(2);
    expect(sizes()).toEqual([{ minSize: 0, maxSize: 3, desiredSize: 3 }]);
  });

  test("waits out an update that is under way, and one that comes in between", async () => {
    const made = fake.addGroup(cluster, name);
    Object.assign(made, { status: "UPDATING", busyLooks: 2 });
    fake.faults.push({ action: "UpdateNodegroupConfig", status: 409, code: "ResourceInUseException" });
    await up(1);
    expect(sizes()).toHaveLength(2);
    expect(progress.join("\n")).toContain("ResourceInUseException");
  });

  test("is tried again when requests are throttled", async () => {
    fake.addGroup(cluster, name);
    fake.faults.push({ action: "DescribeNodegroup", status: 429, code: "ThrottlingException", times: 2 });
    fake.faults.push({ action: "DescribeScalingActivities", status: 400, code: "Throttling" });
    await up(1);
    expect(sizes()).toHaveLength(1);
  });

  test("fails at once with EC2's words where a quota is in the way", async () => {
    fake.addGroup(cluster, name);
    fake.shortage = shortages.quota;
    await expect(up(1)).rejects.toThrow("your current vCPU limit of 8");
  });

  test("waits for capacity that is missing, and goes on when it comes", async () => {
    const made = fake.addGroup(cluster, name);
    fake.shortage = shortages.capacity;
    const { progress: tell } = watch();
    await up(1, {
      progress: (message: string) => {
        tell(message);
        if (!message.includes("sufficient g5.xlarge capacity")) return;
        fake.shortage = null;
        fake.reconcile(made);
      },
    });
    expect(progress.join("\n")).toContain("We currently do not have sufficient g5.xlarge capacity");
  });

  test("names the missing capacity at its deadline", async () => {
    fake.addGroup(cluster, name);
    fake.shortage = shortages.capacity;
    await expect(up(1, { timeout: 1_500 })).rejects.toThrow(
      /0 of 1 ready; We currently do not have sufficient g5\.xlarge/,
    );
  });

  test("says when something else has changed the size meanwhile", async () => {
    const made = fake.addGroup(cluster, name);
    fake.shortage = { message: "no machine for now" };
    const abort = new AbortController();
    const waiting = up(1, {
      signal: abort.signal,
      progress: (message: string) => {
        progress.push(message);
        made.activities = [];
        made.size.desiredSize = 0;
        if (message.includes("EKS is told to have 0 again")) abort.abort(new Error("seen"));
      },
    });
    await expect(waiting).rejects.toThrow("seen");
  });

  test("does not take an earlier attempt's failure for its own", async () => {
    const made = fake.addGroup(cluster, name);
    fake.note(made, "Failed", shortages.quota.message);
    made.issues.push({ code: "InstanceLimitExceeded", message: "an earlier one", resourceIds: [] });
    await up(1);
  });

  test("fails with EKS's reason where the group was never made, and where it refuses", async () => {
    const made = fake.addGroup(cluster, name);
    fake.faults.push({
      action: "UpdateNodegroupConfig",
      status: 403,
      code: "AccessDeniedException",
      message: "not you",
    });
    await expect(up(1)).rejects.toThrow("not you");
    made.status = "CREATE_FAILED";
    made.issues.push({ code: "Ec2SubnetNotFound", message: "subnet-1 is gone", resourceIds: [] });
    await expect(up(1)).rejects.toThrow("was not made: Ec2SubnetNotFound: subnet-1 is gone");
    fake.groups.clear();
    await expect(up(1)).rejects.toThrow("there is no node group studio-r2-abcde");
  });

  test("does not count nodes that are cordoned, not ready or without their GPUs", async () => {
    const made = fake.addGroup(cluster, name, { maxSize: 1, desiredSize: 1 });
    await fake.launched();
    fake.shortage = shortages.capacity;
    await join(made, "i-notready", { ready: false });
    await join(made, "i-nogpu", { gpus: 0 });
    await expect(up(2, { timeout: 1_200 })).rejects.toThrow(
      /1 of 2 ready.*i-nogpu offers no nvidia\.com\/gpu yet.*i-notready not ready yet/,
    );
  });

  test("stops with the engine and changes nothing more", async () => {
    fake.addGroup(cluster, name);
    const abort = new AbortController();
    const gone = new Error("the engine is gone");
    await expect(
      up(1, {
        signal: abort.signal,
        assertEngine: async () => {
          abort.abort(gone);
          throw gone;
        },
      }),
    ).rejects.toThrow("the engine is gone");
    expect(sizes()).toEqual([]);
  });

  test("relies on machines in service where nodes may not be listed, and says so", async () => {
    fake.addGroup(cluster, name);
    const restricted = await connectCluster({ kubeconfig: server.kubeconfig("nobody"), namespace: "default" });
    await up(1, { cluster: restricted });
    expect(warnings).toEqual([expect.stringContaining("may not be listed with these credentials")]);
  });
});

describe("giving nodes back", () => {
  test("leaves the group empty", async () => {
    const made = fake.addGroup(cluster, name, { maxSize: 3, desiredSize: 2 });
    await giveBackForGood(group, watch());
    expect(sizes()).toEqual([{ minSize: 0, maxSize: 3, desiredSize: 0 }]);
    expect(made.status).toBe("ACTIVE");
  });

  test("is done where there is no group, or one that was never made", async () => {
    await giveBack(group, watch());
    fake.addGroup(cluster, name).status = "CREATE_FAILED";
    await giveBack(group, watch());
    expect(sizes()).toEqual([]);
  });

  test("deletes a group once no change of it is under way", async () => {
    fake.addGroup(cluster, name, { maxSize: 3, desiredSize: 2 });
    await deleteNodeGroup({ cluster, nodeGroup: name }, watch());
    expect(fake.groups.size).toBe(0);
    await deleteNodeGroup({ cluster, nodeGroup: name }, watch());
  });
});

describe("trimming", () => {
  const labels = {
    "app.kubernetes.io/name": "comfyui",
    "app.kubernetes.io/instance": "studio",
    "app.kubernetes.io/component": "instance",
    "app.kubernetes.io/managed-by": "pulumi-comfyui",
    "pulumi-comfyui/release": "r2-abcde",
  };
  const trimTo = (nodes: number) =>
    trim(group, { ...watch(), cluster: kubernetes, service: "studio", release: "r2-abcde", nodes });

  test("ends exactly the machines without a pod of the release", async () => {
    const made = fake.addGroup(cluster, name);
    await up(3);
    const [first, second, third] = made.machines.map(({ id }) => id);
    const pod = {
      metadata: { name: "held", labels },
      spec: { nodeName: second ?? "", containers: [{ name: "c", image: "c" }] },
    };
    await kubernetes.core.createNamespacedPod({ namespace: "default", body: pod });
    expect(await trimTo(1)).toBe(2);
    const ended = fake.requests.filter(({ action }) => action.startsWith("Terminate"));
    expect(ended.map(({ parameters }) => parameters.InstanceId)).toEqual([first, third]);
    expect(ended.map(({ parameters }) => parameters.ShouldDecrementDesiredCapacity)).toEqual(["true", "true"]);
    expect(made.size.desiredSize).toBe(1);
    expect(await trimTo(1)).toBe(0);
    await kubernetes.core.deleteNamespacedPod({ name: "held", namespace: "default", gracePeriodSeconds: 0 });
  });

  test("takes back what was wanted and never came", async () => {
    const made = fake.addGroup(cluster, name);
    await up(1);
    fake.shortage = shortages.capacity;
    Object.assign(made.size, { desiredSize: 3, maxSize: 3 });
    expect(await trimTo(1)).toBe(0);
    expect(made.size.desiredSize).toBe(1);
  });
});
