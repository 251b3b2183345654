import { spawn } from "node:child_process";
import { once } from "node:events";
import { delimiter, join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { packageRoot } from "../../../runtime/package-root";
import { waitFor } from "../../../runtime/waiting";
import { compiledCommand } from "../../support/cli-compiled";
import { pathWithPulumi } from "../../support/cli-pulumi";
import { runCli } from "../../support/cli-run";
import { PulumiProject } from "../../support/pulumi-project";
import { hangingPlugin } from "../../support/supervisor-environment";

const plugin = "NODE_CLASS_MAPPINGS = {}\n";

describe.skipIf(pathWithPulumi === null)("a deployment that was killed", () => {
  it("goes on after recover, from the release that served to the next", async () => {
    compiledCommand();
    const launcher = join(packageRoot(), "node_modules", "@pulumi", "pulumi");
    vi.stubEnv("PATH", [pathWithPulumi, launcher].join(delimiter));
    const project = PulumiProject.create({ name: "killed" });
    onTestFinished(async () => {
      await project.destroy();
      await project[Symbol.asyncDispose]();
      vi.unstubAllEnvs();
    });
    const context = { cwd: project.folder, environment: project.environmentVariables };
    const status = () => runCli(["status", "--json", "--directory", project.platform], context);
    project.makeEnvironment({ "my-plugin": plugin });
    project.declare({ count: 1, workstation: { state: "stopped" } });
    await project.mustUp();
    const first = (await project.service()).serving;

    project.writePlugins({ "my-plugin": hangingPlugin });
    const run = spawn("pulumi", ["up", "--yes", "--skip-preview", "--non-interactive"], {
      cwd: project.folder,
      env: project.environmentVariables,
      stdio: "ignore",
    });
    await waitFor({
      what: "a candidate to start",
      deadline: 60_000,
      look: async () =>
        (await project.service()).instances.some(({ release, phase }) => release !== first && phase === "importing") ||
        undefined,
    });
    const killed = once(run, "exit");
    run.kill("SIGKILL");
    await killed;
    const afterKill = await status();
    const recovered = await runCli(["recover", "--yes", "--json"], context);
    project.writePlugins({ "my-plugin": `${plugin}VERSION = 2\n` });
    await project.mustUp();
    const afterUp = await status();
    const again = await runCli(["recover", "--dry-run"], context);
    const history = await runCli(["history", "--json", "--directory", project.platform], context);

    const { serving, releases } = await project.service();
    expect(afterKill.json).toMatchObject({ services: [{ serving: first }] });
    expect([recovered.code, recovered.json]).toMatchObject([0, { lock: { cancelled: true }, orphans: [] }]);
    expect([afterUp.code, again.code]).toEqual([0, 0]);
    expect(serving).not.toBe(first);
    expect(releases.find(({ id }) => id === first)?.events.at(-1)?.event).toBe("removed");
    expect(history.json).toMatchObject({ services: [{ rollback: { release: first, stored: true } }] });
  }, 240_000);
});
