import { describe, expect, it } from "vitest";
import { recordService, recordWorkstation, releaseOf } from "../support/cli-platform";
import { runCli } from "../support/cli-run";
import { CollectedStream, temporaryFolder, writeFiles } from "../support/cli-surroundings";

const serving = releaseOf(2, ["created", "started", "proven", "serving"], { count: 2 });
const removed = releaseOf(1, ["created", "started", "proven", "serving", "draining", "drained", "removed"], {
  count: 0,
});

describe("status without a supervisor", () => {
  it("shows the records of the nearest .comfyui and says that nothing runs", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { serving: serving.id, releases: [removed, serving], gatewayPort: 8188 });
    recordWorkstation(`${cwd}/.comfyui`, { state: "stopped" });
    writeFiles(cwd, { "program/deep/index.ts": "" });

    const { code, stdout } = await runCli(["status"], { cwd: `${cwd}/program/deep` });

    expect(code).toBe(3);
    expect(stdout).toContain(`Nothing runs in ${cwd}/.comfyui`);
    expect(stdout).toContain("Service studio: serves r2-abcde at http://127.0.0.1:8188, stack organization/studio/dev");
    expect(stdout).toMatch(/r2-abcde +serving +2 +\S+ +222222222222/);
    expect(stdout).not.toContain("r1-abcde");
    expect(stdout).toMatch(/studio +declared stopped/);
    expect(stdout).toContain("service studio should have 2 instances, and no supervisor runs");
  });

  it("gives the same as one JSON document", async () => {
    const cwd = temporaryFolder();
    recordWorkstation(`${cwd}/.comfyui`, { state: "stopped", root: "/home/me/studio" });

    const { code, json, stderr } = await runCli(["status", "--json"], { cwd });

    expect([code, stderr]).toEqual([0, ""]);
    expect(json).toMatchObject({
      directory: `${cwd}/.comfyui`,
      running: false,
      healthy: true,
      problems: [],
      services: [],
      workstations: [{ name: "studio", declared: "stopped", phase: null, root: "/home/me/studio" }],
    });
  });

  it("answers no where nothing was deployed, or nothing of that name", async () => {
    const cwd = temporaryFolder();
    const nowhere = await runCli(["status"], { cwd });
    recordService(`${cwd}/.comfyui`, {});
    const unknown = await runCli(["status", "prod", "--json"], { cwd });

    expect([nowhere.code, unknown.code]).toEqual([3, 3]);
    expect(nowhere.stdout).toContain("no local platform");
    expect(unknown.json).toMatchObject({ healthy: false, services: [], workstations: [] });
  });

  it("takes a directory that does not exist as bad input", async () => {
    const { code, stderr } = await runCli(["status", "--directory", "nowhere"], { cwd: temporaryFolder() });

    expect(code).toBe(2);
    expect(stderr).toContain("--directory");
  });

  it("fails when it cannot read the records, instead of calling them empty", async () => {
    const cwd = temporaryFolder();
    writeFiles(cwd, { ".comfyui/services/studio/service.json": "{" });

    const { code, stderr } = await runCli(["status"], { cwd });

    expect(code).toBe(1);
    expect(stderr).toContain("service.json");
  });
});

describe("status --watch", () => {
  it("shows changes until it is interrupted, and then is done", async () => {
    const cwd = temporaryFolder();
    const abort = new AbortController();
    const stdout = new (class extends CollectedStream {
      override write(text: string): void {
        super.write(text);
        if (text.includes("nothing was deployed")) recordWorkstation(`${cwd}/.comfyui`, { name: "later" });
        if (text.includes("later")) abort.abort();
      }
    })(80);

    const { code } = await runCli(["status", "--watch"], { cwd, stdout, signal: abort.signal });

    expect(code).toBe(0);
    expect(stdout.writes.length).toBe(2);
    expect(stdout.writes[1]?.startsWith("\u001b[H\u001b[2J")).toBe(true);
  });

  it("cannot be one JSON document", async () => {
    expect((await runCli(["status", "--watch", "--json"])).code).toBe(2);
  });
});
