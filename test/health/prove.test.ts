import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type ExpectedPlugin, type ProofPhase, type ProofRequest, prove } from "../../runtime/health";
import { DeadlineError } from "../../runtime/waiting";
import { idle, request } from "../support/comfyui-client";
import { type StandIn, type StartingStandIn, spawnStandIn, startStandIn } from "../support/stand-in";
import { brokenPlugin, workingPlugin } from "../support/stand-in-plugins";

const plugin = (name: string): ExpectedPlugin => ({ name, contentHash: null, baseline: null });
const addOne = (value: unknown) => ({ "1": { class_type: "TestAddOne", inputs: { value } } });

/** A proof of a server with time to spare, except for what a test shortens. */
function proving(server: StandIn, changes: Partial<ProofRequest> = {}) {
  const reports: [ProofPhase, string][] = [];
  const proof = prove({
    url: server.url,
    readLog: server.readLog,
    plugins: [],
    acceptFailing: [],
    smoke: null,
    smokeTimeout: 30_000,
    stableFor: 0,
    startTimeout: 30_000,
    report: (phase, detail) => reports.push([phase, detail]),
    signal: new AbortController().signal,
    ...changes,
  });
  return { proof, reports };
}

/** A port that nobody listens at. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const at = (server: StartingStandIn, port: number): StandIn => ({ ...server, port, url: `http://127.0.0.1:${port}` });

describe("a server", () => {
  it("is proven when its plugins load, its smoke workflow runs, and it goes on answering", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });
    const { proof, reports } = proving(server, { plugins: [plugin("working")], smoke: addOne(1), stableFor: 100 });

    expect(await proof).toEqual({ proven: true, remarks: [] });
    expect([...new Set(reports.map(([phase]) => phase))]).toEqual(["importing", "smoke", "stabilizing"]);
    expect((await request(server.url, "GET", "/history")).json).toEqual({});
  });

  it("is waited for while it starts, and says how far it is", async () => {
    const port = await freePort();
    await using server = spawnStandIn({
      port,
      plugins: {
        slow: "import os\nimport time\n\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n\nNODE_CLASS_MAPPINGS = {}\n",
      },
    });
    const phases = new Set<ProofPhase>();
    const { proof } = proving(at(server, port), {
      plugins: [plugin("slow")],
      report: (phase) => {
        phases.add(phase);
        // The plugin's import ends only now, so the importing phase is seen.
        if (phase === "importing") writeFileSync(join(server.base, "go"), "");
      },
    });

    expect(await proof).toMatchObject({ proven: true });
    expect(phases).toContain("importing");
  });

  it("is not proven when a plugin fails, and the finding has its traceback", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin, broken: brokenPlugin } });
    const { proof } = proving(server, { plugins: [plugin("working"), plugin("broken")] });

    expect(await proof).toMatchObject({
      proven: false,
      finding: {
        phase: "importing",
        plugin: "broken",
        reason: "plugin broken: No module named 'a_module_that_is_missing'",
        traceback: expect.stringMatching(
          /^broken:\nTraceback .*import a_module_that_is_missing\nModuleNotFoundError: /s,
        ),
      },
    });
  });

  it("is not proven when several plugins fail, and the finding names each", async () => {
    await using server = await startStandIn({ plugins: { broken: brokenPlugin, empty: "" } });
    const { proof } = proving(server, { plugins: [plugin("broken"), plugin("empty"), plugin("gone")] });

    expect(await proof).toMatchObject({
      finding: {
        reason: expect.stringMatching(/plugin broken: .*; plugin empty: .*; plugin gone: ComfyUI did not import it/),
      },
    });
  });

  it("is proven with a failing plugin that is accepted, and with one that failed before, which is remarked", async () => {
    await using server = await startStandIn({
      plugins: { broken: brokenPlugin, known: brokenPlugin, mended: workingPlugin },
    });
    const failedBefore = (name: string): ExpectedPlugin => ({
      name,
      contentHash: "same",
      baseline: { name, contentHash: "same", state: "failed", classes: [] },
    });
    const { proof } = proving(server, {
      plugins: [plugin("broken"), failedBefore("known"), failedBefore("mended")],
      acceptFailing: ["broken"],
    });

    expect(await proof).toEqual({
      proven: true,
      remarks: expect.arrayContaining([
        "plugin broken failed to load, as it did before or was accepted to",
        "plugin known failed to load, as it did before or was accepted to",
        "plugin mended, which failed before, loads",
      ]),
    });
  });

  it("is not proven when it never listens, and the finding says what it was doing", async () => {
    const port = await freePort();
    await using server = spawnStandIn({ port, plugins: { stuck: "import time\n\ntime.sleep(600)\n" } });
    const { proof } = proving(at(server, port), { startTimeout: 3_000 });

    expect(await proof).toEqual({
      proven: false,
      finding: { phase: "importing", reason: `it did not listen at http://127.0.0.1:${port} within 3s` },
    });
  });

  it("that ends meanwhile ends the proof with the signal's reason", async () => {
    const port = await freePort();
    await using server = spawnStandIn({ port, plugins: { exits: "import sys\n\nsys.exit(3)\n" } });
    const ended = new AbortController();
    void server.exited.then(({ code }) => ended.abort(new Error(`it ended with ${code}`)));

    await expect(proving(at(server, port), { signal: ended.signal }).proof).rejects.toThrow("it ended with 3");
  });

  it("that ends during its smoke workflow ends the proof with the signal's reason", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });
    const ended = new AbortController();
    void server.exited.then(({ signal }) => ended.abort(new Error(`it was ended by ${signal}`)));
    const smoke = { "1": { class_type: "TestSlow", inputs: { seconds: 600, mode: "progress" } } };
    const { proof } = proving(server, {
      smoke,
      signal: ended.signal,
      report: (_phase, detail) => {
        if (detail.startsWith("waiting for the smoke workflow")) process.kill(server.pid, "SIGTERM");
      },
    });

    await expect(proof).rejects.toThrow("it was ended by SIGTERM");
  });

  it("that stops answering while it has to be stable is given up", async () => {
    await using server = await startStandIn();
    const { proof } = proving(server, {
      stableFor: 600_000,
      startTimeout: 500,
      report: (_phase, detail) => {
        if (detail.startsWith("stable for")) process.kill(server.pid, "SIGKILL");
      },
    });

    await expect(proof).rejects.toThrow(DeadlineError);
    await expect(proof).rejects.toThrow(/has not answered for /);
  });
});

describe("a smoke workflow", () => {
  it("that is refused is a finding with ComfyUI's reason", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });

    expect(await proving(server, { smoke: addOne(100_000) }).proof).toMatchObject({
      proven: false,
      finding: {
        phase: "smoke",
        reason: expect.stringMatching(/refused the smoke workflow: HTTP 400: .*bigger than max/),
      },
    });
  });

  it("of which ComfyUI would only run a part is refused", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });
    const smoke = { ...addOne(1), "2": { class_type: "TestAddOne", inputs: { value: -1 } } };

    expect(await proving(server, { smoke }).proof).toMatchObject({
      finding: { phase: "smoke", reason: expect.stringMatching(/refused the smoke workflow: .*smaller than min/) },
    });
  });

  it("that fails is a finding with the node and its traceback", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });
    const smoke = { "7": { class_type: "TestFail", inputs: { message: "no such GPU" } } };

    expect(await proving(server, { smoke }).proof).toMatchObject({
      finding: {
        phase: "smoke",
        reason: "the smoke workflow failed in node 7 (TestFail): RuntimeError: no such GPU",
        traceback: expect.stringContaining("raise RuntimeError(message)"),
      },
    });
  });

  it("that takes too long is a finding, and does not go on running", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });
    const smoke = { "1": { class_type: "TestSlow", inputs: { seconds: 600, mode: "progress" } } };

    expect(await proving(server, { smoke, smokeTimeout: 300 }).proof).toEqual({
      proven: false,
      finding: { phase: "smoke", reason: "the smoke workflow did not finish within 300ms" },
    });
    await idle(server.url);
  });

  it("that was interrupted by somebody is a finding", async () => {
    await using server = await startStandIn({ plugins: { working: workingPlugin } });
    const smoke = { "1": { class_type: "TestSlow", inputs: { seconds: 600, mode: "progress" } } };
    const { proof } = proving(server, {
      smoke,
      report: (_phase, detail) => {
        if (detail.startsWith("waiting for the smoke workflow")) void request(server.url, "POST", "/interrupt");
      },
    });

    expect(await proof).toMatchObject({
      finding: { phase: "smoke", reason: "the smoke workflow did not succeed: execution_interrupted" },
    });
  });
});
