import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { readWorkstationRecords, type SupervisorClient } from "../../runtime/supervisor";
import { freePort } from "../../runtime/supervisor/ports";
import { brokenPlugin, workingPlugin } from "../support/stand-in-plugins";
import { exitingPlugin, makeEnvironment, setPlugin } from "../support/supervisor-environment";
import {
  isLive,
  otherOwner,
  queueWaiting,
  TestPlatform,
  until,
  untilWorkstation,
  workstationOf,
} from "../support/supervisor-platform";

let platform: TestPlatform;
let environment: EnvironmentLocation;
let client: SupervisorClient;

const running = (name = "studio") => untilWorkstation(client, name, "to run", ({ phase }) => phase === "running");

describe("a workstation", () => {
  beforeEach(async () => {
    platform = new TestPlatform();
    environment = makeEnvironment(join(platform.folder, "studio"), { working: workingPlugin, broken: brokenPlugin });
    client = await platform.connect();
  });
  afterEach(() => platform.remove());

  it("runs on its environment, and records how each plugin behaved", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));

    const state = await running();

    expect((await fetch(`${state.url}/system_stats`)).status).toBe(200);
    expect(state.plugins?.map(({ name, state: how }) => [name, how])).toEqual([
      ["broken", "failed"],
      ["working", "loaded"],
    ]);
    const [broken, working] = state.plugins ?? [];
    expect(working?.classes).toEqual(["TestAddOne", "TestFail", "TestSlow", "TestWait"]);
    expect(working?.contentHash).toMatch(/^[0-9a-f]{64}$/);
    expect(working?.contentHash).not.toBe(broken?.contentHash);
    expect(readWorkstationRecords(platform.directory)).toEqual([
      { name: "studio", declaration: state.declaration, port: state.port, plugins: state.plugins },
    ]);
  });

  it("is stopped after its prompts, and keeps its port", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const { url, port, pid } = await running();
    const file = join(platform.folder, "go on");
    await queueWaiting(url, file);

    const declared = await client.declareWorkstation("studio", workstationOf(environment, { state: "stopped" }));

    expect(declared.phase).toBe("stopping");
    await untilWorkstation(client, "studio", "to wait", ({ detail }) => detail.startsWith("1 prompt left"));
    expect(isLive(pid)).toBe(true);
    writeFileSync(file, "");
    const stopped = await untilWorkstation(client, "studio", "to stop", ({ phase }) => phase === "stopped");
    expect(stopped).toMatchObject({ port, pid: null });
    expect(isLive(pid)).toBe(false);
    await client.declareWorkstation("studio", workstationOf(environment));
    expect((await running()).port).toBe(port);
  });

  it("waits for its prompts also when the supervisor was killed meanwhile", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const { url, pid } = await running();
    const file = join(platform.folder, "go on");
    await queueWaiting(url, file);

    await platform.endDaemon("SIGKILL");
    await client.declareWorkstation("studio", workstationOf(environment, { state: "stopped" }));

    await untilWorkstation(client, "studio", "to wait", ({ detail }) => detail.includes("1 prompt left"));
    expect(isLive(pid)).toBe(true);
    writeFileSync(file, "");
    await untilWorkstation(client, "studio", "to stop", ({ phase }) => phase === "stopped");
  });

  it("is ended in spite of its prompts when their time is over", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const { url, pid } = await running();
    await queueWaiting(url, join(platform.folder, "never"));

    await client.declareWorkstation("studio", workstationOf(environment, { state: "stopped", stopDeadline: 300 }));

    await untilWorkstation(client, "studio", "to stop", ({ phase }) => phase === "stopped");
    expect(isLive(pid)).toBe(false);
  });

  it("stays the same process over the end of its supervisor", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const before = await running();

    await platform.endDaemon("SIGTERM");
    expect(isLive(before.pid)).toBe(true);

    expect(await running()).toMatchObject({ pid: before.pid, restarts: 0, plugins: before.plugins });
  });

  it("ends with a supervisor that is forced to end, and is started by the next", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const before = await running();

    await client.shutdown({ force: true });

    expect(platform.processes).toEqual([]);
    const after = await running();
    expect(after.port).toBe(before.port);
    expect(after.pid).not.toBe(before.pid);
  });

  it("is started again when it ends unasked, also while no supervisor was there", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const first = await running();
    process.kill(first.pid ?? 0, "SIGKILL");
    const second = await untilWorkstation(
      client,
      "studio",
      "to run again",
      ({ phase, pid }) => phase === "running" && pid !== first.pid,
    );
    expect(second).toMatchObject({ restarts: 1, evidence: null });

    await platform.endDaemon("SIGKILL");
    process.kill(second.pid ?? 0, "SIGKILL");
    await until("it to end", () => !isLive(second.pid));

    const third = await running();
    expect(isLive(third.pid)).toBe(true);
  });

  it("is started again when its declaration changes, and when a person asks", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const { pid } = await running();
    const port = await freePort();

    await client.declareWorkstation("studio", workstationOf(environment, { port }));
    const moved = await untilWorkstation(
      client,
      "studio",
      "to run elsewhere",
      (state) => state.phase === "running" && state.pid !== pid,
    );
    expect(moved.port).toBe(port);
    expect((await fetch(`http://127.0.0.1:${port}/prompt`)).status).toBe(200);

    await client.restartWorkstation("studio");
    const again = await untilWorkstation(
      client,
      "studio",
      "to run again",
      (state) => state.phase === "running" && state.pid !== moved.pid,
    );
    expect(again.port).toBe(port);
  });

  it("is failed, with what it printed, after three starts that failed, and runs once that is mended", async () => {
    setPlugin(environment, "exiting", exitingPlugin);
    await client.declareWorkstation("studio", workstationOf(environment));

    const failed = await untilWorkstation(client, "studio", "to fail", ({ phase }) => phase === "failed");

    expect(failed.evidence).toMatchObject({ phase: "importing", exit: { code: 3 }, reason: /exited with code 3/ });
    expect(failed.evidence?.logTail.join("\n")).toContain("about to end");
    expect(failed.restarts).toBeGreaterThanOrEqual(2);
    setPlugin(environment, "exiting", workingPlugin);
    await client.restartWorkstation("studio");
    expect((await running()).evidence).toBeNull();
  });

  it("goes without a trace when it is removed, after its prompts", async () => {
    await client.declareWorkstation("studio", workstationOf(environment));
    const { url, pid } = await running();
    const file = join(platform.folder, "go on");
    await queueWaiting(url, file);

    const removed = client.removeWorkstation("studio");
    await untilWorkstation(client, "studio", "to wait", ({ detail }) => detail.includes("1 prompt left"));
    writeFileSync(file, "");
    await removed;

    expect(await client.workstation("studio")).toBeNull();
    expect(isLive(pid)).toBe(false);
    expect(platform.processes).toEqual([]);
    expect(readWorkstationRecords(platform.directory)).toEqual([]);
    await client.removeWorkstation("studio");
  });
});

