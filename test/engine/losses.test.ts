import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findSupervisor } from "../../runtime/supervisor";
import { waitFor } from "../../runtime/waiting";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth, stepsOf } from "../support/pulumi-project";

/** One project to which one thing after the other happens; each time the next up makes it whole again. */
describe("after a loss, the next up converges:", () => {
  let project: PulumiProject;
  let before: Readonly<Record<string, string>>;

  /** Ends every process of the platform at once, as a reboot does. */
  async function killAll(): Promise<void> {
    const { about, services, workstations } = await (await project.supervisor()).state();
    const pids = [
      about.pid,
      ...services.flatMap(({ gateway, instances }) => [gateway?.pid, ...instances.map(({ pid }) => pid)]),
      ...workstations.map(({ pid }) => pid),
    ];
    for (const pid of pids) if (pid != null) process.kill(pid, "SIGKILL");
    await waitFor({
      what: "the platform's processes to end",
      deadline: 10_000,
      look: () => (project.processes().length === 0 ? true : undefined),
      seen: () => project.processes().join("; "),
    });
  }

  async function isWhole(): Promise<void> {
    const { serviceUrl = "", workstationUrl = "" } = await project.outputs();
    for (const url of [serviceUrl, workstationUrl]) {
      expect(paintedBy((await finished(url, await submit(url, paint(0, `${Math.random()}`)))).outputs)).toBe("1");
    }
    const { instances, serving } = await project.service();
    expect(instances.map(({ release, phase }) => [release, phase])).toEqual([[serving, "proven"]]);
  }

  async function isWholeAsBefore(): Promise<void> {
    await isWhole();
    expect(await project.outputs()).toEqual(before);
    expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });
  }

  beforeAll(() => {
    project = PulumiProject.create();
    project.makeEnvironment({ painter: painter("1") });
    project.declare({ count: 1, service: { health: quickHealth } });
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test("a preview makes nothing and starts nothing", async () => {
    expect((await project.preview()).code).toBe(0);
    expect([existsSync(project.platform), existsSync(project.store)]).toEqual([false, false]);
    expect(project.processes()).toEqual([]);
    await project.mustUp();
    before = await project.outputs();
    await isWhole();
  });

  test("the supervisor was killed", async () => {
    process.kill((await (await project.supervisor()).about()).pid, "SIGKILL");
    await project.mustUp();
    await isWholeAsBefore();
  });

  test("an instance was killed", async () => {
    const pid = (await project.service()).instances[0]?.pid;
    if (pid == null) throw new Error("the instance should have a process");
    process.kill(pid, "SIGKILL");
    await project.mustUp();
    await isWholeAsBefore();
  });

  test("everything was killed; neither a preview nor a refresh starts anything", async () => {
    await killAll();
    const preview = await project.preview();
    expect(preview.output).toContain("5 to update");
    const refresh = await project.run("refresh", "--yes", "--skip-preview");
    expect(refresh.code, refresh.output).toBe(0);
    expect(project.processes()).toEqual([]);
    await project.mustUp();
    await isWholeAsBefore();
  });

  test("the manifest in the store was deleted", async () => {
    rmSync(join(project.store, "snapshots"), { recursive: true });
    const refresh = await project.run("refresh", "--yes", "--skip-preview");
    expect(refresh.code, refresh.output).toBe(0);
    await project.mustUp();
    expect(readdirSync(join(project.store, "snapshots"))).toContain((await project.outputs()).snapshot?.slice(-64));
    await isWhole();
    before = await project.outputs();
    await isWholeAsBefore();
  });

  test("the platform's folder was deleted with all its processes", async () => {
    await killAll();
    rmSync(project.platform, { recursive: true });
    const preview = await project.preview();
    expect(preview.output).toMatch(/comfyui:Release\s+studio\s+replace/);
    expect(existsSync(project.platform)).toBe(false);
    await project.mustUp("--refresh");
    await isWhole();
    before = await project.outputs();
    await isWholeAsBefore();
  });

  test("the platform's folder was deleted under its running processes", async () => {
    rmSync(project.platform, { recursive: true });
    await project.mustUp();
    await isWhole();
  });

  test("a destroy after the folder was deleted and the supervisor killed leaves no process and no folder", async () => {
    process.kill((await (await project.supervisor()).about()).pid, "SIGKILL");
    rmSync(project.platform, { recursive: true });
    const run = await project.destroy();
    expect(run.code, run.output).toBe(0);
    await waitFor({
      what: "the last process to end",
      deadline: 30_000,
      look: () => (project.processes().length === 0 ? true : undefined),
      seen: () => project.processes().join("; "),
    });
    expect(existsSync(project.platform)).toBe(false);
    expect(await findSupervisor(project.platform)).toBeNull();
  });
});
