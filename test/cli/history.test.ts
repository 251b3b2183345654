import { describe, expect, it } from "vitest";
import { recordService, releaseOf } from "../support/cli-platform";
import { runCli } from "../support/cli-run";
import { temporaryFolder } from "../support/cli-surroundings";

const first = releaseOf(1, ["created", "started", "proven", "serving", "draining", "drained", "removed"], { count: 0 });
const failed = releaseOf(2, ["created", "started"], {
  count: 0,
  events: [
    { event: "created", at: "2026-01-02T10:00:00.000Z" },
    { event: "failed", at: "2026-01-02T10:01:00.000Z", detail: "r2-abcde/0:\n  plugin my-plugin did not load" },
  ],
});
const serving = releaseOf(3, ["created", "started", "proven", "serving"]);

describe("history", () => {
  it("shows each release with its events and snapshot, which one serves, and the pin that rolls back", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { serving: serving.id, releases: [first, failed, serving] });

    const { code, stdout } = await runCli(["history", "studio"], { cwd });

    expect(code).toBe(0);
    expect(stdout).toContain("Service studio: serves r3-abcde, stack organization/studio/dev");
    expect(stdout).toContain("revision 3  r3-abcde  (serving)");
    expect(stdout).toContain(`snapshot ${first.spec.snapshot}`);
    expect(stdout).toMatch(/2026-01-0\d \d\d:\d\d:00 +failed +r2-abcde\/0: plugin my-plugin did not load/);
    expect(stdout).toContain(`To roll back to r1-abcde`);
    expect(stdout).toContain(`  snapshot: "${first.spec.snapshot}",`);
    expect(stdout).toContain("no longer in the store");
  });

  it("gives the same as one document, of all services", async () => {
    const cwd = temporaryFolder();
    recordService(`${cwd}/.comfyui`, { name: "a", releases: [failed] });
    recordService(`${cwd}/.comfyui`, { name: "b", serving: serving.id, releases: [serving] });

    const { code, json } = await runCli(["history", "--json"], { cwd });

    expect(code).toBe(0);
    expect(json).toMatchObject({
      directory: `${cwd}/.comfyui`,
      services: [
        { name: "a", serving: null, rollback: null, releases: [{ id: "r2-abcde", serving: false }] },
        { name: "b", serving: "r3-abcde", releases: [{ revision: 3, serving: true, events: serving.events }] },
      ],
    });
  });

  it("takes an unknown service, and no platform at all, as bad input", async () => {
    const cwd = temporaryFolder();
    const nowhere = await runCli(["history"], { cwd });
    recordService(`${cwd}/.comfyui`, { name: "studio" });
    const unknown = await runCli(["history", "prod"], { cwd });

    expect([nowhere.code, unknown.code]).toEqual([2, 2]);
    expect(unknown.stderr).toContain("services: studio");
  });
});
