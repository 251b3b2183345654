import type { V1ContainerState, V1Job, V1Pod, V1PodStatus } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { packingOutcome } from "../../runtime/kubernetes/packing-outcome";

const job: V1Job = {
  metadata: { name: "studio-pack-1", uid: "1" },
  spec: { activeDeadlineSeconds: 3600, template: {} },
};

function pod(state: V1ContainerState | undefined, status: V1PodStatus = {}, metadata: V1Pod["metadata"] = {}): V1Pod {
  const container = { name: "agent", image: "node", imageID: "", ready: false, restartCount: 0 };
  const containerStatuses = state === undefined ? [] : [{ ...container, state }];
  return { metadata: { name: "studio-pack-1-x", ...metadata }, status: { containerStatuses, ...status } };
}

const ended = (exitCode: number, message: unknown, reason = "Error"): V1ContainerState => ({
  terminated: { exitCode, reason, message: typeof message === "string" ? message : JSON.stringify(message) },
});
const disrupted = [
  { type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI", message: "Eviction API" },
];

/** After so many milliseconds in whatever stage it is. */
const judge = (seen: { job?: V1Job | null; pod?: V1Pod | null }, lasting = 0) =>
  packingOutcome({ job: job, pod: null, ...seen }, () => lasting);

describe("a packing Job", () => {
  it("has packed what its agent's message names", () => {
    const packed = { reference: "s3://bucket/studio#sha256:0", bytesAdded: 3, bytesStored: 2 };
    expect(judge({ pod: pod(ended(0, packed, "Completed")) })).toEqual({ kind: "packed", ...packed });
  });

  it("has failed where its agent names nothing, whatever it ended with", () => {
    expect(judge({ pod: pod(ended(0, "")) })).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/without saying/),
    });
    expect(judge({ pod: pod(ended(1, "Error: no")) })).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/exit code 1/),
    });
  });

  it("has failed for the reason that its agent names", () => {
    const seen = pod(ended(70, { reason: "the bucket is another's" }));
    expect(judge({ pod: seen })).toEqual({ kind: "failed", reason: "the bucket is another's", pod: seen });
    expect(judge({ pod: pod(ended(75, { reason: "no route" })) })).toMatchObject({
      kind: "failed",
      reason: "no route",
    });
  });

  it("has failed where it took too much memory or time, and says what to raise", () => {
    expect(judge({ pod: pod(ended(137, "", "OOMKilled")) })).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/packing\.resources\.limits\.memory/),
    });
    const conditions = [{ type: "Failed", status: "True", reason: "DeadlineExceeded" }];
    expect(judge({ job: { ...job, status: { conditions } } })).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/1h.*packing\.timeout/),
    });
  });

  it.each([
    ["it was evicted while it ran", { pod: pod({ running: {} }, { conditions: disrupted }) }],
    ["it was evicted, and ended by it", { pod: pod(ended(143, { reason: "told to end" }), { conditions: disrupted }) }],
    ["its container was told to end", { pod: pod(ended(143, { reason: "told to end" })) }],
    ["its node ran out of something", { pod: pod(undefined, { phase: "Failed", reason: "Evicted", message: "disk" }) }],
    ["its pod was deleted", { pod: pod({ running: {} }, {}, { deletionTimestamp: new Date() }) }],
    ["its Job is gone", { job: null }],
    ["its Job is being removed", { job: { ...job, metadata: { deletionTimestamp: new Date() } } }],
    ["its pod is gone", { job: { ...job, status: { conditions: [{ type: "Failed", status: "True" }] } } }],
  ])("is lost where %s", (_, seen) => {
    expect(judge(seen)).toMatchObject({ kind: "lost" });
  });

  it("has packed also where its pod is on its way out by then", () => {
    const packed = ended(0, { reference: "s3://bucket/studio#sha256:0" }, "Completed");
    expect(judge({ pod: pod(packed, { conditions: disrupted }) })).toMatchObject({ kind: "packed" });
  });

  it("goes on while its pod is made, scheduled and started, for as long as that may take", () => {
    expect(judge({})).toMatchObject({ kind: "going", stage: "without a pod" });
    expect(judge({}, 60_000)).toMatchObject({ kind: "lost" });
    const conditions = [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/3 nodes" }];
    const unschedulable = pod(undefined, { phase: "Pending", conditions });
    expect(judge({ pod: unschedulable }, 60_000)).toMatchObject({
      kind: "going",
      text: expect.stringMatching(/no node takes its pod: 0\/3/),
    });
    expect(judge({ pod: unschedulable }, 900_000)).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/15m.*0\/3 nodes/),
    });
    expect(judge({ pod: pod({ running: {} }) }, 900_000)).toMatchObject({ kind: "going", stage: "packing" });
  });

  it("has failed where its container cannot be started, at once or after a while", () => {
    const waiting = (reason: string) => pod({ waiting: { reason, message: "because" } });
    expect(judge({ pod: waiting("InvalidImageName") })).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/InvalidImageName/),
    });
    expect(judge({ pod: waiting("ImagePullBackOff") })).toMatchObject({ kind: "going", stage: "stuck" });
    expect(judge({ pod: waiting("ImagePullBackOff") }, 45_000)).toMatchObject({ kind: "failed" });
  });
});
