import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connectSupervisor } from "../../runtime/supervisor";
import { painter } from "../support/engine-plugins";
import { PulumiProject } from "../support/pulumi-project";

test("a preview shows everything that is wrong with every component at once, property by property", async () => {
  await using project = PulumiProject.create({
    program: `
const { DevWorkstation, OnlineService, Snapshot, fixed, local } = require("pulumi-comfyui");
const platform = local({ directory: "platform" });
const workstation = new DevWorkstation("desk", {
  platform,
  environment: { root: "missing", layout: { dependencies: "../venv", cache: "/tmp/cache" } },
  stopTimeout: "soon",
});
new Snapshot("bucket", { environment: "missing", store: { url: "s3://UPPER/prefix", endpoint: "nowhere" } });
new Snapshot("desk", { environment: workstation.environment, store: "ftp://host/prefix", models: "some" });
new DevWorkstation("bench", { platform, environment: "also-missing", port: 99999 });
new OnlineService("one", {
  platform,
  snapshot: "nonsense",
  scaling: fixed(0),
  health: { timeout: "5 minutes", smoke: "no-such-file.json" },
  drain: { deadline: "1d", onDeadline: "maybe" },
  gateway: { port: Number(process.env.TAKEN_PORT), maximumBodySize: "100MB" },
  verify: { command: " ", timeout: "1d", environmentVariables: { COMFYUI_URL: "x" }, workingDirectory: "no-such-folder" },
});
new OnlineService("two", { platform: { kind: "mars", directory: "x" }, snapshot: "/store#sha256:12", scaling: fixed(1.5) });
new OnlineService("twice", { platform, snapshot: "/store#sha256:${"0".repeat(64)}", scaling: fixed(1) });
new OnlineService("twice", { platform, snapshot: "/store#sha256:${"0".repeat(64)}", scaling: fixed(1) }, { parent: workstation });
`,
  });
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  process.env.TAKEN_PORT = String(port);
  const { code, output } = await project.preview();
  delete process.env.TAKEN_PORT;
  server.close();

  expect(code).not.toBe(0);
  for (const line of [
    /DevWorkstation "desk" environment\.layout\.dependencies: "\.\.\/venv" is outside the environment's root/,
    /DevWorkstation "desk" environment\.layout\.cache: "\/tmp\/cache" is outside the environment's root/,
    /DevWorkstation "desk" stopTimeout: "soon" is not a duration/,
    /Snapshot "desk" store: "ftp:\/\/host\/prefix" is a URL of another kind/,
    /Snapshot "desk" models: is none of "referenced", "locked", "included", found "some"/,
    /Snapshot "bucket" store: .*UPPER.* is not the name of a bucket/,
    /Snapshot "bucket" access\.endpoint: is no URL of an S3-compatible server, found "nowhere"/,
    /DevWorkstation "bench" environment\.root: .*also-missing/,
    /DevWorkstation "bench" port: is no port/,
    /OnlineService "one" snapshot: .*nonsense/,
    /OnlineService "one" scaling\.count: is less than 1.*found 0/,
    /OnlineService "one" health\.timeout: "5 minutes" is not a duration/,
    /OnlineService "one" health\.smoke: .*no-such-file\.json does not exist/,
    /OnlineService "one" drain\.deadline: "1d" is not a duration/,
    /OnlineService "one" drain\.onDeadline: is neither "keep" nor "stop", found "maybe"/,
    new RegExp(`OnlineService "one" gateway\\.port: ${port} is taken`),
    /OnlineService "one" gateway\.maximumBodySize: "100MB" is not a size/,
    /OnlineService "one" verify\.command: is empty/,
    /OnlineService "one" verify\.timeout: "1d" is not a duration/,
    /OnlineService "one" verify\.environmentVariables\.COMFYUI_URL: says where the candidate is/,
    /OnlineService "one" verify\.workingDirectory: .*no-such-folder is no folder/,
    /OnlineService "two" platform.*is no known platform/,
    /OnlineService "two" snapshot: .*\/store#sha256:12/,
    /OnlineService "two" scaling\.count: is not a whole number of instances, found 1\.5/,
    /OnlineService "twice" name: 2 components OnlineService "twice" share the platform/,
  ]) {
    expect(output).toMatch(line);
  }
});

test("an environment without a usable Python is an error at preview that says how to make one", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  const root = join(project.folder, "half");
  mkdirSync(join(root, "ComfyUI/custom_nodes"), { recursive: true });
  project.writeProgram(`
const { DevWorkstation, local } = require("pulumi-comfyui");
new DevWorkstation("half", { platform: local({ directory: "platform" }), environment: "half" });
`);
  const { code, output } = await project.preview();
  expect(code).not.toBe(0);
  expect(output).toMatch(/DevWorkstation "half" environment\.layout\.comfyui: .*main\.py/);
  expect(output).toMatch(/DevWorkstation "half" environment\.layout\.dependencies: .*venv/);
});

test("a name that another stack owns on the platform is refused at preview with its owner", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("1") });
  project.declare({ count: 1, workstation: { state: "stopped" } });
  const client = await connectSupervisor(project.platform);
  await client.claimService("studio", {
    owner: { organization: "organization", project: "somebody", stack: "else" },
    takeover: false,
    settings: { drain: { deadline: 1000, onDeadline: "keep" } },
  });
  const { code, output } = await project.preview();
  expect(code).not.toBe(0);
  expect(output).toContain("is owned by organization/somebody/else since");
});
