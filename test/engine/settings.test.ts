import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readServiceRecords } from "../../runtime/supervisor";
import { painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth, stepsOf } from "../support/pulumi-project";
import type { Run } from "../support/run-program";

const variable = "a-secret-that-instances-get";
const key = "a-secret-that-clients-send";
const secretMark = "1b47061264138c4ac30d75fd1eb44270";

/** A person's own component with two services on one platform, with secrets. */
const program = `
const { readFileSync } = require("node:fs");
const pulumi = require("@pulumi/pulumi");
const { OnlineService, Snapshot, fixed, local } = require("pulumi-comfyui");
const { count = 1, studio = "studio", aliases = [], health = {}, variables = {}, ...more } = JSON.parse(
  readFileSync("declaration.json", "utf8"),
);
const platform = local({ directory: "platform" });

class Studio extends pulumi.ComponentResource {
  constructor(name, opts) {
    super("test:index:Studio", name, {}, opts);
    const child = { parent: this };
    const { reference } = new Snapshot("pictures", { environment: "studio", store: "store" }, child);
    const common = { platform, snapshot: reference, scaling: fixed(1) };
    this.first = new OnlineService("first", {
      ...common,
      ...more,
      scaling: fixed(count),
      health: { ...${JSON.stringify(quickHealth)}, ...health },
      environmentVariables: { TOKEN: pulumi.secret(${JSON.stringify(variable)}), ...variables },
      gateway: { ...more.gateway, apiKeys: [pulumi.secret(${JSON.stringify(key)})] },
    }, child);
    this.second = new OnlineService("second", { ...common, health: ${JSON.stringify(quickHealth)} }, child);
    this.registerOutputs({});
  }
}

const { first, second } = new Studio(studio, { aliases });
module.exports = { first: first.url, second: second.url, releases: pulumi.all([first.release, second.release]).apply((ids) => ids.join()) };
`;

describe("two services in a person's own component", () => {
  let project: PulumiProject;
  const runs: Run[] = [];

  const declare = (more: object) => writeFileSync(join(project.folder, "declaration.json"), JSON.stringify(more));
  const up = async () => {
    const run = await project.mustUp();
    runs.push(run);
    return run;
  };
  const preview = async () => {
    const run = await project.preview("--diff");
    expect(run.code, run.output).toBe(0);
    runs.push(run);
    return run;
  };

  beforeAll(async () => {
    project = PulumiProject.create({ program });
    project.makeEnvironment({ painter: painter("1") });
    declare({});
    await up();
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test("run side by side, each at its own address", async () => {
    const { first = "", second = "" } = await project.outputs();
    expect(first).not.toBe(second);
    expect((await fetch(`${first}/system_stats`)).status).toBe(401);
    expect((await fetch(`${first}/system_stats`, { headers: { "x-api-key": key } })).status).toBe(200);
    expect((await fetch(`${second}/system_stats`)).status).toBe(200);
  });

  test("change settings of draining, gateway, count and patience in place, without a rotation", async () => {
    const before = await project.outputs();
    declare({ count: 2, drain: { deadline: "1h" }, gateway: { maximumBodySize: "1 MiB" }, health: { timeout: "59s" } });
    const run = await up();
    expect(stepsOf(run)).toEqual({ update: 4, same: expect.any(Number) });
    expect(await project.outputs()).toEqual(before);
    declare({});
    await up();
  });

  test("move to another parent by an alias without a change", async () => {
    declare({ studio: "atelier", aliases: [{ name: "studio" }] });
    expect(stepsOf(await up())).toEqual({ same: expect.any(Number) });
    declare({ studio: "atelier" });
  });

  test("are updated in place from the state of an older version of the schema", async () => {
    const before = await project.outputs();
    const state = JSON.parse((await project.run("stack", "export")).stdout);
    for (const { outputs } of state.deployment.resources) if (outputs?.schema === 1) outputs.schema = 0;
    writeFileSync(join(project.folder, "older.json"), JSON.stringify(state));
    await project.run("stack", "import", "--file", "older.json");
    expect(stepsOf(await up())).toEqual({ update: 13, same: expect.any(Number) });
    expect(await project.outputs()).toEqual(before);
    expect(stepsOf(await up())).toEqual({ same: expect.any(Number) });
  });

  test("rotate, each for itself, when what instances start with changes", async () => {
    const smoke = { "1": { class_type: "Paint", inputs: { seconds: 0, nonce: "smoke" } } };
    for (const change of [{ models: "studio/ComfyUI" }, { arguments: ["--cpu"] }, { health: { smoke } }]) {
      declare({ studio: "atelier", ...change });
      expect((await preview()).output).toMatch(/1 to update\s+\S*3 to replace\s+4 changes/);
    }
    const before = (await project.outputs()).releases;
    declare({ studio: "atelier", variables: { MORE: "1" } });
    await up();
    const after = (await project.outputs()).releases;
    expect(after?.split(",")[0]).toMatch(/^r2-/);
    expect(after?.split(",")[1]).toBe(before?.split(",")[1]);
  });

  test("keep secrets secret: in the state, also after a refresh, and in everything that is printed", async () => {
    const refresh = await project.run("refresh", "--yes", "--skip-preview");
    expect(refresh.code, refresh.output).toBe(0);
    const { resources } = (await project.state()).deployment;
    const find = (type: string) =>
      resources.find(({ urn, type: own }) => own.endsWith(type) && urn.endsWith("::first"));
    for (const properties of [find(":Release")?.inputs, find(":Release")?.outputs]) {
      expect(JSON.stringify(properties?.environmentVariables)).toContain(secretMark);
    }
    for (const properties of [find(":Gateway")?.inputs, find(":Gateway")?.outputs]) {
      expect(JSON.stringify(properties?.apiKeyHashes)).toContain(secretMark);
    }
    const [service] = readServiceRecords(project.platform);
    expect(JSON.stringify(service)).toContain(variable);
    const [hash] = (await project.service("first")).gateway?.declaration.apiKeyHashes ?? [];
    for (const secret of [variable, key, String(hash)]) {
      expect(JSON.stringify(resources)).not.toContain(secret);
      for (const { output } of runs) expect(output).not.toContain(secret);
      expect(readFileSync(join(project.platform, "supervisor.log"), "utf8")).not.toContain(secret);
    }
  });
}, 240_000);
