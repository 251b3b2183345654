import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { acceptanceScript, type Seen } from "../support/acceptance-script";
import { runCompiled } from "../support/cli-compiled";
import { runCli } from "../support/cli-run";
import { finished, submit } from "../support/comfyui-client";
import { useCommandPlugin } from "../support/command-plugin-path";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";

describe("a script that a release has to pass", () => {
  let project: PulumiProject;
  let url = "";
  let serving = "";

  const seenFile = () => join(project.folder, "seen.json");
  const seen = (): Seen => JSON.parse(readFileSync(seenFile(), "utf8"));

  function declare(verify: object | undefined, more: object = {}) {
    rmSync(seenFile(), { force: true });
    project.declare({
      count: 1,
      workstation: { state: "stopped" },
      service: { health: quickHealth, ...(verify === undefined ? {} : { verify }), ...more },
    });
  }

  async function stillServes(version: string): Promise<void> {
    const id = await submit(url, paint(0, `${Math.random()}`));
    expect(paintedBy((await finished(url, id)).outputs)).toBe(version);
    expect((await project.service()).serving).toBe(serving);
  }

  const script = (...args: readonly string[]) => ["node acceptance.mjs", ...args].join(" ");

  /** Its last release, which was refused. */
  async function refused() {
    const last = (await project.service()).releases.at(-1);
    expect(last?.count).toBe(0);
    await waitFor({
      what: "its instances to go",
      deadline: 30_000,
      look: async () => (await project.service()).instances.every(({ release }) => release === serving) || undefined,
    });
    return last;
  }

  beforeAll(async () => {
    useCommandPlugin();
    project = PulumiProject.create();
    project.makeEnvironment({ painter: painter("1") });
    writeFileSync(join(project.folder, "acceptance.mjs"), acceptanceScript);
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test("is tried with the first release, which nobody reaches yet", async () => {
    declare({ command: script("1"), environmentVariables: { TOLD: "a 'quoted' $word" } });
    const run = await project.up();
    expect(run.code, run.output).toBe(0);
    ({ serviceUrl: url = "", release: serving = "" } = await project.outputs());
    await stillServes("1");
    const { environment, ...answers } = seen();
    expect(answers).toEqual({ http: "1", socket: "1", publicly: null });
    expect(environment).toMatchObject({
      COMFYUI_RELEASE: serving,
      COMFYUI_SERVICE: "studio",
      TOLD: "a 'quoted' $word",
    });
    expect(environment.COMFYUI_URL).not.toBe(url);
    const token = await (await project.supervisor()).deployerToken("studio");
    expect(JSON.stringify(environment)).not.toContain(token);
  });

  test("reaches the candidate, by requests and by a WebSocket, while users reach the release that serves", async () => {
    project.writePlugins({ painter: painter("2") });
    declare({ command: script("2", url) });
    await project.mustUp();
    expect(seen()).toMatchObject({ http: "2", socket: "2", publicly: "1" });
    serving = (await project.outputs()).release ?? "";
    await stillServes("2");
  });

  test("is not run again for a release that serves, whatever of it changes", async () => {
    declare({ command: script("9"), environmentVariables: { TOLD: "else" } });
    const run = await project.mustUp();
    expect(run.output).toContain("has served");
    expect(existsSync(seenFile())).toBe(false);
    await stillServes("2");
    expect((await project.mustUp()).output).not.toContain("has served");
  });

  test("that refuses a release fails the update with its output; traffic stays, the release's instances go", async () => {
    project.writePlugins({ painter: painter("3") });
    declare({ command: script("9") });
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("painted by 3, wanted 9");
    expect(run.output).toContain("ended with exit code 7");
    expect(run.output).toContain(`traffic stays on ${serving}`);
    await stillServes("2");
    expect((await refused())?.events.at(-1)).toMatchObject({
      event: "failed",
      detail: "acceptance: the command ended with exit code 7: painted by 3, wanted 9",
    });
  });

  test("is run again by the next update, against the same release, which is proven anew", async () => {
    const before = (await project.service()).releases.at(-1)?.id;
    rmSync(seenFile());
    expect((await project.up()).code).not.toBe(0);
    expect(seen()).toMatchObject({ http: "3" });
    expect((await refused())?.id).toBe(before);
    declare({ command: script("3") });
    await project.mustUp();
    serving = (await project.outputs()).release ?? "";
    expect(serving).toBe(before);
    await stillServes("3");
  });

  test("that refuses gives way to the earlier environment, and the leftovers are removed", async () => {
    project.writePlugins({ painter: painter("4") });
    declare({ command: script("9") });
    expect((await project.up()).code).not.toBe(0);
    project.writePlugins({ painter: painter("3") });
    declare({ command: script("3") });
    await project.mustUp();
    serving = (await project.outputs()).release ?? "";
    await stillServes("3");
    const { instances, releases } = await project.service();
    expect(instances.map(({ release }) => release)).toEqual([serving]);
    for (const { id, events } of releases) if (id !== serving) expect(events.at(-1)?.event).toBe("removed");
  });

  test("is ended when it takes too long, with what it started", async () => {
    project.writePlugins({ painter: painter("5") });
    declare({ command: "echo begins; sleep 3600 & sleep 3601; true", timeout: "2s" });
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("begins");
    expect(run.output).toContain("did not end within 2s and was ended");
    await stillServes("3");
    expect((await refused())?.events.at(-1)?.detail).toContain("did not end within 2s");
    expect(leftOf("sleep 360")).toEqual([]);
  });

  test("ends with an engine that is killed; after recover and up the release is tried again", async () => {
    const holding = join(project.folder, "holding");
    declare({ command: `touch ${holding}; sleep 3602 & sleep 3603` });
    const run = project.start("up", "--yes", "--skip-preview");
    await waitFor({
      what: "the script to begin",
      deadline: 120_000,
      look: () => existsSync(holding) || undefined,
    });
    await run.kill();
    await waitFor({
      what: "the script to end with its engine",
      deadline: 60_000,
      look: () => leftOf("sleep 360").length === 0 || undefined,
      seen: () => project.processes().join("\n"),
    });
    // It was not refused: nobody has tried it to the end.
    const { releases } = await project.service();
    expect(releases.at(-1)?.events.at(-1)?.event).not.toBe("failed");
    const recovered = await runCli(["recover", "--yes", "--json"], {
      cwd: project.folder,
      environment: project.environmentVariables,
    });
    expect(recovered).toMatchObject({ code: 0, json: { lock: { cancelled: true }, orphans: [] } });
    expect(recovered.stderr).not.toContain("by hand");
    declare({ command: script("5") });
    await project.mustUp();
    serving = (await project.outputs()).release ?? "";
    await stillServes("5");
    // Supervisor, gateway and instance.
    await waitFor({
      what: "three processes to be left",
      deadline: 30_000,
      look: () => project.processes().length === 3 || undefined,
      seen: () => project.processes().join("\n"),
    });
  });

  test("ends with an update that is cancelled, which says nothing about the release", async () => {
    project.writePlugins({ painter: painter("5b") });
    const holding = join(project.folder, "holding-again");
    declare({ command: `touch ${holding}; trap '' TERM; sleep 3604 & sleep 3605; sleep 3606` });
    const run = project.start("up", "--yes", "--skip-preview");
    await waitFor({ what: "the script to begin", deadline: 120_000, look: () => existsSync(holding) || undefined });
    run.interrupt();
    expect((await run.ended).code).not.toBe(0);
    await waitFor({
      what: "the script to end",
      deadline: 60_000,
      look: () => leftOf("sleep 360").length === 0 || undefined,
      seen: () => project.processes().join("\n"),
    });
    expect((await project.service()).releases.at(-1)?.events.at(-1)?.event).toBe("proven");
    declare({ command: script("5b") });
    await project.mustUp();
    serving = (await project.outputs()).release ?? "";
    await stillServes("5b");
  });

  test("gets secrets that neither the state nor a command line shows", async () => {
    project.writePlugins({ painter: painter("6") });
    project.writeProgram(`
const { readFileSync } = require("node:fs");
const pulumi = require("@pulumi/pulumi");
const { ComfyUIProject, fixed, local } = require("pulumi-comfyui");
const { count, ...rest } = JSON.parse(readFileSync("declaration.json", "utf8"));
rest.service.verify.environmentVariables = { PASSWORD: pulumi.secret("open sesame") };
const platform = local({ directory: "platform" });
const project = new ComfyUIProject("studio", { platform, environment: "studio", store: "store", scaling: fixed(count), ...rest });
module.exports = { release: project.service.release };
`);
    declare({ command: `ps -ef > processes.txt; ${script("6")}` });
    await project.mustUp();
    serving = (await project.outputs()).release ?? "";
    expect(seen().environment.PASSWORD).toBe("open sesame");
    const state = await project.state();
    expect(JSON.stringify(state)).not.toContain("open sesame");
    // The same on another machine.
    const create = state.deployment.resources.find(({ type }) => type === "command:local:Command")?.inputs?.create;
    expect(create).toMatch(/^exec node (?!\/)\S*dist\/runtime\/cli\/main\.js with-candidate studio /);
    expect(readFileSync(join(project.folder, "processes.txt"), "utf8")).not.toContain("open sesame");
  });

  test("may be run by hand, against any release, without a say in its fate", async () => {
    const byHand = (...args: readonly string[]) =>
      runCompiled(["with-candidate", "studio", ...args], { cwd: project.folder });
    const where = ["--directory", "platform", "--release", serving];
    const run = await byHand(
      ...where,
      "--",
      "sh",
      "-c",
      "echo $COMFYUI_RELEASE; curl -s $COMFYUI_URL/queue >&2; exit 5",
    );
    expect([run.code, run.stdout]).toEqual([5, `${serving}\n`]);
    expect(run.stderr).toContain("queue_running");
    expect(run.stderr).toContain("the command ended with exit code 5");
    expect((await project.service()).serving).toBe(serving);
    const none = await byHand("--directory", "platform", "--", "true");
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining(`${serving} (has served)`)]);
    const unknown = await byHand("--directory", "platform", "--release", "r0-aaaaa", "--", "true");
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("has no release r0-aaaaa")]);
    const wrong = await byHand(...where, "--timeout", "soon", "--", "true");
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('"soon" is not a duration')]);
  });

  test("goes with a destroy", async () => {
    const run = await project.destroy();
    expect(run.code, run.output).toBe(0);
  });

  function leftOf(text: string): readonly string[] {
    return execFileSync("ps", ["-eo", "args="], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.startsWith(text));
  }
});
