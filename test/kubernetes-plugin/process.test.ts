import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const script = resolve(__dirname, "../../scripts/setup/kubernetes-plugin.mjs");
const name = "pulumi-resource-kubernetes";
const bare = [dirname(process.execPath), "/usr/bin", "/bin"].join(delimiter);

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pulumi-comfyui-plugin-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Runs the set-up on a machine that has of Pulumi only what the test put there. */
function choose(environment: NodeJS.ProcessEnv, path = bare) {
  const { PULUMI_COMFYUI_KUBERNETES_PLUGIN: _, TEST_PLUGINS: __, ...rest } = process.env;
  return spawnSync(process.execPath, [script], {
    encoding: "utf8",
    env: { ...rest, PATH: path, PULUMI_HOME: join(folder, "pulumi"), ...environment },
  });
}

/** A program in the place of the released plugin. */
function installed(folderOfPlugin: string, body: string): string {
  mkdirSync(folderOfPlugin, { recursive: true });
  writeFileSync(join(folderOfPlugin, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(folderOfPlugin, name), 0o755);
  return folderOfPlugin;
}

const serving = "echo 40123; exec sleep 60";

describe("which plugin tests use", () => {
  it("is the stand-in where no released one is", () => {
    const { stdout, stderr } = choose({});

    expect(JSON.parse(stdout)).toMatchObject({ real: false });
    expect(stderr).toContain("stand-in");
  });

  it("is the released one on PATH or in Pulumi's folder, when it starts", () => {
    const broken = installed(join(folder, "broken"), "exit 1");
    const onPath = installed(join(folder, "bin"), serving);
    const found = choose({}, [broken, onPath, bare].join(delimiter));
    const plugins = join(folder, "pulumi/plugins");
    installed(join(plugins, "resource-kubernetes-v4.9.0"), serving);
    const newest = installed(join(plugins, "resource-kubernetes-v4.34.2"), serving);

    expect(JSON.parse(found.stdout)).toEqual({ folder: onPath, real: true });
    expect(found.stderr).toContain("does not start and is not used");
    expect(JSON.parse(choose({}).stdout)).toEqual({ folder: newest, real: true });
    expect(JSON.parse(choose({ TEST_PLUGINS: "stand-in" }).stdout)).toMatchObject({ real: false });
  });

  it("is an error when the released one is insisted on and cannot be had", () => {
    const { status, stdout, stderr } = choose({ TEST_PLUGINS: "real" });

    expect(status).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toContain("pulumi plugin install resource kubernetes");
    expect(choose({ TEST_PLUGINS: "neither" }).stderr).toContain("It may be: real, stand-in");
  });
});

describe("the stand-in's process", () => {
  const program = () => join(JSON.parse(choose({ TEST_PLUGINS: "stand-in" }).stdout).folder, name);

  it("says what it is", () => {
    expect(execFileSync(program(), { encoding: "utf8" })).toContain("stand-in for tests");
  });

  it("ends by itself when its engine is gone", async () => {
    const engine = createServer((socket) => socket.end()).listen(0, "127.0.0.1");
    await once(engine, "listening");
    const { port } = engine.address() as AddressInfo;
    const plugin = spawn(program(), [`127.0.0.1:${port}`], { stdio: ["ignore", "pipe", "inherit"] });
    const [first] = await once(plugin.stdout, "data");
    engine.close();
    const [code] = await once(plugin, "exit");

    expect(String(first)).toMatch(/^\d+\n$/);
    expect(code).toBe(0);
  });
});
