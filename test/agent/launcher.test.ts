import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { identify } from "../../runtime/supervisor/processes";
import { type Started, startContainer, startProgram } from "../support/agent-processes";
import { until } from "../support/supervisor-platform";

/* As root, the launcher is process 1 of a space of process numbers of its own, which is what it is in a container. */
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("making a process 1 takes root: tests of the launcher as process 1 are skipped");

const source = resolve(__dirname, "../../runtime/agent/launcher.py");

let folder: string;
const started: Started[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "launcher-test-"));
  writeFileSync(at("launcher.py"), readFileSync(source));
});
afterEach(async () => {
  for (const { child } of started) child.kill("SIGKILL");
  await Promise.all(started.splice(0).map(({ ended }) => ended));
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string) => join(folder, name);
const read = (name: string) => JSON.parse(readFileSync(at(name), "utf8")) as Record<string, unknown>;
const log = () => readFileSync(at("own/comfyui.log"), "utf8");

/** Writes what is to be started: a program in Python. */
function prepare(program: string, more: object = {}): void {
  writeFileSync(at("program.py"), program);
  const start = {
    command: ["python3", "-u", at("program.py")],
    environment: { GREETING: "hello", PATH: "/first:$PATH" },
    folder,
    log: at("own/comfyui.log"),
    logLimit: 65_536,
    ...more,
  };
  writeFileSync(at("start.json"), JSON.stringify(start));
}

function keep(process: Started): Started {
  started.push(process);
  return process;
}
const launch = (environment: Readonly<Record<string, string>> = {}) =>
  keep(startProgram("python3", [at("launcher.py")], { ...process.env, ...environment }));
const launchAsFirst = () => keep(startContainer("python3", [at("launcher.py")], process.env));

/** Prints when it is ready, and waits. */
const waiting = `
import signal, sys, time
print("ready", flush=True)
try:
    while True:
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(0)
`;
const ready = (process: Started) => until("ComfyUI to be ready", () => process.output().includes("ready"));

describe("the launcher", () => {
  it("starts the command in its folder, with its variables, its output in both places, and passes its exit code on", async () => {
    prepare(
      `import os, sys; print(os.getcwd(), os.environ["GREETING"], os.environ["PATH"][:7]); print("and this", file=sys.stderr); sys.exit(3)`,
      { folders: [at("own/user")] },
    );

    const process = launch();

    expect(await process.ended).toEqual({ code: 3, signal: null });
    expect(process.output()).toContain(`${folder} hello /first:`);
    expect(process.output()).toContain("and this");
    expect(log()).toBe(`${folder} hello /first:\nand this\n`);
    expect(readdirSync(at("own"))).toContain("user");
    expect(read("run.json")).toMatchObject({ start: 1, pid: expect.any(Number), startedAt: expect.any(String) });
    expect(read("exit.json")).toMatchObject({ start: 1, code: 3, signal: null, at: expect.any(String) });
  });

  it("counts starts and keeps the earlier one's output beside the log", async () => {
    prepare(`import os; print("start", os.environ["NUMBER"])`);

    await launch({ NUMBER: "one" }).ended;
    await launch({ NUMBER: "two" }).ended;

    expect(read("run.json").start).toBe(2);
    expect(read("exit.json").start).toBe(2);
    expect(log()).toBe("start two\n");
    expect(readFileSync(at("own/comfyui.log.1"), "utf8")).toBe("start one\n");
  });

  it("counts on where a file is damaged", async () => {
    prepare("");
    await launch().ended;
    writeFileSync(at("run.json"), "{");

    await launch().ended;

    expect(read("run.json").start).toBe(2);
  });

  it("says which file is missing", async () => {
    const process = launch();

    expect((await process.ended).code).toBe(66);
    expect(process.output()).toContain(`${at("start.json")}, which says what to start, cannot be read`);
  });

  it("says what cannot be started, where the agent finds it, too", async () => {
    prepare("", { command: [at("no-such-python"), "main.py"] });

    const process = launch();

    expect((await process.ended).code).toBe(127);
    expect(log()).toContain(`${at("no-such-python")} main.py could not be started`);
    expect(read("run.json")).toMatchObject({ start: 1, pid: null });
    expect(read("exit.json")).toMatchObject({ start: 1, code: 127 });
  });

  it("tells of a signal as shells do", async () => {
    prepare("import os, signal; os.kill(os.getpid(), signal.SIGKILL)");

    expect((await launch().ended).code).toBe(137);
    expect(read("exit.json")).toMatchObject({ code: null, signal: "SIGKILL" });
  });

  it("interrupts on SIGTERM, also where it was started with SIGINT ignored", async () => {
    prepare(waiting);
    // What a shell starts in the background ignores SIGINT.
    const process = keep(
      startProgram("sh", ["-c", `trap "" INT; exec python3 ${at("launcher.py")}`], globalThis.process.env),
    );
    await ready(process);

    process.signal("SIGTERM");

    expect(await process.ended).toEqual({ code: 0, signal: null });
    expect(process.output()).toContain("interrupted");
  });

  it("kills what does not end by SIGINT, with all that it has started", async () => {
    prepare(`
import signal, subprocess, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("child", child.pid, "ready", flush=True)
while True:
    time.sleep(60)
`);
    // Ten seconds are a person's; here it does not wait.
    writeFileSync(
      at("launcher.py"),
      readFileSync(source, "utf8").replace("INTERRUPT_GRACE = 10.0", "INTERRUPT_GRACE = 0.2"),
    );
    const process = launch();
    await ready(process);
    const child = Number(/child (\d+)/.exec(process.output())?.[1]);

    process.signal("SIGTERM");

    expect((await process.ended).code).toBe(137);
    expect(identify(child)).toBeNull();
  });

  it("ends although nobody takes what is printed", async () => {
    prepare(`
import sys
print("ready", flush=True)
while True:
    print("x" * 10000)
`);
    const process = launch();
    await ready(process);
    process.child.stdout?.pause();
    await until("the pipe to be full", () => {
      const before = log().length;
      return before > 0 && process.child.stdout !== null && process.child.stdout.readableLength > 0;
    });

    process.signal("SIGTERM");

    await until("ComfyUI's end to be told", () => readdirSync(folder).includes("exit.json"));
    process.child.stdout?.resume();
    await process.ended;
    expect(read("exit.json")).toMatchObject({ start: 1 });
  });

  it("cuts the log so that its end is kept", async () => {
    prepare(`for number in range(40000): print("line", number)`);

    await launch().ended;

    expect(log().length).toBeLessThanOrEqual(65_536 + 65_536);
    expect(log().length).toBeGreaterThan(32_768 - 100);
    expect(log()).toMatch(/^line \d+\n/);
    expect(log()).toMatch(/line 39999\n$/);
  });

  it.runIf(isRoot)("goes on where the log's disk is full", async () => {
    mkdirSync(at("disk"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at("disk")]);
    try {
      prepare(`for number in range(40000): print("line", number)`, { log: at("disk/comfyui.log"), logLimit: 2 ** 20 });

      const process = launch();

      expect((await process.ended).code).toBe(0);
      expect(process.output()).toContain("line 39999");
      expect(/launcher: .*could not be written: .*No space left/.test(process.output())).toBe(true);
    } finally {
      execFileSync("umount", [at("disk")]);
    }
  });

  it("tells what ComfyUI's processes do", async () => {
    prepare(`
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "while True: pass"])
print("ready", flush=True)
import threading; threading.Event().wait()
`);
    writeFileSync(
      at("launcher.py"),
      readFileSync(source, "utf8").replace("PULSE_INTERVAL = 5.0", "PULSE_INTERVAL = 0.1"),
    );
    const process = launch();
    await ready(process);

    await until("a child's computing to be counted", () => Number(read("pulse.json").cpu) > 0.5);

    expect(read("pulse.json")).toMatchObject({ start: 1, at: expect.any(String), read: expect.any(Number) });
    process.signal("SIGTERM");
    await process.ended;
  });
});

describe.runIf(isRoot)("the launcher as process 1", () => {
  it("passes SIGTERM on, which ComfyUI as process 1 would ignore", async () => {
    prepare(waiting);
    const alone = keep(startContainer("sh", ["-c", `exec python3 -u ${at("program.py")}`], process.env));
    await ready(alone);
    alone.signal("SIGTERM");
    const launched = launchAsFirst();
    await ready(launched);

    launched.signal("SIGTERM");

    expect(await launched.ended).toEqual({ code: 0, signal: null });
    expect(alone.child.exitCode).toBeNull();
  });

  it("reaps what is orphaned", async () => {
    prepare(`
import os, subprocess, time
# Its parent ends at once, so that it is process 1's.
subprocess.run(["sh", "-c", "sleep 0.05 &"])
print("ready", flush=True)
def zombies():
    states = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with open("/proc/%s/stat" % name) as file:
                states.append(file.read().rsplit(")", 1)[1].split()[0])
    return states.count("Z"), len(states)
deadline = time.monotonic() + 30
while zombies()[1] > 2 and time.monotonic() < deadline:
    time.sleep(0.02)
print("left", zombies())
`);

    const process = launchAsFirst();

    await process.ended;
    expect(process.output()).toContain("left (0, 2)");
  });

  it("leaves nothing of what ComfyUI has started", async () => {
    prepare(`
import subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("done")
`);

    expect((await launchAsFirst().ended).code).toBe(0);
  });

  it("ends with all of its container when it is killed", async () => {
    prepare(waiting);
    const process = launchAsFirst();
    await ready(process);

    process.signal("SIGKILL");
    await process.ended;

    expect(readdirSync(folder)).not.toContain("exit.json");
    prepare("print('again')");
    await launchAsFirst().ended;
    expect(read("run.json").start).toBe(2);
  });
});

it("runs as a user without rights, in Python 3.9 already", async () => {
  // Syntax and library of the oldest version that is supported.
  const check = keep(
    startProgram(
      "python3",
      ["-c", `import ast, sys; ast.parse(open(${JSON.stringify(source)}).read(), feature_version=(3, 9))`],
      process.env,
    ),
  );
  expect((await check.ended).code, check.output()).toBe(0);
  mkdirSync(at("own"), { recursive: true });
  prepare("print('as', __import__('os').getuid())");
  if (!isRoot) return;
  for (const name of ["", "own"]) chmodSync(at(name), 0o777);

  const unprivileged = keep(
    startProgram("setpriv", ["--reuid", "65534", "--clear-groups", "/usr/bin/python3", at("launcher.py")], {
      PATH: "/usr/bin:/bin",
    }),
  );

  expect((await unprivileged.ended).code, unprivileged.output()).toBe(0);
  expect(log()).toBe("as 65534\n");
});
