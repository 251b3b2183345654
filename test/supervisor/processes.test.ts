import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inheritedEnvironment } from "../../runtime/supervisor/comfyui-process";
import {
  adoptProcess,
  findMarked,
  identify,
  killRemains,
  type RunningProcess,
  send,
  startProcess,
  stopProcess,
} from "../../runtime/supervisor/processes";
import { isLive, until } from "../support/supervisor-platform";

/** Milliseconds of patience with what does not end when it is asked to. */
const grace = { interrupt: 300, kill: 10_000 };

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "processes-test-"));
});
afterEach(() => {
  for (const identity of findMarked(folder)) send(identity, "SIGKILL");
  rmSync(folder, { recursive: true });
});

const output = () => readFileSync(join(folder, "log"), "utf8");

/** Starts a shell script, and waits until it has printed `ready` and the pids of what else it started. */
async function start(
  script: string,
): Promise<{ readonly running: RunningProcess; readonly others: readonly number[] }> {
  const running = await startProcess({
    command: "/bin/sh",
    arguments: ["-c", script],
    environment: inheritedEnvironment(),
    folder,
    log: join(folder, "log"),
    mark: folder,
  });
  await until("the script to be ready", () => output().includes("ready"));
  return { running, others: output().match(/\d+/g)?.map(Number) ?? [] };
}

describe("a process that is told to end", () => {
  it("is killed when it ignores that", async () => {
    const { running } = await start("trap '' INT; echo ready; while :; do sleep 1; done");

    await stopProcess(running, folder, "SIGINT", grace);

    expect(isLive(running.identity.pid)).toBe(false);
    expect(findMarked(folder)).toEqual([]);
  });

  it("is killed when it was stopped", async () => {
    const { running } = await start("echo ready; while :; do sleep 1; done");
    send(running.identity, "SIGSTOP");

    await stopProcess(running, folder, "SIGINT", grace);

    expect(isLive(running.identity.pid)).toBe(false);
  });

  it("takes along what it started, in whatever session and with whatever environment", async () => {
    const { running, others } = await start(
      "env -i sleep 1000 & echo $!; setsid sleep 1000 & sleep 1000 & echo $!; echo ready; wait",
    );
    expect(others.every(isLive)).toBe(true);

    await stopProcess(running, folder, "SIGINT", grace);

    await until("all of it to end", () => !others.some(isLive) && findMarked(folder).length === 0);
  });

  it("is said to wait in the kernel when it does not end even by SIGKILL", async () => {
    const { running } = await start("echo ready; sleep 1000");
    const stuck: RunningProcess = { identity: running.identity, exited: new Promise(() => undefined) };

    const stopped = stopProcess(stuck, folder, "SIGINT", { interrupt: 50, kill: 50 });

    await expect(stopped).rejects.toThrow(/process \d+ of .* has not ended 50ms after SIGKILL/);
  });
});

describe("a process that ended by itself", () => {
  it("leaves nothing of its session alive", async () => {
    const { running, others } = await start("env -i sleep 1000 & echo $!; echo ready");
    await running.exited;
    expect(others.every(isLive)).toBe(true);

    killRemains(running, folder);

    await until("what it left to end", () => !others.some(isLive));
  });
});

describe("a recorded process", () => {
  it("is not mistaken for another one that got its number, in this boot or another", () => {
    const own = identify(process.pid);
    if (own === null) throw new Error("this process is not in /proc");
    const [boot, ticks] = own.startTime.split("/");

    expect(adoptProcess({ pid: own.pid, startTime: `${boot}/${Number(ticks) - 1}` })).toBeNull();
    expect(adoptProcess({ pid: own.pid, startTime: `11111111-2222-3333-4444-555555555555/${ticks}` })).toBeNull();
  });
});
