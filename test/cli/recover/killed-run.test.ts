import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { findLeftOvers } from "../../../runtime/cli/recover/processes";
import { packageRoot } from "../../../runtime/package-root";
import { waitFor } from "../../../runtime/waiting";
import { makeStack, pathWithPulumi } from "../../support/cli-pulumi";
import { runCli } from "../../support/cli-run";
import { writeFiles } from "../../support/cli-surroundings";

/** A program whose only resource is never done being created. */
const program = `
const pulumi = require("@pulumi/pulumi");
const provider = {
  async create() {
    require("node:fs").writeFileSync("creating", "");
    await new Promise(() => setInterval(() => undefined, 1000));
  },
};
class Hanging extends pulumi.dynamic.Resource {
  constructor(name) {
    super(provider, name, {}, undefined, "comfyui", "Instances");
  }
}
new Hanging("studio");
`;

describe.skipIf(pathWithPulumi === null)("a real run that was killed", () => {
  it("is recovered from: lock, pending creation and the processes that it left", async () => {
    const launcher = join(packageRoot(), "node_modules", "@pulumi", "pulumi");
    const stack = makeStack([pathWithPulumi, launcher].join(delimiter));
    const { project, environment } = stack;
    writeFiles(project, { "index.js": program, "package.json": '{ "main": "index.js" }' });
    symlinkSync(join(packageRoot(), "node_modules"), join(project, "node_modules"));
    const run = spawn("pulumi", ["up", "--yes", "--skip-preview", "--non-interactive"], {
      cwd: project,
      env: environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    onTestFinished(() => void run.kill("SIGKILL"));
    let said = "";
    for (const stream of [run.stdout, run.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        said += text;
      });
    }
    await waitFor({
      what: "the resource's creation to begin",
      deadline: 50_000,
      seen: () => said,
      look: () => existsSync(join(project, "creating")) || undefined,
    });

    const whileItRuns = await runCli(["recover", "--yes"], { cwd: project, environment });
    const killed = once(run, "exit");
    run.kill("SIGKILL");
    await killed;
    const recovered = await runCli(["recover", "--json"], { cwd: project, environment });
    const again = await runCli(["recover", "--json"], { cwd: project, environment });

    expect([whileItRuns.code, recovered.code, again.code]).toEqual([1, 0, 0]);
    expect(recovered.json).toMatchObject({
      recovered: true,
      lock: { locks: [{ pid: run.pid, holder: "gone" }], cancelled: true },
      pendingOperations: [{ operation: "creating", mayBeLost: false, cleared: true }],
    });
    expect((recovered.json as { leftOvers: unknown[] }).leftOvers).toContainEqual({
      pid: expect.any(Number),
      ended: true,
    });
    expect(again.json).toMatchObject({ leftOvers: [], lock: { locks: [] }, pendingOperations: [] });
    expect(await findLeftOvers(project)).toEqual([]);
    expect(JSON.parse(stack.pulumi(["preview", "--json"]))).toMatchObject({ changeSummary: { create: 1, same: 1 } });
  });
});
