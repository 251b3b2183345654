import { expect, onTestFinished, test, vi } from "vitest";
import { painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth, readText, stepsOf } from "../support/pulumi-project";

test("an up of a single target moves no traffic; the next whole up completes the rotation and shows its progress by row", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  project.declare({ count: 1, workstation: { state: "stopped" }, service: { health: quickHealth } });
  await project.mustUp();
  const before = (await project.outputs()).release;
  const urns = (await project.state()).deployment.resources.map(({ urn }) => urn);
  const target = (type: string) => urns.find((urn) => urn.includes(`comfyui:${type}::`)) ?? "";

  project.writePlugins({ painter: painter("2") });
  const partial = await project.up("--target", target("Snapshot"), "--target", target("Release"));
  expect((await project.service()).serving).toBe(before);
  expect((await project.service()).instances.map(({ phase }) => phase)).toEqual(["proven"]);
  expect(partial.code, "the release that serves cannot go").not.toBe(0);
  expect(partial.output).toContain(`the release ${before} serves studio`);

  // The engine hides this option otherwise.
  vi.stubEnv("PULUMI_DEBUG_COMMANDS", "true");
  onTestFinished(() => void vi.unstubAllEnvs());
  const log = `${project.folder}/events.json`;
  await project.mustUp("--event-log", log);
  const { serving, instances } = await project.service();
  expect(serving).not.toBe(before);
  expect(instances.map(({ release }) => release)).toEqual([serving]);
  const progress = readText(log)
    .split("\n")
    .filter((line) => line.includes('"ephemeral":true'))
    .map((line) => JSON.parse(line).diagnosticEvent as { urn?: string; message: string });
  for (const [type, text] of [
    ["HealthGate", `waiting for 1 instance of ${serving} to be proven: 0 of 1 proven; ${serving}/0`],
    ["HealthGate", `no instance of ${before} is left`],
    ["TrafficSwitch", `moving traffic to ${serving}`],
  ] as const) {
    expect(progress).toContainEqual(
      expect.objectContaining({ urn: target(type), message: expect.stringContaining(text) }),
    );
  }
  expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
}, 180_000);
