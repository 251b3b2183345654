import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isUnconfirmed, recordRelease, specHash, withCount, withEvent, withRelease } from "../../runtime/deployment";
import type { ReleaseSpec } from "../../runtime/supervisor";
import type { StoredRelease, StoredService } from "../../runtime/supervisor/records";
import { otherOwner, owner, settings, specFor } from "../support/supervisor-platform";

const at = "2026-01-01T00:00:00.000Z";
const spec = specFor(`/store#sha256:${"a".repeat(64)}`);
const otherSpec = specFor(`/store#sha256:${"b".repeat(64)}`);
const empty: StoredService = {
  format: 1,
  claim: { owner, since: at },
  settings,
  revision: 0,
  serving: null,
  gateway: null,
  releases: [],
};

/** The same value with the properties of every object in another order. */
function reordered<T>(value: T): T {
  if (Array.isArray(value)) return value.map(reordered) as T;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, inner]) => [key, reordered(inner)]),
  ) as T;
}

describe("the identity of a spec", () => {
  const specs = fc.record({
    snapshot: fc.string(),
    models: fc.option(fc.string(), { nil: null }),
    arguments: fc.array(fc.string()),
    environmentVariables: fc.dictionary(fc.string(), fc.string()),
    health: fc.record({
      startTimeout: fc.nat(),
      stableFor: fc.nat(),
      smoke: fc.option(fc.dictionary(fc.string(), fc.jsonValue()), { nil: null }),
      smokeTimeout: fc.nat(),
      acceptFailing: fc.array(fc.string()),
    }),
  }) as fc.Arbitrary<ReleaseSpec>;

  it("does not depend on the order of properties", () => {
    fc.assert(fc.property(specs, (one) => specHash(reordered(one)) === specHash(one)));
  });

  it("depends on every property and on the order of arguments", () => {
    fc.assert(
      fc.property(specs, fc.string(), (one, text) => {
        const changed: readonly ReleaseSpec[] = [
          { ...one, snapshot: `${one.snapshot}.` },
          { ...one, arguments: [...one.arguments, text] },
          {
            ...one,
            environmentVariables: { ...one.environmentVariables, [text]: `${one.environmentVariables[text]}.` },
          },
          { ...one, health: { ...one.health, stableFor: one.health.stableFor + 1 } },
        ];
        expect(new Set([one, ...changed].map(specHash)).size).toBe(changed.length + 1);
      }),
    );
    expect(specHash({ ...spec, arguments: ["a", "b"] })).not.toBe(specHash({ ...spec, arguments: ["b", "a"] }));
  });
});

describe("recording a release", () => {
  it("takes the next revision, which is part of its id", () => {
    const first = recordRelease(empty, owner, spec, at);
    const second = recordRelease(confirm(first.service, first.release), owner, otherSpec, at);

    expect(first.release).toMatchObject({ id: expect.stringMatching(/^r1-[a-z0-9]{5}$/), count: 0 });
    expect(second.release.id).toMatch(/^r2-[a-z0-9]{5}$/);
    expect(second.service.revision).toBe(2);
  });

  it("adopts what an attempt of the same owner left unconfirmed", () => {
    const first = recordRelease(empty, owner, spec, at);

    const again = recordRelease(first.service, owner, { ...reordered(spec) }, at);

    expect(again.release.id).toBe(first.release.id);
    expect(again.service.releases).toHaveLength(1);
  });

  it("abandons an unconfirmed one that is not equal, and never adopts it afterwards", () => {
    const first = recordRelease(empty, owner, spec, at);
    const second = recordRelease(first.service, owner, otherSpec, at);

    const third = recordRelease(second.service, owner, spec, at);

    expect(eventsOf(third.service)).toEqual([["created", "abandoned"], ["created", "abandoned"], ["created"]]);
    expect(third.release.revision).toBe(3);
  });

  it("adopts none that was confirmed, and none of another owner", () => {
    const first = recordRelease(empty, owner, spec, at);
    const confirmed = recordRelease(confirm(first.service, first.release), owner, spec, at);
    const foreign = recordRelease(first.service, otherOwner, spec, at);

    expect(confirmed.release.id).not.toBe(first.release.id);
    expect(foreign.release.id).not.toBe(first.release.id);
    expect(foreign.service.releases.map(isUnconfirmed)).toEqual([true, true]);
  });

  it("keeps no more history than it needs, and everything that is not over", () => {
    let service = empty;
    for (let index = 0; index < 250; index++) {
      const { service: grown, release } = recordRelease(service, owner, spec, at);
      const used = { ...release, confirmed: true };
      service = withRelease(grown, index === 0 ? used : withEvent(used, "removed", at));
    }

    expect(service.releases).toHaveLength(200);
    expect(service.releases[0]?.revision).toBe(1);
    expect(service.releases.at(-1)?.revision).toBe(250);
  });
});

