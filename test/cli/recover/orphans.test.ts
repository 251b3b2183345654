import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LocalView } from "../../../runtime/cli/platform-view";
import { findOrphans } from "../../../runtime/cli/recover/orphans";
import { type KnownObjects, knownObjects, parseState } from "../../../runtime/cli/recover/state";
import type { Owner } from "../../../runtime/supervisor";
import { owner, releaseOf, serviceViewOf, workstationViewOf } from "../../support/cli-platform";
import { stackState, stateResource } from "../../support/cli-stack-state";

const directory = "/platform";
const isOwn = ({ stack }: Owner) => stack === owner.stack;

function knowing(...resources: readonly (readonly [kind: string, outputs: Record<string, string>])[]): KnownObjects {
  const inDirectory = resources.map(([kind, outputs]) => stateResource(kind, { directory, ...outputs }));
  return knownObjects(parseState(JSON.stringify(stackState({ resources: inDirectory }))), "/");
}

function platform(over: Partial<LocalView>): LocalView {
  return { kind: "local", directory, supervisor: null, services: [], workstations: [], ...over };
}

const claim = ["ServiceClaim", { service: "studio" }] as const;
const gateway = ["Gateway", { service: "studio" }] as const;
const release = (id: string) => ["Release", { service: "studio", release: id }] as const;
const traffic = ["TrafficSwitch", { service: "studio" }] as const;
const instances = (id: string) => ["Instances", { service: "studio", release: id }] as const;

describe("an orphan", () => {
  it("is nothing that the state knows", () => {
    const view = platform({ services: [serviceViewOf()], workstations: [workstationViewOf()] });
    const known = knowing(claim, gateway, traffic, release("r1-abcde"), instances("r1-abcde"), [
      "Workstation",
      { workstation: "studio" },
    ]);

    expect(findOrphans(view, known, isOwn)).toEqual([]);
  });

  it("is a release that no resource knows, but not one that has ended", () => {
    const releases = [
      releaseOf(1, ["created", "serving"]),
      releaseOf(2, ["created", "started", "proven"]),
      releaseOf(3, ["created", "started", "removed"]),
      releaseOf(4, ["created", "abandoned"], { count: 0 }),
    ];
    const known = knowing(claim, gateway, traffic, release("r1-abcde"), instances("r1-abcde"));

    expect(findOrphans(platform({ services: [serviceViewOf({ releases })] }), known, isOwn)).toMatchObject([
      { kind: "release", release: "r2-abcde", serves: false },
    ]);
  });

  it("is marked when users depend on it", () => {
    const orphans = findOrphans(platform({ services: [serviceViewOf()] }), knowing(claim), isOwn);

    expect(orphans).toMatchObject([
      { kind: "release", serves: true },
      { kind: "gateway", serves: true },
    ]);
  });

  it("is the instances of a release whose Instances resource was never recorded", () => {
    const known = knowing(claim, gateway, release("r1-abcde"));
    const view = platform({ services: [serviceViewOf({ serving: null })] });

    expect(findOrphans(view, known, isOwn)).toMatchObject([{ kind: "instances", release: "r1-abcde", serves: false }]);
    const none = serviceViewOf({ serving: null, releases: [releaseOf(1, ["created"], { count: 0 })] });
    expect(findOrphans(platform({ services: [none] }), known, isOwn)).toEqual([]);
  });

  it("is the traffic of a known release when its switch was never recorded", () => {
    const known = knowing(claim, gateway, release("r1-abcde"), instances("r1-abcde"));

    expect(findOrphans(platform({ services: [serviceViewOf()] }), known, isOwn)).toMatchObject([
      { kind: "traffic", service: "studio", serves: true, detail: "it goes to r1-abcde" },
    ]);
    expect(findOrphans(platform({ services: [serviceViewOf({ serving: null })] }), known, isOwn)).toEqual([]);
  });

  it("is a whole service, once, when its claim is unknown", () => {
    const orphans = findOrphans(platform({ services: [serviceViewOf()] }), knowing(), isOwn);

    expect(orphans).toMatchObject([{ kind: "service", service: "studio", serves: true }]);
    expect(orphans[0]?.detail).toBe("with its gateway, r1-abcde");
  });

  it("is a workstation that no resource knows", () => {
    const view = platform({ workstations: [workstationViewOf()] });

    expect(findOrphans(view, knowing(["Workstation", { workstation: "other" }]), isOwn)).toMatchObject([
      { kind: "workstation", workstation: "studio" },
    ]);
  });

  it("never belongs to another owner", () => {
    const drawnOwner = fc.record({
      organization: fc.constant("organization"),
      project: fc.constant("studio"),
      stack: fc.constantFrom("dev", "prod", "other"),
    });
    fc.assert(
      fc.property(fc.array(drawnOwner), fc.array(drawnOwner), (services, workstations) => {
        const view = platform({
          services: services.map((each, at) => serviceViewOf({ name: `s${at}`, owner: each })),
          workstations: workstations.map((each, at) => workstationViewOf({ name: `w${at}`, owner: each })),
        });
        const own = [...services, ...workstations].filter(isOwn).length;
        expect(findOrphans(view, knowing(), isOwn)).toHaveLength(own);
      }),
    );
  });
});
