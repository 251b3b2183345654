import { expect, test } from "vitest";
import { named } from "../../runtime/kubernetes/naming";
import type { PodStanding } from "../../runtime/kubernetes/pod-phase";
import { summaryOf } from "../../runtime/kubernetes/proving";

const instance = (id: string, phase: PodStanding["phase"], detail = "") => ({
  id,
  standing: { phase, detail, fault: null },
});

test("of a few instances that are not proven yet, each is told with what it is at", () => {
  const seen = [
    instance("r1-a/0", "proven"),
    instance("r1-a/1", "waiting", "scheduling"),
    instance("r1-a/2", "booting"),
  ];

  expect(summaryOf(seen, 4)).toBe("1 of 4 proven; r1-a/1 waiting (scheduling); r1-a/2 booting; 1 not created yet");
});

test("of many instances, it is told how many are in which phase", () => {
  const seen = Array.from({ length: 199 }, (_, index) =>
    instance(`r1-a/${index}`, index < 12 ? "proven" : index < 112 ? "restoring" : "booting"),
  );

  expect(summaryOf(seen, 200)).toBe("12 of 200 proven; 100 restoring; 87 booting; 1 not created yet");
});

test("of many names, the first few and the number of the others are told", () => {
  expect(named(["a", "b", "c", "d", "e"])).toBe("a, b, c, d, e");
  expect(named(["a", "b", "c", "d", "e", "f", "g"])).toBe("a, b, c, d, e, 2 more");
  expect(named([])).toBe("");
});
