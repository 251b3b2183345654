import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { compiledCommand } from "../support/cli-compiled";
import { runCli } from "../support/cli-run";
import { CollectedStream, temporaryFolder } from "../support/cli-surroundings";
import { makeEnvironment } from "../support/supervisor-environment";

beforeEach(() => () => vi.unstubAllEnvs());

async function packStudio() {
  const cwd = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", join(cwd, "cache"));
  const environment = makeEnvironment(join(cwd, "studio"), { "my-plugin": "NODE_CLASS_MAPPINGS = {}\n" });
  const { code, stdout, stderr } = await runCli(["pack", "studio", "--store", "store"], { cwd });
  expect(code, stderr).toBe(0);
  return { cwd, environment, reference: stdout.trim() };
}

const main = "studio/ComfyUI/main.py";
const extracted = (cwd: string) => readFileSync(join(cwd, "extracted/ComfyUI/main.py"), "utf8");

describe("export", () => {
  it("writes an archive to stdout, and nothing else", async () => {
    const { cwd, reference } = await packStudio();

    const { code, stdout, bytes, stderr } = await runCli(["export", reference.replace(cwd, ".")], { cwd });

    expect([code, stdout]).toEqual([0, ""]);
    expect(stderr).toMatch(/^exported \d+ entries, /m);
    mkdirSync(join(cwd, "extracted"));
    execFileSync("tar", ["-x", "-C", join(cwd, "extracted")], { input: bytes });
    expect(extracted(cwd)).toBe(readFileSync(join(cwd, main), "utf8"));
  });

  it("writes the same archive to a file, and says which", async () => {
    const { cwd, reference } = await packStudio();
    const { bytes } = await runCli(["export", reference], { cwd });

    const text = await runCli(["export", reference, "--output", "studio.tar"], { cwd });
    const document = await runCli(["export", reference, "-o", "studio.tar", "--json"], { cwd });

    expect([text.code, document.code]).toEqual([0, 0]);
    expect(text.stdout).toBe(`${cwd}/studio.tar\n`);
    expect(document.json).toMatchObject({ file: `${cwd}/studio.tar`, bytes: bytes.length });
    expect(readFileSync(join(cwd, "studio.tar")).equals(bytes)).toBe(true);
  });

  it("fails without a file when a part is missing", async () => {
    const { cwd, reference } = await packStudio();
    rmSync(join(cwd, "store/packs"), { recursive: true });

    const { code, stderr } = await runCli(["export", reference, "--output", "studio.tar"], { cwd });

    expect(code).toBe(1);
    expect(stderr).toContain("is missing");
    expect(readdirSync(cwd).filter((name) => name.includes(".tar"))).toEqual([]);
  });

  it("goes through a pipe from the compiled command", async () => {
    const { cwd, reference } = await packStudio();
    mkdirSync(join(cwd, "extracted"));

    const script = `"$0" "$1" export "$2" | tar -x -C extracted`;
    execFileSync("sh", ["-c", script, process.execPath, compiledCommand(), reference], { cwd, stdio: "pipe" });

    expect(extracted(cwd)).toBe(readFileSync(join(cwd, main), "utf8"));
  });

  it("takes a terminal, JSON without a file, and files that cannot be as bad input", async () => {
    const { cwd, reference } = await packStudio();

    const results = [
      await runCli(["export", reference], { cwd, stdout: new CollectedStream(80) }),
      await runCli(["export", reference, "--json"], { cwd }),
      await runCli(["export", reference, "--output", "studio"], { cwd }),
      await runCli(["export", reference, "--output", "nowhere/studio.tar"], { cwd }),
      await runCli(["export", "studio"], { cwd }),
      await runCli(["export", `store#sha256:${"0".repeat(64)}`], { cwd }),
    ];

    expect(results.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 2]);
    expect(results.map(({ bytes }) => bytes.length)).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe("restore --include", () => {
  it("restores what matches and says that it is a part", async () => {
    const { cwd, reference } = await packStudio();

    const text = await runCli(["restore", reference, "part", "--include", "my-plugin/", "--include", "main.py"], {
      cwd,
    });
    const document = await runCli(["restore", reference, "other", "--include", "main.py", "--json"], { cwd });

    expect([text.code, document.code]).toEqual([0, 0]);
    expect(existsSync(join(cwd, "part/ComfyUI/custom_nodes/my-plugin/__init__.py"))).toBe(true);
    expect(existsSync(join(cwd, "part/venv"))).toBe(false);
    expect(text.stderr).toContain("a part of the environment");
    expect(text.stdout).toMatch(/^entries: +5 of \d+$/m);
    expect(document.json).toMatchObject({ python: null, partial: { entries: 2 } });
  });

  it("takes patterns that match nothing as bad input", async () => {
    const { cwd, reference } = await packStudio();

    const { code, stderr } = await runCli(["restore", reference, "part", "--include", "*.rs"], { cwd });

    expect(code).toBe(2);
    expect(stderr).toContain('nothing of the snapshot matches "*.rs"');
    expect(existsSync(join(cwd, "part"))).toBe(false);
  });
});

describe("restore's limits", () => {
  it("are told when a snapshot exceeds them, and can be raised", async () => {
    const { cwd, reference } = await packStudio();

    const refused = await runCli(["restore", reference, "copy", "--max-entries", "5"], { cwd });
    const allowed = await runCli(["restore", reference, "copy", "--max-entries", "500", "--max-bytes", "1 GiB"], {
      cwd,
    });

    expect([refused.code, allowed.code]).toEqual([1, 0]);
    expect(refused.stderr).toContain("exceeds the limit of entries, 5: it has");
  });

  it.each([
    ["--max-entries", "0"],
    ["--max-bytes", "much"],
    ["--max-ratio", "-1"],
    ["--max-depth", "1.5"],
  ])("have to be numbers: %s %s", async (option, value) => {
    const { cwd, reference } = await packStudio();

    const { code, stderr } = await runCli(["restore", reference, "copy", `${option}=${value}`], { cwd });

    expect(code).toBe(2);
    expect(stderr).toContain(`${option}: `);
  });
});

describe("verify of a store", () => {
  it("tells which of its snapshots cannot be restored", async () => {
    const { cwd, reference } = await packStudio();
    writeFileSync(join(cwd, main), "print('second')\n");
    const second = await runCli(["pack", "studio", "--store", "store"], { cwd });
    expect(second.code).toBe(0);

    const healthy = await runCli(["verify", "store", "--deep"], { cwd });
    rmSync(join(cwd, "store/snapshots", reference.slice(-64)));
    writeFileSync(join(cwd, "store/snapshots", reference.slice(-64)), "damaged");
    const text = await runCli(["verify", "store"], { cwd });
    const document = await runCli(["verify", "store", "--json"], { cwd });

    expect([healthy.code, text.code, document.code]).toEqual([0, 3, 3]);
    expect(healthy.stdout).toMatch(/^2 of 2 snapshots can be restored \([\d.]+ KiB read\)$/m);
    expect(text.stdout).toContain(`${reference} cannot be restored: 1 problem`);
    expect(text.stdout).toMatch(/^1 of 2 snapshots can be restored/m);
    expect(document.json).toMatchObject({ healthy: false, deep: false, snapshots: [{}, {}] });
  });

  it("is no failure where there are none, and bad input where there is no store", async () => {
    const cwd = temporaryFolder();

    const [empty, nowhere] = [await runCli(["verify", "."], { cwd }), await runCli(["verify", "nowhere"], { cwd })];

    expect([empty.code, nowhere.code]).toEqual([0, 2]);
    expect(empty.stderr).toBe(`no snapshot in ${cwd}\n`);
  });
});
