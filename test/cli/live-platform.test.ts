import { chmodSync, existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { defaultLayout } from "../../runtime/environment";
import { connectSupervisor, type GatewayDeclaration } from "../../runtime/supervisor";
import { waitFor } from "../../runtime/waiting";
import { compiledCommand } from "../support/cli-compiled";
import { digestOf, owner, specOf } from "../support/cli-platform";
import { makeStack, pathWithPulumi } from "../support/cli-pulumi";
import { runCli } from "../support/cli-run";
import { stackState, stateResource } from "../support/cli-stack-state";
import { temporaryFolder, writeFiles } from "../support/cli-surroundings";
import { makeEnvironment, packEnvironment } from "../support/supervisor-environment";
import {
  allProven,
  patience,
  specFor,
  TestPlatform,
  untilService,
  untilWorkstation,
  workstationOf,
} from "../support/supervisor-platform";

const settings = { drain: { deadline: patience, onDeadline: "keep" } } as const;
const gateway: GatewayDeclaration = {
  port: null,
  apiKeyHashes: [],
  maximumBodySize: 2 ** 20,
  resultRetention: 60_000,
  maximumSpoolSize: 2 ** 20,
};
const plugin = "NODE_CLASS_MAPPINGS = {}\n";
/** A release that is never started needs no snapshot. */
const anySpec = specOf(`/store#sha256:${digestOf("0")}`);

/** A real supervisor; it and all that it started end after the test. */
async function startPlatform() {
  compiledCommand();
  const platform = new TestPlatform();
  onTestFinished(() => platform.remove());
  return { folder: platform.folder, directory: platform.directory, supervisor: await platform.connect() };
}

const stoppedWorkstation = (root: string) =>
  workstationOf({ root, layout: defaultLayout }, { owner, state: "stopped" });

describe("a platform with a supervisor", () => {
  it("is healthy with a workstation that runs, whose URL can be opened", async () => {
    const { folder, directory, supervisor } = await startPlatform();
    const environment = makeEnvironment(join(folder, "studio"), { "my-plugin": plugin });
    await supervisor.declareWorkstation("studio", workstationOf(environment, { owner }));
    const { url } = await untilWorkstation(supervisor, "studio", "to run", ({ phase }) => phase === "running");
    const bin = temporaryFolder();
    writeFiles(bin, { "xdg-open": `#!/bin/sh\necho "$1" > ${bin}/opened.part\nmv ${bin}/opened.part ${bin}/opened\n` });
    chmodSync(join(bin, "xdg-open"), 0o755);
    const environmentVariables = { ...process.env, PATH: [bin, process.env.PATH].join(delimiter) };

    const status = await runCli(["status", "--directory", directory]);
    const document = await runCli(["status", "studio", "--directory", directory, "--json"]);
    const opened = await runCli(["open", "--browser", "--directory", directory], { environment: environmentVariables });
    const noBrowser = await runCli(["open", "--browser", "--directory", directory], {
      environment: { PATH: directory },
    });
    await waitFor({
      what: "the browser",
      deadline: patience,
      look: () => existsSync(join(bin, "opened")) || undefined,
    });

    expect([status.code, document.code, opened.code, noBrowser.code]).toEqual([0, 0, 0, 1]);
    expect(status.stdout).toMatch(new RegExp(`studio +running +0 +0 +${url}`));
    expect(status.stdout).toContain("Healthy.");
    expect(document.json).toMatchObject({ running: true, healthy: true, workstations: [{ phase: "running", url }] });
    expect(opened.stdout).toBe(`${url}\n`);
    expect(readFileSync(join(bin, "opened"), "utf8")).toBe(`${url}\n`);
    expect(noBrowser.stderr).toContain("xdg-open could not be started");
  });
});

describe.skipIf(pathWithPulumi === null)("recover on a platform with a supervisor", () => {
  const path = pathWithPulumi ?? "";

  it("removes what no resource knows and nothing else", async () => {
    const { directory, supervisor } = await startPlatform();
    await supervisor.claimService("studio", { owner, settings, takeover: false });
    const known = await supervisor.createRelease("studio", { owner, spec: anySpec });
    await supervisor.setCount("studio", known.id, 0);
    const orphan = await supervisor.createRelease("studio", { owner, spec: { ...anySpec, arguments: ["--cpu"] } });
    await supervisor.claimService("forgotten", { owner, settings, takeover: false });
    await supervisor.claimService("foreign", { owner: { ...owner, stack: "prod" }, settings, takeover: false });
    await supervisor.declareWorkstation("left", stoppedWorkstation("/studio"));
    const place = { directory, service: "studio" };
    const resources = [stateResource("ServiceClaim", place), stateResource("Release", { ...place, release: known.id })];
    const stack = makeStack(path, stackState({ resources }));
    const context = { cwd: stack.project, environment: stack.environment };

    const dry = await runCli(["recover", "--dry-run"], context);
    const before = await supervisor.state();
    const questions: string[] = [];
    const real = await runCli(["recover"], {
      ...context,
      ask: async (question) => {
        questions.push(question);
        return "yes";
      },
    });
    const again = await runCli(["recover"], context);

    expect([dry.code, real.code, again.code]).toEqual([3, 0, 0]);
    expect(before.services).toHaveLength(3);
    expect(questions).toEqual([
      `Remove service forgotten, release ${orphan.id} of service studio, workstation left? [y/N] `,
    ]);
    const after = await supervisor.state();
    expect(after.services.map(({ name }) => name).sort()).toEqual(["foreign", "studio"]);
    expect(after.workstations).toEqual([]);
    const releases = after.services.find(({ name }) => name === "studio")?.releases ?? [];
    expect(releases.map(({ id, events }) => [id, events.at(-1)?.event])).toEqual([
      [known.id, "created"],
      [orphan.id, "removed"],
    ]);
  });

  it("starts a supervisor to remove what one left", async () => {
    const { directory, supervisor } = await startPlatform();
    await supervisor.claimService("studio", { owner, settings, takeover: false });
    await supervisor.shutdown({ force: true });
    const stack = makeStack(path);

    const { code, json } = await runCli(["recover", "--yes", "--json", "--directory", directory], {
      cwd: stack.project,
      environment: stack.environment,
    });

    expect(code).toBe(0);
    expect(json).toMatchObject({ orphans: [{ kind: "service", service: "studio", removed: true }] });
    expect((await (await connectSupervisor(directory)).state()).services).toEqual([]);
  });

  it("leaves what serves users, unless that is wanted", async () => {
    const { folder, directory, supervisor } = await startPlatform();
    const environment = makeEnvironment(join(folder, "studio"), { "my-plugin": plugin });
    const spec = specFor(await packEnvironment(environment));
    await supervisor.claimService("studio", { owner, settings, takeover: false });
    await supervisor.declareGateway("studio", gateway);
    const release = await supervisor.createRelease("studio", { owner, spec });
    await supervisor.setCount("studio", release.id, 1);
    await untilService(supervisor, "studio", "its instance proven", allProven(release, 1));
    await supervisor.setTarget("studio", { release: release.id, expectedServing: null });
    const stack = makeStack(path);
    const context = { cwd: stack.project, environment: stack.environment };

    const status = await runCli(["status", "studio", "--directory", directory]);
    const kept = await runCli(["recover", "--yes", "--directory", directory], context);
    const serving = (await supervisor.service("studio"))?.serving;
    const removed = await runCli(["recover", "--yes", "--include-serving", "--directory", directory], context);

    expect([status.code, kept.code, removed.code]).toEqual([0, 3, 0]);
    expect(status.stdout).toMatch(new RegExp(`^ +0 +${release.id} +proven`, "m"));
    expect(kept.stderr).toContain("what serves users stays");
    expect(serving).toBe(release.id);
    expect(await supervisor.service("studio")).toBeNull();
  });

  it("keeps traffic that a killed switch has moved, which up takes over, and ends it when it is told to", async () => {
    const { folder, directory, supervisor } = await startPlatform();
    const environment = makeEnvironment(join(folder, "studio"), { "my-plugin": plugin });
    const spec = specFor(await packEnvironment(environment));
    await supervisor.claimService("studio", { owner, settings, takeover: false });
    await supervisor.declareGateway("studio", gateway);
    const release = await supervisor.createRelease("studio", { owner, spec });
    await supervisor.setCount("studio", release.id, 1);
    await untilService(supervisor, "studio", "its instance proven", allProven(release, 1));
    await supervisor.setTarget("studio", { release: release.id, expectedServing: null });
    const place = { directory, service: "studio" };
    const resources = [
      ...["ServiceClaim", "Gateway"].map((kind) => stateResource(kind, place)),
      ...["Release", "Instances"].map((kind) => stateResource(kind, { ...place, release: release.id })),
    ];
    const stack = makeStack(path, stackState({ resources }));
    const context = { cwd: stack.project, environment: stack.environment };

    const kept = await runCli(["recover", "--yes", "--json"], context);
    const serving = (await supervisor.service("studio"))?.serving;
    const ended = await runCli(["recover", "--yes", "--include-serving", "--json"], context);

    expect([kept.code, ended.code]).toEqual([0, 0]);
    expect(kept.json).toMatchObject({ recovered: true, orphans: [{ kind: "traffic", serves: true, removed: false }] });
    expect(kept.stderr).toContain("pulumi up takes it over");
    expect(serving).toBe(release.id);
    expect(ended.json).toMatchObject({ orphans: [{ kind: "traffic", removed: true }] });
    expect((await supervisor.service("studio"))?.serving).toBeNull();
  });
});
