import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { describe, expect, test } from "vitest";
import { disruptionOf, standingOf, unschedulable } from "../../runtime/kubernetes/pod-phase";

interface Given {
  readonly nodeCache?: Partial<V1ContainerStatus>;
  readonly agent?: Partial<V1ContainerStatus>;
  readonly comfyui?: Partial<V1ContainerStatus>;
  readonly node?: string;
  readonly conditions?: NonNullable<V1Pod["status"]>["conditions"];
  readonly deleted?: boolean;
  readonly status?: V1Pod["status"];
}

const container = (name: string, given: Partial<V1ContainerStatus>): V1ContainerStatus => ({
  name,
  image: `registry/${name}:1`,
  imageID: "",
  ready: false,
  restartCount: 0,
  ...given,
});

function pod({ nodeCache, agent, comfyui, node, conditions, deleted, status }: Given): V1Pod {
  return {
    metadata: { name: "studio-r1-abcde-x-y", ...(deleted ? { deletionTimestamp: new Date() } : {}) },
    spec: { containers: [], ...(node === undefined ? {} : { nodeName: node }) },
    status: {
      ...(conditions === undefined ? {} : { conditions }),
      initContainerStatuses: [
        ...(nodeCache === undefined ? [] : [container("node-cache", nodeCache)]),
        ...(agent === undefined ? [] : [container("agent", agent)]),
      ],
      containerStatuses: comfyui === undefined ? [] : [container("comfyui", comfyui)],
      ...status,
    },
  };
}

const running = { state: { running: {} } };
const ready = [{ type: "Ready", status: "True" }];

describe("a pod's status tells the phase of its instance", () => {
  test("waiting, with the scheduler's reason, while no node takes it", () => {
    const message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.";
    const waiting = pod({ conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }] });
    expect(standingOf(waiting)).toEqual({ phase: "waiting", detail: `no node for it: ${message}`, fault: null });
    expect(unschedulable(waiting)).toBe(message);
    expect(unschedulable(pod({ node: "gpu-1" }))).toBeNull();
  });

  test("waiting while an image is pulled", () => {
    const agent = { state: { waiting: { reason: "PodInitializing" } } };
    expect(standingOf(pod({ node: "n", agent }))).toMatchObject({ phase: "waiting", detail: "PodInitializing" });
  });

  test("waiting for what comes before the agent, where something does", () => {
    const agent = { state: { waiting: { reason: "PodInitializing" } } };
    const waiting = { state: { waiting: { reason: "ContainerCreating", message: "mounting" } } };
    expect(standingOf(pod({ node: "n", nodeCache: waiting, agent }))).toMatchObject({
      phase: "waiting",
      detail: "ContainerCreating: mounting",
    });
    const done = { state: { terminated: { exitCode: 0, reason: "Completed" } } };
    expect(standingOf(pod({ node: "n", nodeCache: done, agent })).detail).toBe("PodInitializing");
    expect(standingOf(pod({ node: "n", nodeCache: done, agent: running })).phase).toBe("restoring");
  });

  test("restoring until the agent has started, booting until the pod is ready, then proven", () => {
    expect(standingOf(pod({ node: "n", agent: running })).phase).toBe("restoring");
    const started = { ...running, started: true };
    expect(standingOf(pod({ node: "n", agent: started, comfyui: running })).phase).toBe("booting");
    expect(standingOf(pod({ node: "n", agent: started, comfyui: running, conditions: ready })).phase).toBe("proven");
  });

  test("draining once it is deleted, also while it still says that it is ready", () => {
    expect(standingOf(pod({ node: "n", conditions: ready, deleted: true })).phase).toBe("draining");
  });
});