describe("a release that is over", () => {
  it("is remembered without its smoke workflow, which may be large", () => {
    const smoke = { "1": { class_type: "EmptyImage", inputs: {} } };
    const { release } = recordRelease(empty, owner, { ...spec, health: { ...spec.health, smoke } }, at);

    expect(withEvent(release, "failed", at).spec.health.smoke).toEqual(smoke);
    expect(withEvent(release, "removed", at)).toMatchObject({
      specHash: release.specHash,
      spec: { snapshot: spec.snapshot, health: { smoke: null } },
    });
  });
});

describe("the count of a release", () => {
  const { release } = recordRelease(empty, owner, spec, at);
  const serving = withEvent({ ...release, count: 2, confirmed: true }, "serving", at);
  const two = { wanted: 2, anyLeaving: false };
  const drain = { startedAt: at, deadlineAt: at, refused: null };
  const refusal = { code: "drain-deadline" as const, message: "its time is over" };
  const later = "2026-01-01T01:00:00.000Z";

  it("confirms a release, also when it is nothing", () => {
    expect(isUnconfirmed(withCount(release, 0, { wanted: 0, anyLeaving: false }, at))).toBe(false);
  });

  it("records the start of the first instances once", () => {
    const none = { wanted: 0, anyLeaving: false };
    const started = withCount(release, 2, none, at);

    expect(withCount(started, 2, none, at).events.map(({ event }) => event)).toEqual(["created", "started"]);
    expect(withCount(started, 3, two, at).events).toEqual(started.events);
  });

  it("drains what has served, and nothing else", () => {
    expect(withCount(serving, 1, two, at)).toMatchObject({ drain, count: 1 });
    expect(withCount({ ...release, count: 2 }, 0, two, at).drain).toBeNull();
    expect(withCount(serving, 3, two, at).drain).toBeNull();
  });

  it("records the drain of a whole release once", () => {
    const draining = withCount(serving, 0, two, at);
    const again = withCount(draining, 0, { wanted: 0, anyLeaving: true }, later);

    expect(again.events.map(({ event }) => event)).toEqual(["created", "serving", "draining"]);
    expect(withCount(serving, 1, two, at).events).toEqual(serving.events);
  });

  it("begins a fresh drain when an earlier one was refused, and lets one that goes on go on", () => {
    const left = { wanted: 0, anyLeaving: true };

    expect(withCount({ ...serving, drain: { ...drain, refused: refusal } }, 0, left, later).drain).toEqual({
      startedAt: later,
      deadlineAt: later,
      refused: null,
    });
    expect(withCount({ ...serving, drain }, 0, left, later).drain).toEqual(drain);
  });
});

const confirm = (service: StoredService, release: StoredRelease) =>
  withRelease(service, { ...release, confirmed: true });

const eventsOf = ({ releases }: StoredService) => releases.map(({ events }) => events.map(({ event }) => event));
