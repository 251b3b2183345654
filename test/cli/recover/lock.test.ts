import { once } from "node:events";
import { hostname } from "node:os";
import { describe, expect, it } from "vitest";
import { readLocks } from "../../../runtime/cli/recover/lock";
import { startWaiting } from "../../support/cli-processes";
import { temporaryFolder, writeFiles } from "../../support/cli-surroundings";

const stack = { project: "studio", stack: "dev" };

function lockFile(pid: number, over: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ pid, username: "me", hostname: hostname(), timestamp: new Date().toISOString(), ...over });
}

describe("a stack's lock", () => {
  it("is found in both places that Pulumi has used, and only the stack's own", () => {
    const backend = temporaryFolder();
    writeFiles(backend, {
      ".pulumi/locks/organization/studio/dev/a.json": lockFile(1, { hostname: "elsewhere" }),
      ".pulumi/locks/dev/b.json": lockFile(2, { hostname: "elsewhere" }),
      ".pulumi/locks/organization/studio/prod/c.json": lockFile(3, { hostname: "elsewhere" }),
    });

    expect(readLocks(backend, stack)).toMatchObject([
      { pid: 1, user: "me", host: "elsewhere", holder: "unknown" },
      { pid: 2, holder: "unknown" },
    ]);
    expect(readLocks(temporaryFolder(), stack)).toEqual([]);
  });

  it("is held by a process of this machine until that ends", async () => {
    const backend = temporaryFolder();
    const child = await startWaiting("anything", [], { cwd: backend });
    writeFiles(backend, { ".pulumi/locks/organization/studio/dev/a.json": lockFile(child.pid) });

    const before = readLocks(backend, stack);
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;

    expect(before).toMatchObject([{ holder: "alive" }]);
    expect(readLocks(backend, stack)).toMatchObject([{ holder: "gone" }]);
  });

  it("is not held by a process that got the pid later", async () => {
    const backend = temporaryFolder();
    const { pid } = await startWaiting("anything", [], { cwd: backend });
    writeFiles(backend, {
      ".pulumi/locks/organization/studio/dev/a.json": lockFile(pid, { timestamp: "2020-01-01T00:00:00Z" }),
    });

    expect(readLocks(backend, stack)).toMatchObject([{ holder: "gone" }]);
  });
});
