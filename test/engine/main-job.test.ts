import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth, stepsOf } from "../support/pulumi-project";

/** The whole main job, one step after the other in one project. */
describe("the main job", () => {
  let project: PulumiProject;
  let first: Readonly<Record<string, string>>;

  const pip = (...args: readonly string[]) =>
    execFileSync(join(project.environment, "venv/bin/python"), ["-m", "pip", "--disable-pip-version-check", ...args], {
      stdio: "pipe",
    });

  beforeAll(() => {
    project = PulumiProject.create();
    project.makeEnvironment({ painter: painter("1.0.0") });
    execFileSync(join(project.environment, "venv/bin/python"), ["-m", "ensurepip"], { stdio: "pipe" });
    project.declare({ count: 2, service: { health: quickHealth } });
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test("a first up ends with a workstation, a snapshot and a service that answers", async () => {
    const run = await project.mustUp();
    first = await project.outputs();
    expect(first.snapshot).toMatch(new RegExp(`^${project.store}#sha256:[0-9a-f]{64}$`));
    expect(first.release).toMatch(/^r1-[a-z0-9]{5}$/);
    const id = await submit(first.serviceUrl ?? "", paint(0, "first"));
    expect(paintedBy((await finished(first.serviceUrl ?? "", id)).outputs)).toBe("1.0.0");
    expect((await project.service()).instances.map(({ phase }) => phase)).toEqual(["proven", "proven"]);
    expect(run.output).toContain("created");
  });

  test("a second up changes nothing, though the workstation ran a workflow and was started again", async () => {
    const url = first.workstationUrl ?? "";
    await finished(url, await submit(url, paint(0, "workstation")));
    const supervisor = await project.supervisor();
    await supervisor.restartWorkstation("studio");
    await waitFor({
      what: "the workstation to run again",
      deadline: 30_000,
      look: async () => {
        const state = await supervisor.workstation("studio");
        return state?.phase === "running" && state.restarts >= 0 ? true : undefined;
      },
    });
    await finished(url, await submit(url, paint(0, "again")));
    const run = await project.mustUp();
    expect(stepsOf(run)).toEqual({ same: expect.any(Number) });
    expect(await project.outputs()).toEqual(first);
  });

  test("an edited plugin is named by the preview, and the service rotates to it at the same address", async () => {
    project.writePlugins({ painter: painter("1.1.0") });
    const preview = await project.preview("--diff");
    expect(preview.code).toBe(0);
    expect(preview.output).toMatch(/~ plugin painter 1\.0\.0 \([0-9a-f]+\) → 1\.1\.0 \([0-9a-f]+\)/);
    expect(preview.output).not.toMatch(/[+~-] distribution/);
    await project.mustUp();
    const outputs = await project.outputs();
    expect(outputs.serviceUrl).toBe(first.serviceUrl);
    expect(outputs.release).toMatch(/^r2-/);
    const id = await submit(outputs.serviceUrl ?? "", paint(0, "second"));
    expect(paintedBy((await finished(outputs.serviceUrl ?? "", id)).outputs)).toBe("1.1.0");
    const { serving, instances, releases } = await project.service();
    expect(serving).toBe(outputs.release);
    expect(instances.map(({ release }) => release)).toEqual([outputs.release, outputs.release]);
    expect(releases.find(({ id: known }) => known === first.release)?.events.map(({ event }) => event)).toEqual([
      ...["created", "started", "proven", "serving", "draining", "drained", "removed"],
    ]);
  });

  test("an added and then an upgraded distribution are named by the preview, and nothing else is", async () => {
    pip("install", "six==1.16.0");
    const added = await project.preview();
    expect(added.output).toContain("+ distribution six 1.16.0");
    expect(added.output).not.toContain("plugin painter");
    await project.mustUp();
    pip("install", "six==1.17.0");
    const upgraded = await project.preview();
    expect(upgraded.output).toContain("~ distribution six 1.16.0 → 1.17.0");
    expect(new Set(upgraded.output.match(/[+~-] (?:distribution|plugin) \S+/g))).toEqual(
      new Set(["~ distribution six"]),
    );
    await project.mustUp();
    expect((await project.outputs()).release).toMatch(/^r4-/);
  });
});
