import type { V1Pod } from "@kubernetes/client-node";
import fc from "fast-check";
import { expect, test } from "vitest";
import { RotationWatch } from "../../bench/cluster/rotation-watch";
import { differences } from "../../bench/cluster/stage";
import { mostWithin, rotationFigures } from "../../bench/cluster/timeline";
import { connectCluster, releaseLabel } from "../../runtime/kubernetes";

test("a rotation's time is divided at the first pod, the last proof, the moved traffic and the last pod that went", () => {
  const figures = rotationFigures({
    began: 1_000,
    instances: [
      { created: 3_500, proven: 9_000 },
      { created: 3_000, proven: 8_000 },
    ],
    moved: 9_750,
    gone: 12_000,
    ended: 13_000,
  });

  expect(figures).toEqual({
    up: 12,
    declared: 2,
    start: 6,
    traffic: 0.75,
    drain: 2.25,
    rest: 1,
    own: 6,
  });
});

test("a rotation of which no instance was seen has no figures", () => {
  expect(() => rotationFigures({ began: 0, instances: [], moved: 1, gone: 2, ended: 3 })).toThrow("no instance");
});

test("the busiest span has as many events as any that begins with one of them", () => {
  expect(mostWithin(10, [])).toBe(0);
  expect(mostWithin(10, [0, 5, 9, 10, 30])).toBe(3);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 100 })), fc.integer({ min: 1, max: 40 }), (times, span) => {
      const counts = times.map((from) => times.filter((time) => time >= from && time < from + span).length);
      expect(mostWithin(span, times)).toBe(Math.max(0, ...counts));
    }),
  );
});

test("what grew in each span is told, what came after the last one's begin included", () => {
  expect(differences([0, 2, 2], 7)).toEqual([2, 0, 5]);
});

/** A pod as the API server has it. */
function pod(uid: string, release: string, proven: boolean): V1Pod {
  return {
    metadata: { uid, labels: { [releaseLabel]: release } },
    spec: { nodeName: "node", containers: [] },
    status: { conditions: [{ type: "Ready", status: proven ? "True" : "False" }] },
  };
}

async function watchAt(clock: { now: number }): Promise<RotationWatch> {
  const kubeconfig = JSON.stringify({
    apiVersion: "v1",
    clusters: [{ name: "c", cluster: { server: "http://127.0.0.1:1", "insecure-skip-tls-verify": true } }],
    users: [{ name: "u", user: {} }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
  return new RotationWatch(await connectCluster({ kubeconfig, namespace: "n" }), "studio", () => clock.now);
}

test("pods are noted when they are first there, first proven, and gone, and traffic when it first goes to a release", async () => {
  const clock = { now: 0 };
  const watch = await watchAt(clock);
  const at = (now: number, ...pods: readonly V1Pod[]) => {
    clock.now = now;
    watch.note(pods);
  };
  at(0, pod("old", "r1", true));
  watch.noteServing("r1");
  at(10, pod("old", "r1", true), pod("new", "r2", false));
  at(20, pod("old", "r1", true), pod("new", "r2", true));
  watch.noteServing("r2");
  at(25, pod("old", "r1", false), pod("new", "r2", false));
  watch.noteServing("r2");
  at(30, pod("new", "r2", true));
  at(40, pod("new", "r2", true));

  expect(watch.seen("r1", "r2", { began: 5, ended: 50 })).toEqual({
    began: 5,
    ended: 50,
    instances: [{ created: 10, proven: 20 }],
    moved: 20,
    gone: 30,
  });
  expect(() => watch.seen("r2", "r1", { began: 5, ended: 50 })).toThrow("an instance of r2 was not seen to go");
  watch.close();
});
