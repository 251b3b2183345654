import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Context } from "../../providers/context";
import { nodeCapacity } from "../../providers/eks/node-capacity";
import { engineMarker } from "../../providers/unknown";
import { recordRelease, withEvent, withRelease } from "../../runtime/deployment";
import { type Cluster, connectCluster, ServiceRecords } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { FakeEks, type FakeNodeGroup, shortages } from "../support/fake-eks";
import { owner, settings, specFor } from "../support/supervisor-platform";

let server: ApiServer;
let fake: FakeEks;
let cluster: Cluster;
let records: ServiceRecords;
let release: string;
let group: FakeNodeGroup;
let said: { readonly kind: string; readonly message: string }[];
let namespace: string;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  said = [];
  fake = await FakeEks.start();
  for (const [key, value] of Object.entries(fake.environment)) vi.stubEnv(key, value);
  namespace = `test-${randomBytes(4).toString("hex")}`;
  cluster = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace });
  await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
  records = new ServiceRecords(cluster, "studio");
  await records.claim(owner, settings, false);
  await records.change((record) => {
    const made = recordRelease(record, owner, specFor("s3://bucket/p#sha256:".padEnd(85, "1")), "2026-01-01T00:00:00Z");
    release = made.release.id;
    return made.service;
  });
  group = fake.addGroup("prod", `studio-${release}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fake.stop();
});

const context = (more: Partial<Context> = {}): Context => ({
  info: (message) => void said.push({ kind: "info", message }),
  warn: (message) => void said.push({ kind: "warn", message }),
  progress: (message) => void said.push({ kind: "progress", message }),
  assertEngine: async () => {},
  signal: new AbortController().signal,
  ...more,
});

type Inputs = Parameters<typeof nodeCapacity.create>[0];

function inputs(more: object = {}): Inputs {
  return nodeCapacity.schema.parse({
    ...{ kubeconfig: server.kubeconfig("admin"), namespace, service: "studio", displayUrn: "", release },
    nodeGroup: { cluster: "prod", nodeGroup: `studio-${release}` },
    ...{ count: 2, least: 2, most: 2, gpu: { count: 0 }, machine: { instanceTypes: ["g5.xlarge"] }, timeout: "20s" },
    ...more,
  }) as unknown as Inputs;
}

/** Nodes of the machines that run. */
async function nodes(): Promise<void> {
  for (const { id } of group.machines) {
    const name = `${namespace}-${id}`;
    const metadata = { name, labels: { "eks.amazonaws.com/nodegroup": group.name } };
    const body = await cluster.core.createNode({ body: { metadata, spec: { providerID: `aws:///zone/${id}` } } });
    await cluster.core.replaceNodeStatus({
      name,
      body: { ...body, status: { conditions: [{ type: "Ready", status: "True" }] } },
    });
    const node = await cluster.core.readNode({ name });
    await cluster.core.replaceNode({ name, body: { ...node, spec: { ...node.spec, taints: [] } } });
  }
}

/** Has machines become nodes as soon as they are asked for. */
async function createWithNodes(wanted: Inputs) {
  const made = nodeCapacity.create(wanted, context());
  await vi.waitFor(() => expect(group.machines).toHaveLength(2), { timeout: 10_000 });
  await nodes();
  return made;
}

const eventsOf = async () => (await records.required()).releases[0]?.events ?? [];
const stateOf = (wanted: Inputs) => ({ ...wanted, nodes: 2 });

