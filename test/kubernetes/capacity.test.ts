import type { V1Node, V1Pod } from "@kubernetes/client-node";
import { describe, expect, test } from "vitest";
import { gpuCapacity, shortage } from "../../runtime/kubernetes/capacity";

const resource = "nvidia.com/gpu";
const taint = { key: resource, value: "present", effect: "NoSchedule" };
const settings = {
  gpu: { resource, count: 1 },
  nodeSelector: {},
  tolerations: [{ key: resource, operator: "Exists" as const, effect: "NoSchedule" as const }],
};

function node(name: string, gpus: number, more: Partial<NonNullable<V1Node["spec"]>> = {}, labels = {}): V1Node {
  return {
    metadata: { name, labels },
    spec: more,
    status: {
      allocatable: gpus === 0 ? {} : { [resource]: String(gpus) },
      conditions: [{ type: "Ready", status: "True" }],
    },
  };
}

function pod(nodeName: string, gpus: number, phase = "Running"): V1Pod {
  const resources = { limits: { [resource]: String(gpus) } };
  return { spec: { nodeName, containers: [{ name: "comfyui", resources }] }, status: { phase } };
}

describe("the GPUs that a cluster has for a pod", () => {
  test("are those of the nodes that take it, less what pods on them have", () => {
    const nodes = [node("a", 4, { taints: [taint] }), node("b", 2), node("cpu", 0)];
    const pods = [pod("a", 1), pod("a", 2), pod("b", 1, "Succeeded"), pod("elsewhere", 1)];
    expect(gpuCapacity(settings, nodes, pods)).toEqual({ resource, nodes: 3, allocatable: 6, free: 3 });
  });

  test.each([
    ["is cordoned", node("a", 4, { unschedulable: true })],
    ["has a taint that is not tolerated", node("a", 4, { taints: [{ key: "team", effect: "NoSchedule" }] })],
    ["lacks a label", node("a", 4, {}, { pool: "cpu" })],
    ["is not ready", { ...node("a", 4), status: { allocatable: { [resource]: "4" }, conditions: [] } }],
  ])("are none on a node that %s", (_, unfit) => {
    const selective = { ...settings, nodeSelector: { pool: "gpu" } };
    expect(gpuCapacity(selective, [unfit], []).free).toBe(0);
  });

  test("are none of one whose taint has another value than the one tolerated", () => {
    const equal = { ...settings, tolerations: [{ key: "pool", value: "a" }] };
    const tainted = (value: string) => node("n", 1, { taints: [{ key: "pool", value, effect: "NoSchedule" }] });
    expect(gpuCapacity(equal, [tainted("b")], []).free).toBe(0);
    expect(gpuCapacity(equal, [tainted("a")], []).free).toBe(1);
  });
});

describe("a shortage", () => {
  test("names how many are needed and how many are free", () => {
    const text = shortage({ resource, nodes: 2, allocatable: 4, free: 1 }, 2, 2);
    expect(text).toContain("2 instances need 4 nvidia.com/gpu, 1 is free on the 2 nodes");
  });

  test("is none when enough are free, or no GPU is asked for", () => {
    expect(shortage({ resource, nodes: 1, allocatable: 4, free: 4 }, 2, 2)).toBeNull();
    expect(shortage({ resource, nodes: 1, allocatable: 0, free: 0 }, 2, 0)).toBeNull();
  });
});
