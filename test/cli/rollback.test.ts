import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rollbackCandidate } from "../../runtime/cli/rollback";
import type { Release, ReleaseEventName } from "../../runtime/supervisor";
import { releaseOf, specOf } from "../support/cli-platform";

const served: readonly ReleaseEventName[] = ["created", "started", "proven", "serving"];
const failed: readonly ReleaseEventName[] = ["created", "started", "failed"];

describe("what a rollback pins", () => {
  it("is the newest earlier release that served another snapshot", () => {
    const releases = [
      releaseOf(1, [...served, "removed"]),
      releaseOf(2, [...served, "removed"]),
      releaseOf(3, [...failed, "removed"]),
      releaseOf(4, served),
    ];

    expect(rollbackCandidate(releases, "r4-abcde")?.id).toBe("r2-abcde");
  });

  it("is not a release that only had other settings", () => {
    const same = { spec: specOf("/store#sha256:same") };
    const releases = [releaseOf(1, served), releaseOf(2, served, same), releaseOf(3, served, same)];

    expect(rollbackCandidate(releases, "r3-abcde")?.id).toBe("r1-abcde");
  });

  it("is the newest that has ever served when nothing serves", () => {
    expect(rollbackCandidate([releaseOf(1, served), releaseOf(2, served), releaseOf(3, failed)], null)?.id).toBe(
      "r2-abcde",
    );
  });

  it("is always one that has served, with another snapshot and an earlier revision than what serves", () => {
    const release = fc.record({ events: fc.constantFrom(served, failed), snapshot: fc.constantFrom("a", "b", "c") });
    fc.assert(
      fc.property(fc.array(release, { maxLength: 8 }), fc.nat(8), (drawn, pick) => {
        const releases: Release[] = drawn.map(({ events, snapshot }, at) =>
          releaseOf(at + 1, events, { spec: specOf(snapshot) }),
        );
        const serving = releases[pick] ?? null;
        const candidate = rollbackCandidate(releases, serving?.id ?? null);
        const fits = releases.filter(
          (each) =>
            each.events.some(({ event }) => event === "serving") &&
            (serving === null || (each.revision < serving.revision && each.spec.snapshot !== serving.spec.snapshot)),
        );
        expect(candidate).toBe(fits.at(-1) ?? null);
      }),
    );
  });
});
