import fc from "fast-check";
import { expect, test } from "vitest";
import { terminationMessage } from "../../runtime/agent/termination";
import type { Evidence } from "../../runtime/instance";

const text = fc.string({ unit: "binary", maxLength: 6000 });
const evidence: fc.Arbitrary<Evidence> = fc
  .record({
    reason: text,
    plugin: fc.option(text),
    traceback: fc.option(text),
    logTail: fc.array(text, { maxLength: 40 }),
  })
  .map(({ reason, plugin, traceback, logTail }) => ({
    instance: "r1-abcde/7d9f8-x2x4z",
    phase: "importing" as const,
    reason,
    ...(plugin === null ? {} : { plugin }),
    ...(traceback === null ? {} : { traceback }),
    logTail,
  }));

test("whatever the evidence is, its message is JSON that Kubernetes keeps whole, and names the instance and the phase", () => {
  fc.assert(
    fc.property(evidence, (given) => {
      const message = terminationMessage(given);
      expect(Buffer.byteLength(message)).toBeLessThanOrEqual(4096);
      const kept = JSON.parse(message) as Evidence;
      expect(kept).toMatchObject({ instance: given.instance, phase: given.phase });
      expect(kept.reason.slice(0, 30)).toBe(given.reason.slice(0, 30).slice(0, kept.reason.length));
    }),
    { numRuns: 60 },
  );
});

test("evidence that fits is kept as it is", () => {
  const given: Evidence = {
    instance: "r1-abcde/0",
    phase: "smoke",
    reason: "the smoke workflow failed",
    traceback: "Traceback",
    exit: { code: 3, signal: null },
    logTail: ["one", "two"],
  };

  expect(JSON.parse(terminationMessage(given))).toEqual(given);
});

test("of what does not fit, the end of the traceback and the log's last lines are kept", () => {
  const lines = (what: string) => Array.from({ length: 200 }, (_, number) => `${what} ${number}: ${"x".repeat(60)}`);
  const given: Evidence = {
    instance: "r1-abcde/0",
    phase: "importing",
    reason: "plugin broken: No module named 'missing'",
    plugin: "broken",
    traceback: `${lines("frame").join("\n")}\nModuleNotFoundError: No module named 'missing'`,
    logTail: lines("printed"),
  };

  const kept = JSON.parse(terminationMessage(given)) as Evidence;

  expect(kept).toMatchObject({ reason: given.reason, plugin: "broken" });
  expect(kept.traceback).toMatch(/frame 199: x+\nModuleNotFoundError: No module named 'missing'$/);
  expect(kept.logTail.at(-1)).toBe(given.logTail.at(-1));
  expect(kept.logTail.length).toBeGreaterThanOrEqual(5);
});
