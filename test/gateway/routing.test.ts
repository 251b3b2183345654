import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Candidate, chooseInstance } from "../../runtime/gateway/routing";

const candidates = fc.uniqueArray(
  fc.record<Candidate>({
    id: fc.constantFrom("a", "b", "c", "d", "e"),
    release: fc.constantFrom("r1", "r2"),
    state: fc.constantFrom("ready", "draining"),
    answering: fc.boolean(),
    load: fc.nat(5),
    lastChosen: fc.nat(100),
  }),
  { selector: ({ id }) => id },
);
const preferences = fc.option(fc.constantFrom("a", "b", "c", "d", "e"), { nil: undefined });

describe("the instance for a new prompt", () => {
  test("is a ready one of the release, and there is one whenever there can be one", () => {
    fc.assert(
      fc.property(candidates, preferences, fc.array(fc.nat(4)), (instances, preferred, excludedIndexes) => {
        const excluded = new Set(excludedIndexes.flatMap((index) => instances[index] ?? []));
        const chosen = chooseInstance({ instances, release: "r1", preferred, excluded });
        const possible = instances.filter(
          (instance) => instance.release === "r1" && instance.state === "ready" && !excluded.has(instance),
        );
        if (possible.length === 0) expect(chosen).toBeNull();
        else expect(possible).toContain(chosen);
      }),
    );
  });

  test("is the client's own while that can have it", () => {
    fc.assert(
      fc.property(candidates, (instances) => {
        for (const own of instances) {
          const chosen = chooseInstance({ instances, release: "r1", preferred: own.id });
          if (own.release === "r1" && own.state === "ready") expect(chosen).toBe(own);
        }
      }),
    );
  });

  test("has otherwise the shortest queue of those that answer", () => {
    fc.assert(
      fc.property(candidates, (instances) => {
        const chosen = chooseInstance({ instances, release: "r1", preferred: undefined });
        for (const other of instances) {
          if (chosen === null || other.release !== "r1" || other.state !== "ready") continue;
          if (chosen.answering === other.answering) expect(chosen.load).toBeLessThanOrEqual(other.load);
          else expect(chosen.answering).toBe(true);
        }
      }),
    );
  });

  test("does not depend on the order in which the instances are named, but on whose turn it is", () => {
    fc.assert(
      fc.property(candidates, (instances) => {
        const distinct = instances.map((instance, index) => ({ ...instance, lastChosen: index }));
        const forwards = chooseInstance({ instances: distinct, release: "r2", preferred: undefined });
        const backwards = chooseInstance({ instances: distinct.toReversed(), release: "r2", preferred: undefined });
        expect(forwards).toBe(backwards);
      }),
    );
  });

  test("is none without a serving release", () => {
    fc.assert(
      fc.property(candidates, preferences, (instances, preferred) => {
        expect(chooseInstance({ instances, release: null, preferred })).toBeNull();
      }),
    );
  });
});
