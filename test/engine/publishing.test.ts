import { existsSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth, stepsOf } from "../support/pulumi-project";

const service = { health: quickHealth };
const stopped = { state: "stopped" };

async function versionServed(project: PulumiProject): Promise<string | undefined> {
  const url = (await project.outputs()).serviceUrl ?? "";
  return paintedBy((await finished(url, await submit(url, paint(0, `${Math.random()}`)))).outputs);
}

test("pinning an earlier snapshot rolls back to it; a pin that does not exist, or is damaged, is an error at preview", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  project.declare({ count: 1, workstation: stopped, service });
  await project.mustUp();
  const earlier = (await project.outputs()).snapshot ?? "";
  project.writePlugins({ painter: painter("2") });
  await project.mustUp();
  expect(await versionServed(project)).toBe("2");

  project.declare({ count: 1, workstation: stopped, service: { ...service, snapshot: earlier } });
  await project.mustUp();
  expect(await versionServed(project)).toBe("1");
  expect((await project.outputs()).release).toMatch(/^r3-/);

  const missing = `${project.store}#sha256:${"0".repeat(64)}`;
  project.declare({ count: 1, workstation: stopped, service: { ...service, snapshot: missing } });
  const preview = await project.preview();
  expect(preview.code).not.toBe(0);
  expect(preview.output).toContain('OnlineService "studio" snapshot:');
  expect(preview.output).toContain("0".repeat(64));

  project.declare({ count: 1, workstation: stopped, service: { ...service, snapshot: "the one before" } });
  expect((await project.preview()).output).toContain('OnlineService "studio" snapshot:');

  const [one, other] = readdirSync(join(project.store, "snapshots")).map((name) =>
    join(project.store, "snapshots", name),
  );
  if (one === undefined || other === undefined) throw new Error("there should be two manifests");
  renameSync(one, `${one}.aside`);
  renameSync(other, one);
  const swapped = `${project.store}#sha256:${one.slice(-64)}`;
  project.declare({ count: 1, workstation: stopped, service: { ...service, snapshot: swapped } });
  const mismatch = await project.preview();
  expect(mismatch.code).not.toBe(0);
  expect(mismatch.output).toContain('OnlineService "studio" snapshot:');
  expect(mismatch.output).toContain(one.slice(-64));
  renameSync(one, other);
  renameSync(`${one}.aside`, one);
});

test('"whenStopped" publishes only while the workstation is declared stopped, and keeps the earlier snapshot otherwise', async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  const snapshot = { publish: "whenStopped" };
  project.declare({ count: 1, workstation: { state: "running" }, snapshot, service });
  const without = await project.preview();
  expect(without.code).not.toBe(0);
  expect(without.output).toContain('declare it with state: "stopped" to publish the first one');

  project.declare({ count: 1, workstation: stopped, snapshot, service });
  await project.mustUp();
  const first = (await project.outputs()).snapshot;

  project.declare({ count: 1, workstation: { state: "running" }, snapshot, service });
  project.writePlugins({ painter: painter("2") });
  const kept = await project.mustUp();
  expect(kept.output).toContain("is published when it is stopped");
  expect((await project.outputs()).snapshot).toBe(first);
  expect(stepsOf(kept)).toMatchObject({ update: 1 });
  expect(await versionServed(project)).toBe("1");

  project.declare({ count: 1, workstation: stopped, snapshot, service });
  await project.mustUp();
  expect((await project.outputs()).snapshot).not.toBe(first);
  expect(await versionServed(project)).toBe("2");
});

test("a machine without the environment keeps the snapshot that there is, and says so", async () => {
  await using project = PulumiProject.create({
    program: `
const { Snapshot } = require("pulumi-comfyui");
module.exports = { snapshot: new Snapshot("studio", { environment: "studio", store: "store" }).reference };
`,
  });
  const missing = await project.preview();
  expect(missing.code).not.toBe(0);
  expect(missing.output).toContain("there is no earlier snapshot to keep");

  project.makeEnvironment({ painter: painter("1") });
  await project.mustUp();
  const { snapshot } = await project.outputs();
  renameSync(project.environment, `${project.environment}.elsewhere`);
  const run = await project.mustUp();
  expect(run.output).toContain("is not on this machine: the earlier snapshot");
  expect((await project.outputs()).snapshot).toBe(snapshot);

  expect((await project.destroy()).code).toBe(0);
  expect(existsSync(join(project.store, "snapshots", snapshot?.slice(-64) ?? ""))).toBe(true);
});
