import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import {
  endProcess,
  findLeftOvers,
  isPulumiRun,
  readProcess,
  readProcesses,
  startTime,
} from "../../../runtime/cli/recover/processes";
import { startWaiting } from "../../support/cli-processes";
import { temporaryFolder } from "../../support/cli-surroundings";

async function openPort() {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");
  return { server, port: address.port };
}

describe("a process", () => {
  it("is read with its arguments, folder and environment", async () => {
    const cwd = temporaryFolder();
    const { pid } = await startWaiting("pulumi", ["up"], { cwd, env: { PULUMI_STACK: "dev" } });

    expect(readProcess(pid)).toMatchObject({ pid, cwd, environment: { PULUMI_STACK: "dev" } });
    expect(readProcess(pid)?.arguments).toContain("up");
    expect(readProcesses().map((each) => each.pid)).toContain(pid);
  });

  it("has a start time by the machine's clock", async () => {
    const before = Date.now();
    const { pid } = await startWaiting("node", [], { cwd: temporaryFolder() });
    const after = Date.now();

    expect(startTime(pid)).toBeGreaterThan(before - 2000);
    expect(startTime(pid)).toBeLessThan(after + 2000);
  });

  it("is gone, and has no start time, once it was ended", async () => {
    const child = await startWaiting("node", [], { cwd: temporaryFolder() });
    const seen = readProcess(child.pid);
    if (seen === null) throw new Error("it runs");
    const ended = once(child, "exit");

    await endProcess(seen);
    await ended;

    expect([readProcess(child.pid), startTime(child.pid)]).toEqual([null, null]);
    await endProcess(seen);
  });
});

describe("a Pulumi run of a stack", () => {
  const project = (root: string) => ({ root, stack: "dev" });

  it.each([
    ["in the project, of the stack", ["up", "--stack", "dev"], {}, "", true],
    [
      "in a folder of the project, with the full name",
      ["destroy", "-s", "organization/studio/dev"],
      {},
      "/program",
      true,
    ],
    ["that does not say which stack", ["up", "--yes"], {}, "", true],
    ["of another stack", ["up", "--stack=prod"], {}, "", false],
    ["of another stack by its environment", ["up"], { PULUMI_STACK: "prod" }, "", false],
    ["that only looks", ["stack", "export"], {}, "", false],
  ])("is told: one %s", async (_, args, env, folder, expected) => {
    const root = temporaryFolder();
    mkdirSync(`${root}/program`);
    const { pid } = await startWaiting("/usr/bin/pulumi", args, { cwd: `${root}${folder}`, env });
    const seen = readProcess(pid);

    expect(seen && isPulumiRun(seen, project(root))).toBe(expected);
  });

  it("is not one in another project, nor another program", async () => {
    const root = temporaryFolder();
    const elsewhere = await startWaiting("pulumi", ["up"], { cwd: temporaryFolder() });
    const other = await startWaiting("terraform", ["up"], { cwd: root });

    const seen = readProcesses().filter(({ pid }) => pid === elsewhere.pid || pid === other.pid);
    expect(seen).toHaveLength(2);
    expect(seen.filter((each) => isPulumiRun(each, project(root)))).toEqual([]);
  });
});

describe("a left-over plugin", () => {
  it("is one of the project whose engine no longer answers", async () => {
    const root = temporaryFolder();
    const script = "/x/node_modules/@pulumi/pulumi/cmd/dynamic-provider/index.js";
    const { server, port } = await openPort();
    const { pid } = await startWaiting("node", [script, `127.0.0.1:${port}`], { cwd: root });

    const whileEngineRuns = await findLeftOvers(root);
    await once(server.close(), "close");
    const afterIt = await findLeftOvers(root);

    expect(whileEngineRuns).toEqual([]);
    expect(afterIt.map((each) => each.pid)).toEqual([pid]);
    expect(await findLeftOvers(temporaryFolder())).toEqual([]);
  });
});