describe("the nodes of a release", () => {
  test("are there when the creation ends, and are known by the release", async () => {
    expect(await createWithNodes(inputs())).toEqual({ id: release, outputs: { nodes: 2 } });
    expect(group.size).toEqual({ minSize: 0, maxSize: 2, desiredSize: 2 });
    expect(await nodeCapacity.live?.(release, stateOf(inputs()))).toEqual({ changes: false, replaces: [] });
  });

  test.each([
    ["as many GPUs as a node has", { gpu: { count: 1 }, machine: { instanceTypes: ["g5.12xlarge"] }, count: 5 }, 2],
    ["half of a node's GPUs", { gpu: { count: 2 }, machine: { instanceTypes: ["g5.12xlarge"] }, count: 3 }, 2],
    ["no GPU", { gpu: { count: 0 }, count: 3 }, 3],
    ["no GPU and a stated number", { machine: { instanceTypes: ["g5.xlarge"], instancesPerNode: 4 }, count: 5 }, 2],
    [
      "GPUs of a type that is not known",
      { gpu: { count: 2 }, machine: { instanceTypes: ["x"], gpusPerNode: 8 }, count: 5 },
      2,
    ],
  ])("are as many as instances need: %s", async (_, more, wanted) => {
    fake.faults.push({ action: "UpdateNodegroupConfig", status: 400, code: "InvalidParameterException" });
    await expect(nodeCapacity.create(inputs(more), context())).rejects.toThrow(`${wanted} nodes`);
  });

  test("are all given back when a quota is in the way, and the release has failed with EC2's reason", async () => {
    fake.shortage = shortages.quota;
    await expect(nodeCapacity.create(inputs(), context())).rejects.toThrow(
      /does not get its 2 nodes: You have requested more vCPU capacity.*the service has no release that serves/,
    );
    expect(group.size.desiredSize).toBe(0);
    expect((await eventsOf()).at(-1)).toMatchObject({ event: "failed", detail: shortages.quota.message });
  });

  test("are given back at the deadline, and what serves is named", async () => {
    await records.changeTarget(() => ({ release: "r0-other", revision: 0, draining: [] }));
    fake.shortage = shortages.capacity;
    await expect(nodeCapacity.create(inputs({ timeout: "1s" }), context())).rejects.toThrow(
      /sufficient g5\.xlarge capacity.*traffic stays on r0-other/,
    );
    expect(group.size.desiredSize).toBe(0);
  });

  test("are scaled again after they were given back", async () => {
    await createWithNodes(inputs());
    group.size.desiredSize = 0;
    expect(await nodeCapacity.live?.(release, stateOf(inputs()))).toEqual({ changes: true, replaces: [] });
    await nodeCapacity.update(release, stateOf(inputs()), inputs(), context());
    expect(group.size.desiredSize).toBe(2);
  });

  test("are left to an autoscaler within its bounds, and begin again below them", async () => {
    const scaled = (more: object = {}) => inputs({ count: 2, least: 1, most: 6, ...more });
    await createWithNodes(scaled());
    group.size.desiredSize = 1;
    expect(await nodeCapacity.live?.(release, stateOf(scaled()))).toEqual({ changes: false, replaces: [] });
    await nodeCapacity.update(release, stateOf(scaled()), scaled({ most: 8 }), context());
    expect(group.size).toEqual({ minSize: 0, maxSize: 8, desiredSize: 1 });
    group.size.desiredSize = 0;
    expect(await nodeCapacity.live?.(release, stateOf(scaled()))).toEqual({ changes: true, replaces: [] });
    await nodeCapacity.update(release, stateOf(scaled()), scaled(), context());
    expect(group.size.desiredSize).toBe(2);
  });

  test("stay where the release serves and no more come; what came in vain goes", async () => {
    await createWithNodes(inputs());
    await records.change((record) => {
      const [known] = record.releases;
      return known === undefined ? record : withRelease(record, withEvent(known, "serving", "2026-01-01T00:00:00Z"));
    });
    const labels = {
      "app.kubernetes.io/name": "comfyui",
      "app.kubernetes.io/instance": "studio",
      "app.kubernetes.io/component": "instance",
      "app.kubernetes.io/managed-by": "pulumi-comfyui",
      "pulumi-comfyui/release": release,
    };
    for (const { id } of group.machines) {
      const spec = { nodeName: `${namespace}-${id}`, containers: [{ name: "c", image: "c" }] };
      await cluster.core.createNamespacedPod({ namespace, body: { metadata: { name: id, labels }, spec } });
    }
    fake.shortage = shortages.quota;
    const more = inputs({ count: 4, least: 4, most: 4 });
    await expect(nodeCapacity.update(release, stateOf(inputs()), more, context())).rejects.toThrow("4 nodes");
    expect(group.size.desiredSize).toBe(2);
    expect(group.machines).toHaveLength(2);
  });

  test("are not touched by a process whose engine is gone", async () => {
    const gone = new Error("the engine is gone");
    const assertEngine = async () => {
      throw gone;
    };
    await expect(nodeCapacity.create(inputs(), context({ assertEngine }))).rejects.toBe(gone);
    const abort = new AbortController();
    fake.shortage = shortages.capacity;
    const stopped = nodeCapacity.create(inputs(), context({ signal: abort.signal }));
    await vi.waitFor(() => expect(group.size.desiredSize).toBe(2), { timeout: 10_000 });
    abort.abort(gone);
    await expect(stopped).rejects.toBe(gone);
    expect(group.size.desiredSize).toBe(2);
    expect((await eventsOf()).map(({ event }) => event)).toEqual(["created"]);
  });

  test("go with the resource, before the group does", async () => {
    await createWithNodes(inputs());
    await nodeCapacity.delete(release, stateOf(inputs()), context());
    expect(group).toMatchObject({ status: "ACTIVE", size: { desiredSize: 0 } });
    fake.groups.clear();
    await nodeCapacity.delete(release, stateOf(inputs()), context());
    expect(await nodeCapacity.read(release, stateOf(inputs()))).toBeNull();
  });
});

