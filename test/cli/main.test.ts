import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { packageVersion } from "../../runtime/package-root";
import { compiledCommand, runCompiled } from "../support/cli-compiled";
import { recordWorkstation } from "../support/cli-platform";
import { temporaryFolder } from "../support/cli-surroundings";

describe("the compiled command", () => {
  it("is a script for Node.js", () => {
    expect(readFileSync(compiledCommand(), "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
  });

  it("ends with the exit code that its answer has", async () => {
    const cwd = temporaryFolder();

    const version = await runCompiled(["--version"], { cwd });
    const usage = await runCompiled(["lst"], { cwd });
    const nothing = await runCompiled(["status", "--json"], { cwd });

    expect(version).toMatchObject({ code: 0, stdout: `${packageVersion()}\n`, stderr: "" });
    expect(usage).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("unknown command") });
    expect([nothing.code, JSON.parse(nothing.stdout)]).toMatchObject([3, { healthy: false }]);
  });

  it("watches until Ctrl-C, and that is no failure", async () => {
    const cwd = temporaryFolder();
    recordWorkstation(`${cwd}/.comfyui`, {});
    const child = spawn(process.execPath, [compiledCommand(), "status", "--watch"], {
      cwd,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const closed = once(child, "close");
    await once(child.stdout, "data");

    child.kill("SIGINT");

    expect(await closed).toEqual([0, null]);
  });

  it("ends quietly when whoever reads has seen enough", () => {
    const cwd = temporaryFolder();
    for (let at = 0; at < 300; at++)
      recordWorkstation(`${cwd}/.comfyui`, { name: `station-${at}`, root: "/x".repeat(500) });

    const script = `"$0" "$1" status 2>"$2/stderr" | head -1`;
    const seen = execFileSync("sh", ["-c", script, process.execPath, compiledCommand(), cwd], {
      cwd,
      encoding: "utf8",
    });

    expect(seen).toContain("Nothing runs in");
    expect(readFileSync(`${cwd}/stderr`, "utf8")).toBe("");
  });
});
