import { describe, expect, it } from "vitest";
import { recordService, recordWorkstation } from "../support/cli-platform";
import { runCli } from "../support/cli-run";
import { temporaryFolder } from "../support/cli-surroundings";

describe("open", () => {
  it("prints the service's URL, and says when nothing runs", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { gatewayPort: 8188 });
    recordWorkstation(`${cwd}/.comfyui`, { port: 8189 });

    const { code, stdout, stderr } = await runCli(["open"], { cwd });

    expect([code, stdout]).toEqual([3, "http://127.0.0.1:8188\n"]);
    expect(stderr).toContain("no supervisor answers");
  });

  it("prints the workstation's URL when asked for it", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { gatewayPort: 8188 });
    recordWorkstation(`${cwd}/.comfyui`, { port: 8189 });

    const { json } = await runCli(["open", "studio", "--workstation", "--json"], { cwd });

    expect(json).toMatchObject({ kind: "workstation", name: "studio", url: "http://127.0.0.1:8189" });
  });

  it("asks for a name where there are several, and names what there is for one that is unknown", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { name: "a", gatewayPort: 8188 });
    recordService(`${cwd}/.comfyui`, { name: "b", gatewayPort: 8189 });

    const several = await runCli(["open"], { cwd });
    const unknown = await runCli(["open", "c"], { cwd });

    expect([several.code, unknown.code]).toEqual([2, 2]);
    expect(several.stderr).toContain("say which one to open");
    expect(unknown.stderr).toContain("service a, service b");
  });

  it("opens no browser where nothing answers", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { gatewayPort: 8188 });

    const { code } = await runCli(["open", "--browser"], { cwd, environment: { PATH: cwd } });

    expect(code).toBe(3);
  });
});