describe("a preview", () => {
  const preview = async (more: object = {}, olds: Inputs | null = null) => {
    const checked = await nodeCapacity.check?.({ ...inputs(more), release: engineMarker }, olds, context());
    return { problems: checked?.problems, said: said.map(({ message }) => message) };
  };

  test("says what nodes and what a rotation cost while both releases stand", async () => {
    fake.prices.set("g5.xlarge", 1.006);
    fake.quotas.set("L-DB2E81BA", 16);
    expect(await preview({ count: 1 })).toEqual({
      problems: [],
      said: ["1 node of g5.xlarge will be started; 1 GPU (A10G), 4 vCPUs; $1.01 an hour"],
    });
    said = [];
    expect(await preview({}, inputs())).toEqual({
      problems: [],
      said: [
        "2 nodes of g5.xlarge will be started beside the 2 that serve, and both stand until those have drained; 2 GPUs (A10G), 8 vCPUs; $2.01 an hour",
      ],
    });
    const asked = fake.requests.find(({ action }) => action === "GetProducts")?.parameters;
    expect(asked).toMatchObject({ ServiceCode: "AmazonEC2" });
    expect(asked?.Filters).toContainEqual({ Type: "TERM_MATCH", Field: "regionCode", Value: "eu-central-1" });
  });

  test("refuses what the account's quota has no room for, by its code", async () => {
    fake.quotas.set("L-DB2E81BA", 12);
    const { problems } = await preview({}, inputs());
    expect(problems).toEqual([
      {
        path: "placement",
        reason:
          "2 of g5.xlarge beside the 2 that stand need 16 vCPUs, and the account's quota L-DB2E81BA (Running On-Demand G and VT instances) is 12: have it raised in Service Quotas, or use fewer or smaller nodes",
      },
    ]);
  });

  test("notes what may not be asked, and refuses nothing for it", async () => {
    fake.faults.push({ action: "GetProducts", status: 400, code: "AccessDeniedException", message: "no prices" });
    fake.faults.push({ action: "GetServiceQuota", status: 400, code: "AccessDeniedException", message: "no quotas" });
    const { problems, said: told } = await preview();
    expect(problems).toEqual([]);
    expect(told[0]).toContain("prices cannot be asked: AccessDeniedException: no prices");
    expect(told[0]).toContain("quotas cannot be asked: AccessDeniedException: no quotas");
  });

  test("of a range says what comes at most, and asks the quota for what comes in any case", async () => {
    fake.quotas.set("L-DB2E81BA", 8);
    const { problems, said: told } = await preview({ count: 2, least: 2, most: 6 });
    expect(problems).toEqual([]);
    expect(told[0]).toMatch(/^2 nodes/);
    said = [];
    const unknown = {
      ...inputs({ least: 2, most: 6 }),
      release: engineMarker,
      count: engineMarker as unknown as number,
    };
    expect((await nodeCapacity.check?.(unknown, null, context()))?.problems).toEqual([]);
    expect(said[0]?.message).toMatch(/^at most 6 nodes/);
  });

  test("says nothing where the release stays", async () => {
    await nodeCapacity.check?.(inputs(), inputs(), context());
    expect([said, fake.requests]).toEqual([[], []]);
  });
});
