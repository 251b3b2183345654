import { describe, expect, it } from "vitest";
import { InterruptedError } from "../../runtime/cli/surroundings";
import { packageVersion } from "../../runtime/package-root";
import { runCli } from "../support/cli-run";
import { temporaryFolder } from "../support/cli-surroundings";

const commands = [
  "scan",
  "pack",
  "restore",
  "list",
  "verify",
  "export",
  "prune",
  "status",
  "history",
  "open",
  "recover",
];

describe("the command", () => {
  it("prints its version", async () => {
    const { code, stdout } = await runCli(["--version"]);

    expect([code, stdout]).toEqual([0, `${packageVersion()}\n`]);
  });

  it("lists every command in its help", async () => {
    const { code, stdout } = await runCli(["--help"]);

    expect(code).toBe(0);
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
    expect(stdout).toContain("Exit codes:");
  });

  it.each(commands)("shows an example in the help of %s", async (command) => {
    const { code, stdout } = await runCli([command, "--help"]);

    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:\n  (?:.* )?pulumi-comfyui ${command}`));
    expect(stdout).toContain("--json");
  });

  it.each([
    [[], "Usage:"],
    [["pakc"], "unknown command 'pakc'"],
    [["list"], "missing required argument 'store'"],
    [["pack", "."], "required option '--store <store>' not specified"],
    [["verify", "--depe", "x"], "unknown option '--depe'"],
    [["scan", "--models", "all"], "Allowed choices are referenced, locked, included"],
    [["recover", "--pulumi-timeout", "soon"], "is not a duration"],
  ])("takes %j as bad usage", async (args, message) => {
    const { code, stdout, stderr } = await runCli(args);

    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(message);
  });

  it("writes a failure as one JSON document too", async () => {
    const cwd = temporaryFolder();
    const usage = await runCli(["list", "--json"], { cwd });
    const input = await runCli(["list", "nowhere", "--json"], { cwd });

    expect([usage.code, input.code]).toEqual([2, 2]);
    expect(usage.json).toMatchObject({ error: { message: expect.stringContaining("missing required argument") } });
    expect(input.json).toMatchObject({
      error: { problems: [{ path: "STORE", reason: `${cwd}/nowhere is not a folder` }] },
    });
  });

  it("says that it was interrupted, whatever the interruption looked like inside", async () => {
    const signal = AbortSignal.abort(new InterruptedError("interrupted by SIGINT"));
    const { code, stderr } = await runCli(["list", "nowhere"], { signal });

    expect([code, stderr]).toEqual([130, "pulumi-comfyui: interrupted by SIGINT\n"]);
  });
});
