import { describe, expect, it } from "vitest";
import type { LocalView } from "../../runtime/cli/platform-view";
import { findProblems } from "../../runtime/cli/status-problems";
import { instanceOf, releaseOf, serviceViewOf, workstationViewOf } from "../support/cli-platform";

const supervisor = {
  protocol: 1,
  version: "0",
  pid: 1,
  startedAt: "2026-01-01T10:00:00.000Z",
  host: "h",
  directory: "/d",
};

function platform(over: Partial<LocalView>): LocalView {
  return { kind: "local", directory: "/d", supervisor, services: [], workstations: [], ...over };
}

describe("a platform with a supervisor", () => {
  it("is healthy when everything is as declared", () => {
    expect(findProblems(platform({ services: [serviceViewOf()], workstations: [workstationViewOf()] }))).toEqual([]);
  });

  it("is healthy while a candidate starts beside the release that serves", () => {
    const candidate = releaseOf(2, ["created", "started"]);
    const service = serviceViewOf({
      releases: [...serviceViewOf().releases, candidate],
      instances: [instanceOf("r1-abcde", 0), instanceOf(candidate.id, 0, { phase: "importing" })],
    });

    expect(findProblems(platform({ services: [service] }))).toEqual([]);
  });

  it("is healthy with a workstation that is declared stopped and is", () => {
    const stopped = workstationViewOf({ declared: "stopped", phase: "stopped" });

    expect(findProblems(platform({ workstations: [stopped] }))).toEqual([]);
  });

  it.each([
    [
      "a gateway that is down",
      { gateway: { url: "u", running: false, restarts: 3 } },
      "the gateway of service studio is down",
    ],
    ["no gateway", { gateway: null }, "service studio has no gateway"],
    ["no release that serves", { serving: null }, "service studio serves nothing"],
    [
      "a serving release without record",
      { serving: "r9-zzzzz" },
      "service studio serves r9-zzzzz, of which there is no record",
    ],
    [
      "an instance of the serving release that restarts",
      { instances: [instanceOf("r1-abcde", 0, { phase: "booting" })] },
      "release r1-abcde serves with 0 of 1 instance",
    ],
    [
      "a failed instance of a candidate",
      { instances: [instanceOf("r1-abcde", 0), instanceOf("r2-abcde", 0, { phase: "failed", detail: "exit code 1" })] },
      "instance r2-abcde/0 failed: exit code 1",
    ],
    [
      "a drain that was refused",
      {
        releases: [
          releaseOf(1, ["created", "serving"], {
            drain: {
              startedAt: "2026-01-01T10:00:00.000Z",
              deadlineAt: "2026-01-01T10:10:00.000Z",
              refused: { code: "drain-deadline", message: "r1-abcde/0 still has 2 prompts" } as const,
            },
          }),
        ],
      },
      "release r1-abcde did not drain: r1-abcde/0 still has 2 prompts",
    ],
  ])("is not healthy with %s", (_, over, problem) => {
    expect(findProblems(platform({ services: [serviceViewOf(over)] }))).toEqual([problem]);
  });

  it("is not healthy with a workstation that failed or is not yet up", () => {
    const workstations = [
      workstationViewOf({ name: "a", phase: "failed", detail: "exit code 1" }),
      workstationViewOf({ name: "b", phase: "booting" }),
    ];

    expect(findProblems(platform({ workstations }))).toEqual([
      "workstation a failed: exit code 1",
      "workstation b is declared running and is booting",
    ]);
  });
});

describe("a platform without a supervisor", () => {
  it("is not healthy when something should run", () => {
    const view = platform({
      supervisor: null,
      services: [serviceViewOf({ instances: [] })],
      workstations: [workstationViewOf({ phase: null })],
    });

    expect(findProblems(view)).toEqual([
      "service studio should have 1 instance, and no supervisor runs",
      "workstation studio should be running, and no supervisor runs",
    ]);
  });

  it("is healthy when its workstations are declared stopped", () => {
    const view = platform({
      supervisor: null,
      workstations: [workstationViewOf({ declared: "stopped", phase: null })],
    });

    expect(findProblems(view)).toEqual([]);
  });
});
