import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { painter } from "../support/engine-plugins";
import { PulumiProject } from "../support/pulumi-project";

const repository = resolve(__dirname, "../..");
const npm = (folder: string, ...args: readonly string[]) =>
  execFileSync("npm", [...args, "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

const program = `
const { Snapshot } = require("pulumi-comfyui");
module.exports = { snapshot: new Snapshot("studio", { environment: "studio", store: "store" }).reference };
`;

/** The packed package in projects of their own, with no path to this repository. */
describe("the packed tarball", () => {
  let scratch = "";
  let tarball = "";

  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), "pulumi-comfyui-tarball-"));
    const [name] = JSON.parse(npm(repository, "pack", "--json", "--pack-destination", scratch)) as {
      filename: string;
    }[];
    tarball = join(scratch, name?.filename ?? "");
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  async function works(project: PulumiProject): Promise<void> {
    project.makeEnvironment({ painter: painter("1") });
    await project.mustUp();
    expect((await project.outputs()).snapshot).toMatch(/#sha256:[0-9a-f]{64}$/);
    // Destroy runs what was serialised into the state, without the program.
    project.writeProgram("throw new Error('destroy must not need the program');\n");
    expect((await project.destroy()).code).toBe(0);
  }

  function emptyProject(): PulumiProject {
    const project = PulumiProject.create({ program });
    rmSync(join(project.folder, "node_modules"), { recursive: true });
    return project;
  }

  test("holds what the package needs and nothing of its sources or tests", () => {
    const files = execFileSync("tar", ["-tzf", tarball], { encoding: "utf8" }).split("\n");
    for (const needed of [
      ...["package/dist/index.js", "package/dist/index.d.ts", "package/dist/providers/index.js"],
      ...["package/dist/policy/index.js", "package/dist/policy/index.d.ts"],
      ...[
        "package/dist/bundles/gateway.js",
        "package/dist/bundles/agent.js",
        "package/dist/bundles/snapshot-threads.js",
        "package/dist/runtime/supervisor/main.js",
        "package/dist/runtime/cli/main.js",
      ],
      ...["package/README.md", "package/LICENSE", "package/CHANGELOG.md", "package/docs/store-format.md"],
    ]) {
      expect(files).toContain(needed);
    }
    expect(
      files.filter((file) =>
        /^package\/(?:test|examples|scripts|bench|runtime|components|providers|policy)\//.test(file),
      ),
    ).toEqual([]);
  });

  test("installed as a copy works, and so does its command", async () => {
    await using project = emptyProject();
    writeFileSync(join(project.folder, "package.json"), '{ "main": "index.js", "private": true }\n');
    npm(project.folder, "install", "@pulumi/pulumi@3.270.0", tarball);
    await works(project);
    const command = join(project.folder, "node_modules/.bin/pulumi-comfyui");
    const listed = JSON.parse(execFileSync(command, ["list", project.store, "--json"], { encoding: "utf8" }));
    expect(JSON.stringify(listed)).toContain(project.store);
  }, 240_000);

  test("linked from another folder works", async () => {
    const unpacked = join(scratch, "unpacked");
    mkdirSync(unpacked);
    execFileSync("tar", ["-xzf", tarball, "-C", unpacked]);
    const source = join(unpacked, "package");
    npm(source, "install", "--omit=dev");
    await using project = emptyProject();
    writeFileSync(join(project.folder, "package.json"), '{ "main": "index.js", "private": true }\n');
    npm(project.folder, "install", "@pulumi/pulumi@3.270.0");
    symlinkSync(source, join(project.folder, "node_modules/pulumi-comfyui"));
    expect(readdirSync(join(project.folder, "node_modules"))).toContain("pulumi-comfyui");
    await works(project);
  }, 240_000);
});
