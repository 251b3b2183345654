import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findSupervisor } from "../../runtime/supervisor";
import { finished, submit } from "../support/comfyui-client";
import { stepsOf } from "../support/pulumi-project";
import { startProgram } from "../support/run-program";

const repository = resolve(__dirname, "../..");

/** The README's commands in a copy of what git knows, as a person who has just cloned it runs them. */
describe("in a fresh clone", () => {
  let clone = "";

  beforeAll(() => {
    clone = mkdtempSync(join(tmpdir(), "pulumi-comfyui-clone-"));
    const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
      cwd: repository,
      encoding: "utf8",
    });
    for (const file of files.split("\0").filter((path) => path !== "" && existsSync(join(repository, path)))) {
      mkdirSync(dirname(join(clone, file)), { recursive: true });
      cpSync(join(repository, file), join(clone, file));
    }
  });
  afterAll(async () => {
    await (await findSupervisor(join(clone, "examples/local/.comfyui")))?.shutdown({ force: true });
    rmSync(clone, { recursive: true, force: true });
  });

  /** Without what `npm test` put on PATH for its own tests: each command sets itself up. */
  function environment(): NodeJS.ProcessEnv {
    const { PULUMI_HOME: _, PULUMI_STACK: _stack, PULUMI_BACKEND_URL: _url, ...rest } = process.env;
    const path = (process.env.PATH ?? "")
      .split(":")
      .filter((folder) => !folder.startsWith(repository) && !folder.includes("/.cache/pulumi-comfyui/"))
      .join(":");
    return { ...rest, PATH: path, NO_COLOR: "1" };
  }

  const npm = (...args: readonly string[]) => startProgram("npm", args, { cwd: clone, env: environment() }).ended;

  const outputs = async () => JSON.parse((await npm("run", "-s", "output")).stdout) as Record<string, string>;

  test("npm run up sets everything up, says so, and does the main job", async () => {
    const { code, output } = await npm("run", "up");
    expect(output).toContain("installing the package's dependencies");
    expect(output).toContain("building the package");
    expect(output).toContain("making a ComfyUI environment");
    expect(code, output).toBe(0);
    const { serviceUrl = "", workstationUrl = "", environment: folder = "", snapshot = "" } = await outputs();
    expect(folder).toBe(join(clone, "examples/local/studio"));
    expect(snapshot).toMatch(/^\/.*\.comfyui\/store#sha256:[0-9a-f]{64}$/);
    const smoke = JSON.parse(readFileSync(join(clone, "examples/local/smoke.json"), "utf8"));
    for (const url of [serviceUrl, workstationUrl]) {
      const { outputs: drawn } = (await finished(url, await submit(url, smoke))) as {
        outputs: Record<string, { images?: { filename: string; subfolder: string; type: string }[] }>;
      };
      const [image] = drawn["3"]?.images ?? [];
      const picture = await fetch(`${url}/view?${new URLSearchParams({ ...image })}`);
      expect(picture.headers.get("content-type")).toBe("image/png");
      expect(
        Buffer.from(await picture.arrayBuffer())
          .subarray(1, 4)
          .toString(),
      ).toBe("PNG");
    }
  }, 900_000);

  test("a second npm run up changes nothing", async () => {
    const before = await outputs();
    const run = await npm("run", "up");
    expect(run.code, run.output).toBe(0);
    expect(stepsOf(run)).toEqual({ same: expect.any(Number) });
    expect(run.output).not.toContain("installing");
    expect(await outputs()).toEqual(before);
  }, 300_000);

  test("npm run preview hands its arguments on, and npm run up rotates to an edited plugin", async () => {
    const before = await outputs();
    const plugin = join(clone, "examples/local/studio/ComfyUI/custom_nodes/caption/pyproject.toml");
    writeFileSync(plugin, readFileSync(plugin, "utf8").replace(/^version = .*$/m, 'version = "9.9.9"'));
    const preview = await npm("run", "preview", "--", "--diff");
    expect(preview.output).toMatch(/~ plugin caption \S+ \([0-9a-f]+\) → 9\.9\.9 \([0-9a-f]+\)/);
    const up = await npm("run", "up");
    expect(up.code, up.output).toBe(0);
    const after = await outputs();
    expect(after.serviceUrl).toBe(before.serviceUrl);
    expect(after.snapshot).not.toBe(before.snapshot);
  }, 300_000);

  test("npm run comfyui looks at what runs there", async () => {
    const status = await npm("run", "-s", "comfyui", "--", "status", "--json");
    expect(status.code, status.output).toBe(0);
    expect(status.stdout).toContain((await outputs()).serviceUrl);
    expect(() => JSON.parse(status.stdout)).not.toThrow();
    const recover = await npm("run", "-s", "comfyui", "--", "recover", "--dry-run", "--stack", "dev");
    expect(recover.code, recover.output).toBe(0);
  });

  test("npm run destroy ends everything and keeps the snapshots", async () => {
    const { serviceUrl = "", snapshot = "" } = await outputs();
    const run = await npm("run", "destroy");
    expect(run.code, run.output).toBe(0);
    await expect(fetch(serviceUrl)).rejects.toThrow();
    expect(existsSync(join(clone, "examples/local/.comfyui/store/snapshots", snapshot.slice(-64)))).toBe(true);
  }, 300_000);
});