describe("a pod's status tells what waiting will not mend", () => {
  test("a pod that was evicted for using more than it may, with the kubelet's reason", () => {
    for (const message of [
      "Pod ephemeral local storage usage exceeds the total limit of containers 100Mi. ",
      'Container comfyui exceeded its local ephemeral storage limit "100Mi". ',
      'Usage of EmptyDir volume "launcher" exceeds the limit "64Mi". ',
    ]) {
      const { phase, fault } = standingOf(pod({ node: "n", status: { phase: "Failed", reason: "Evicted", message } }));
      expect(phase).toBe("failed");
      expect(fault).toMatchObject({
        kind: "certain",
        reason: `the pod has ended (Evicted: ${message.trim()})`,
      });
    }
  });

  test("an image that cannot be pulled, which may still come", () => {
    const agent = { state: { waiting: { reason: "ImagePullBackOff", message: "Back-off pulling image" } } };
    const { fault } = standingOf(pod({ node: "n", agent }));
    expect(fault?.kind).toBe("likely");
    expect(fault?.reason).toContain("ImagePullBackOff");
    expect(fault?.reason).toContain("registry/agent:1");
  });

  test("an image that cannot be pulled for what comes before the agent, which is then not tried", () => {
    const agent = { state: { waiting: { reason: "PodInitializing" } } };
    const nodeCache = { state: { waiting: { reason: "ErrImagePull", message: "not found" } } };
    expect(standingOf(pod({ node: "n", nodeCache, agent })).fault).toMatchObject({
      kind: "likely",
      reason: expect.stringContaining("container node-cache cannot start: ErrImagePull: not found"),
    });
  });

  test("a name that is no image's, which never comes", () => {
    const comfyui = { state: { waiting: { reason: "InvalidImageName" } } };
    const agent = { ...running, started: true };
    expect(standingOf(pod({ node: "n", agent, comfyui })).fault?.kind).toBe("certain");
  });

  test("the agent's own evidence, from the run before the one that waits", () => {
    const evidence = {
      phase: "importing",
      reason: "plugin x: no module named y",
      plugin: "x",
      traceback: "Trace",
      logTail: ["a"],
    };
    const lastState = { terminated: { exitCode: 70, message: JSON.stringify(evidence) } };
    const { phase, fault } = standingOf(pod({ node: "n", agent: { ...running, lastState } }));
    expect(phase).toBe("failed");
    expect(fault).toEqual({ ...evidence, kind: "certain" });
  });

  test("a termination message that is no evidence is told as it is", () => {
    const lastState = { terminated: { exitCode: 70, message: "{cut" } };
    expect(standingOf(pod({ node: "n", agent: { ...running, lastState } })).fault?.reason).toBe("{cut");
  });

  test("an agent that ended in another way is no fault: the kubelet starts it again", () => {
    const lastState = { terminated: { exitCode: 137, reason: "OOMKilled" } };
    expect(standingOf(pod({ node: "n", agent: { ...running, lastState } })).fault).toBeNull();
  });
});

describe("a pod that the cluster takes away through no fault of its own is replaced", () => {
  const disruption = (reason: string) => [{ type: "DisruptionTarget", status: "True", reason }];

  test("by the kubelet of a node in need, which is no fault of the release", () => {
    const status = { phase: "Failed", reason: "Evicted", message: "The node was low on resource: memory." };
    expect(standingOf(pod({ node: "n", status })).fault).toMatchObject({
      kind: "replaced",
      reason: expect.stringContaining("Evicted: The node was low on resource: memory."),
    });
  });

  test("by an eviction, a taint or a preemption, which its text tells while it goes", () => {
    const evicted = pod({ node: "n", deleted: true, conditions: disruption("EvictionByEvictionAPI") });
    expect(standingOf(evicted)).toEqual({
      phase: "draining",
      detail: "evicted from its node through the API; it finishes its work",
      fault: null,
    });
    expect(disruptionOf(evicted)).toBe("evicted from its node through the API");
    expect(disruptionOf(pod({ node: "n", deleted: true, conditions: disruption("SomethingNew") }))).toBe(
      "SomethingNew",
    );
    expect(disruptionOf(pod({ node: "n", deleted: true }))).toBeNull();
  });
});
