import { expect, test } from "vitest";
import { instanceOfPod, podSchema } from "../../../runtime/gateway/kubernetes/pod-target";

const started = "2026-01-01T00:01:00Z";

/** A pod of `studio`'s release `r3-x7k2q`, Ready, with what a test changes. */
function pod({ metadata = {}, status = {} }: { metadata?: object; status?: object } = {}) {
  return podSchema.parse({
    metadata: {
      name: "studio-r3-x7k2q-6c8f9d7b5-abcde",
      uid: "1",
      labels: { "pulumi-comfyui/release": "r3-x7k2q" },
      ownerReferences: [{ kind: "ReplicaSet", name: "studio-r3-x7k2q-6c8f9d7b5", controller: true }],
      ...metadata,
    },
    status: {
      phase: "Running",
      podIP: "10.1.2.3",
      conditions: [{ type: "Ready", status: "True", lastTransitionTime: "2026-01-01T00:02:00Z" }],
      containerStatuses: [{ name: "comfyui", restartCount: 2, state: { running: { startedAt: started } } }],
      ...status,
    },
  });
}

const notReady = (lastTransitionTime: string) => ({
  conditions: [{ type: "Ready", status: "False", lastTransitionTime }],
});
const none = new Set<string>();

test("a pod that is Ready is a ready instance at its address, named by its release and what follows in its name", () => {
  expect(instanceOfPod(pod(), "studio", none)).toMatchObject({
    id: "r3-x7k2q/6c8f9d7b5-abcde",
    release: "r3-x7k2q",
    url: "http://10.1.2.3:8188",
    state: "ready",
    epoch: 2,
  });
  expect(instanceOfPod(pod({ status: { podIP: "fd00::1" } }), "studio", none)?.url).toBe("http://[fd00::1]:8188");
});

test.each([
  ["is being deleted", pod({ metadata: { deletionTimestamp: started } }), none, "draining"],
  ["belongs to a release that drains", pod(), new Set(["r3-x7k2q"]), "draining"],
  ["was Ready since ComfyUI started", pod({ status: notReady("2026-01-01T00:03:00Z") }), none, "unready"],
])("a pod that %s is there, but gets no new prompts", (_, given, draining, state) => {
  expect(instanceOfPod(given, "studio", draining)?.state).toBe(state);
});

test.each([
  ["has not been Ready since ComfyUI started", pod({ status: notReady("2026-01-01T00:00:00Z") })],
  ["has failed", pod({ status: { phase: "Failed" } })],
  ["has no address", pod({ status: { podIP: "" } })],
  ["has no ComfyUI that runs", pod({ status: { containerStatuses: [{ name: "comfyui", restartCount: 2 }] } })],
  ["has no status", podSchema.parse({ metadata: { name: "x", uid: "1", labels: pod().metadata.labels } })],
  ["nothing owns", pod({ metadata: { ownerReferences: [] } })],
  [
    "belongs to another Deployment",
    pod({
      metadata: { ownerReferences: [{ kind: "ReplicaSet", name: "studio-r3-x7k2q-test-6c8f9d7b5", controller: true }] },
    }),
  ],
])("a pod that %s is no instance", (_, given) => {
  expect(instanceOfPod(given, "studio", none)).toBeNull();
});

/** As the cluster leaves a pod that a taint evicts: of a node that does not answer, nobody but its controller says anything. */
const evicted = (ready: string, containersReady: string) =>
  pod({
    metadata: { deletionTimestamp: started },
    status: {
      conditions: [
        { type: "DisruptionTarget", status: "True", reason: "DeletionByTaintManager" },
        { type: "Ready", status: ready, lastTransitionTime: "2026-01-01T00:03:00Z" },
        { type: "ContainersReady", status: containersReady },
      ],
    },
  });

test("a pod that the cluster has given up with its node is no instance any more", () => {
  expect(instanceOfPod(evicted("False", "True"), "studio", none)).toBeNull();
});

test("a pod that a taint takes off a node that lives drains, whether it is Ready or not", () => {
  expect(instanceOfPod(evicted("True", "True"), "studio", none)?.state).toBe("draining");
  expect(instanceOfPod(evicted("False", "False"), "studio", none)?.state).toBe("draining");
});
