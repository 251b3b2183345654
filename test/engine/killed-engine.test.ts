import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { runCli } from "../support/cli-run";
import { finished, running, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";

test("an engine that is killed while it packs, and again while it drains, is recovered from by recover and up", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  const ballast = join(project.environment, "ComfyUI/custom_nodes/painter/ballast.bin");
  writeFileSync(ballast, randomBytes(128 * 1024 * 1024));
  project.declare({ count: 1, workstation: { state: "stopped" }, service: { health: quickHealth } });
  const recover = () =>
    runCli(["recover", "--yes", "--json"], { cwd: project.folder, environment: project.environmentVariables });

  const packing = project.start("up", "--yes", "--skip-preview");
  await waitFor({
    what: "the packing to begin",
    deadline: 60_000,
    interval: 5,
    look: () => existsSync(project.store) || undefined,
  });
  await packing.kill();
  expect((await project.up()).output).toContain("locked");
  expect(await recover()).toMatchObject({ code: 0, json: { lock: { cancelled: true }, orphans: [] } });
  await project.mustUp();
  const { serviceUrl: url = "", release = "" } = await project.outputs();

  const long = await submit(url, paint(12, "long"));
  await running(url, long);
  project.writePlugins({ painter: painter("2") });
  const draining = project.start("up", "--yes", "--skip-preview");
  await waitFor({
    what: "the first release to drain",
    deadline: 60_000,
    look: async () => (await project.service()).instances.some(({ phase }) => phase === "draining") || undefined,
  });
  await draining.kill();
  expect(await recover()).toMatchObject({ code: 0, json: { lock: { cancelled: true }, orphans: [] } });
  await project.mustUp();

  expect(paintedBy((await finished(url, long)).outputs)).toBe("1");
  const { instances, serving, releases } = await project.service();
  expect(serving).not.toBe(release);
  expect(instances.map(({ release: own }) => own)).toEqual([serving]);
  expect(releases.find(({ id }) => id === release)?.events.at(-1)?.event).toBe("removed");
  // Supervisor, gateway and instance: no provider has outlived its engine.
  await waitFor({
    what: "three processes to be left",
    deadline: 30_000,
    look: () => project.processes().length === 3 || undefined,
    seen: () => project.processes().join("\n"),
  });
}, 240_000);
