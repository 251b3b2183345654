import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finished, submit } from "../support/comfyui-client";
import { failingNode, paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";
import { brokenPlugin } from "../support/stand-in-plugins";

/** Never opens its port: the import does not return. */
const hangingPlugin = "import time\nprint('about to hang', flush=True)\ntime.sleep(3600)\nNODE_CLASS_MAPPINGS = {}\n";
/** Ends the process a moment after the port was opened. */
const crashingPlugin = `
import os, threading, time

def crash():
    time.sleep(3)
    print("the painter ran out of paint", flush=True)
    os._exit(42)

threading.Thread(target=crash, daemon=True).start()
NODE_CLASS_MAPPINGS = {}
`;
const smoke = { "1": { class_type: "Paint", inputs: { seconds: 0, nonce: "smoke" } } };

describe("a release that is not healthy", () => {
  let project: PulumiProject;
  let url = "";
  let healthy = "";

  async function stillServes(version: string): Promise<void> {
    const id = await submit(url, paint(0, `${Math.random()}`));
    expect(paintedBy((await finished(url, id)).outputs)).toBe(version);
    expect((await project.service()).serving).toBe(healthy);
  }

  /** The workstation is stopped: what breaks an instance would break it as well, and that is another error. */
  const declaration = (more: { count?: number; health?: object } = {}) => ({
    count: more.count ?? 1,
    workstation: { state: "stopped" },
    service: { health: { ...quickHealth, smoke, ...more.health } },
  });

  beforeAll(async () => {
    project = PulumiProject.create();
    project.makeEnvironment({ painter: painter("1") });
    project.declare(declaration());
    await project.mustUp();
    ({ serviceUrl: url = "", release: healthy = "" } = await project.outputs());
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test("fails the update with plugin and traceback when a plugin does not load; traffic stays, its instances go", async () => {
    project.writePlugins({ broken: brokenPlugin });
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("plugin broken: No module named 'a_module_that_is_missing'");
    expect(run.output).toContain("import a_module_that_is_missing");
    expect(run.output).toContain(`traffic stays on ${healthy}`);
    await stillServes("1");
    const { instances, releases } = await project.service();
    expect(instances.map(({ release }) => release)).toEqual([healthy]);
    expect(releases.at(-1)?.events.map(({ event }) => event)).toContain("failed");
  });

  test("fails again in the same way when nothing was changed, with the same release", async () => {
    const before = (await project.service()).releases.length;
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("plugin broken: No module named");
    expect((await project.service()).releases).toHaveLength(before);
    await stillServes("1");
  });

  test("can be scaled, and is then proven or refused with the new count", async () => {
    project.declare(declaration({ count: 2 }));
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("plugin broken: No module named");
    await stillServes("1");
    project.declare(declaration());
  });

  test("gives way to the fix, and both leftovers are removed", async () => {
    project.writePlugins({ broken: "NODE_CLASS_MAPPINGS = {}\n", painter: painter("2") });
    await project.mustUp();
    healthy = (await project.outputs()).release ?? "";
    await stillServes("2");
    const { instances, releases } = await project.service();
    expect(instances.map(({ release }) => release)).toEqual([healthy]);
    for (const { id, events } of releases) {
      if (id !== healthy) expect(events.at(-1)?.event).toBe("removed");
    }
  });

  test("gives way to the earlier environment just as well", async () => {
    project.writePlugins({ broken: brokenPlugin });
    expect((await project.up()).code).not.toBe(0);
    await stillServes("2");
    project.writePlugins({ broken: "NODE_CLASS_MAPPINGS = {}\n" });
    await project.mustUp();
    healthy = (await project.outputs()).release ?? "";
    await stillServes("2");
    expect((await project.service()).instances.map(({ release }) => release)).toEqual([healthy]);
    project.removePlugin("broken");
  });

  test("fails with the last output when an instance never listens", async () => {
    project.writePlugins({ hanging: hangingPlugin });
    project.declare(declaration({ health: { startTimeout: "15s" } }));
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("did not listen");
    expect(run.output).toContain("about to hang");
    await stillServes("2");
    project.removePlugin("hanging");
  });

  test("fails with exit code and last output when an instance crashes after it listened", async () => {
    project.writePlugins({ crashing: crashingPlugin });
    project.declare(declaration({ health: { stableFor: "8s" } }));
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("exited with code 42");
    expect(run.output).toContain("the painter ran out of paint");
    await stillServes("2");
    project.removePlugin("crashing");
  });

  test("fails with node and error when the smoke workflow does not succeed", async () => {
    project.writePlugins({ failing: failingNode });
    project.declare(declaration({ health: { smoke: { "7": { class_type: "Fails", inputs: {} } } } }));
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("the smoke workflow failed in node 7 (Fails)");
    expect(run.output).toContain("no paint left");
    await stillServes("2");
  });

  test("is kept out of the way of a destroy", async () => {
    const run = await project.destroy();
    expect(run.output).toContain("deleted");
    expect(run.code).toBe(0);
  });
});