describe("the declaration of a workstation", () => {
  beforeAll(async () => {
    platform = new TestPlatform();
    environment = makeEnvironment(join(platform.folder, "studio"), {});
    client = await platform.connect();
    await client.declareWorkstation("studio", workstationOf(environment));
  });
  afterAll(() => platform.remove());

  it("is refused to another owner", async () => {
    const refused = client.declareWorkstation("studio", workstationOf(environment, { owner: otherOwner }));

    await expect(refused).rejects.toMatchObject({ refusal: { code: "owned-by-another" } });
  });

  it("is refused for an environment that another workstation has", async () => {
    const refused = client.declareWorkstation("second", workstationOf(environment));

    await expect(refused).rejects.toThrow(/already the workstation studio's/);
  });

  it("is refused for a port that something else holds, which is named", async () => {
    const { port } = await running();

    const refused = client.declareWorkstation("second", workstationOf({ ...environment, root: "/nowhere" }, { port }));

    await expect(refused).rejects.toMatchObject({
      refusal: { code: "port-taken", message: expect.stringContaining("workstation studio") },
    });
  });

  it("may come before its environment is complete, which it then says", async () => {
    const root = join(platform.folder, "empty");

    await client.declareWorkstation("empty", workstationOf({ ...environment, root }));

    const state = await untilWorkstation(client, "empty", "to say why", ({ evidence }) => evidence !== null);
    expect(state.evidence?.reason).toContain(join(root, "venv/bin/python"));
    await client.removeWorkstation("empty");
  });
});
