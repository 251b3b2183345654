import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { listSnapshots, verify } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";

test("destroy leaves no process, port or folder, and the store as it was", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  project.declare({ count: 2, service: { health: quickHealth } });
  await project.mustUp();
  const { serviceUrl = "", workstationUrl = "", snapshot = "" } = await project.outputs();
  expect(project.processes().length).toBeGreaterThanOrEqual(5);

  const run = await project.destroy();
  expect(run.code).toBe(0);

  await waitFor({
    what: "the last process to end",
    deadline: 30_000,
    look: () => (project.processes().length === 0 ? true : undefined),
    seen: () => project.processes().join("; "),
  });
  for (const url of [serviceUrl, workstationUrl]) await expect(fetch(url)).rejects.toThrow();
  expect(existsSync(project.platform)).toBe(false);
  expect((await listSnapshots(project.store)).map(({ reference }) => reference)).toEqual([snapshot]);
  expect((await verify({ reference: snapshot, deep: true })).problems).toEqual([]);
});
