import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";

/* examples/policy-pack before the real engine, with the platform that needs no cluster. */

const repository = resolve(__dirname, "../..");
const program = `
const { readFileSync } = require("node:fs");
const { DevWorkstation, fixed, local, OnlineService, Snapshot } = require("pulumi-comfyui");
const { state, pin, health, directory = "platform" } = JSON.parse(readFileSync("declaration.json", "utf8"));
const platform = local({ directory });
const workstation = new DevWorkstation("desk", { platform, environment: "studio", state });
const taken = new Snapshot("desk", { environment: workstation.environment, store: "store" });
new OnlineService("studio", { platform, snapshot: pin ?? taken, scaling: fixed(1), health });
module.exports = { snapshot: taken.reference };
`;

let project: PulumiProject;
let pack: string;

beforeAll(async () => {
  project = PulumiProject.create({ program });
  project.makeEnvironment({ painter: painter("1") });
  pack = copyOfPack(project.folder);
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await project?.[Symbol.asyncDispose]();
});

/**
 * The example as a person has it after `npm install`. A Node.js language host that was built from the Go module runs no policy packs, so that the pack is
 * started as engines start those of languages without a host: by a program on PATH that is named by the runtime.
 */
function copyOfPack(folder: string): string {
  const copy = join(folder, "policy-pack");
  cpSync(join(repository, "examples/policy-pack"), copy, { recursive: true });
  writeFileSync(join(copy, "package.json"), JSON.stringify({ name: "guardrails", version: "1.0.0", main: "index.ts" }));
  mkdirSync(join(copy, "node_modules"));
  for (const name of ["@pulumi", "typescript", "ts-node", "@types"]) {
    symlinkSync(join(repository, "node_modules", name), join(copy, "node_modules", name));
  }
  symlinkSync(repository, join(copy, "node_modules/pulumi-comfyui"));
  const settings = join(copy, "PulumiPolicy.yaml");
  writeFileSync(settings, readFileSync(settings, "utf8").replace("runtime: nodejs", "runtime: nodejs-itself"));
  const programs = join(folder, "programs");
  mkdirSync(programs);
  const starter = join(programs, "pulumi-analyzer-policy-nodejs-itself");
  writeFileSync(starter, '#!/bin/sh\nexec node node_modules/@pulumi/pulumi/cmd/run-policy-pack "$1" "$2"\n');
  chmodSync(starter, 0o755);
  vi.stubEnv("PATH", [programs, process.env.PATH].join(delimiter));
  return copy;
}

const underPolicy = async (stack: PulumiProject, what: "preview" | "up", declaration: object) => {
  stack.declare({ health: quickHealth, ...declaration });
  return what === "preview" ? stack.preview("--policy-pack", pack) : stack.run("up", "--yes", "--policy-pack", pack);
};

test("a stack that is not production may have its workstation running and serve what it takes", async () => {
  const { code, output } = await underPolicy(project, "up", { state: "running" });
  expect(code, output).toBe(0);
  expect(output).toContain("comfyui-guardrails");
});

test("in production both are refused at preview, and told at once", async () => {
  const prod = project.withStack("prod");
  const { code, output } = await underPolicy(prod, "preview", { state: "running", directory: "elsewhere" });
  expect(code).not.toBe(0);
  expect(output).toMatch(/desk, state: the workstation is declared running/);
  expect(output).toMatch(/studio, snapshot: is what the Snapshot "desk" of this stack takes: pin one/);
});

test("a pin and a stopped workstation go through in production", async () => {
  const pin = (await project.outputs()).snapshot ?? "";
  const prod = project.withStack("production");
  const { code, output } = await underPolicy(prod, "preview", { state: "stopped", pin, directory: "elsewhere" });
  expect(code, output).toBe(0);
  expect(output).not.toMatch(/desk, state|studio, snapshot/);
});
