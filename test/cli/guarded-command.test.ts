import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Ending, runGuarded } from "../../runtime/cli/guarded-command";
import { inShortLines } from "../../runtime/cli/short-lines";
import { waitFor } from "../../runtime/waiting";
import { compiledCommand } from "../support/cli-compiled";

interface Ran {
  readonly ending: Ending;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  script: string,
  over: { readonly deadline?: number; readonly signal?: AbortSignal } = {},
): Promise<Ran> {
  const output = { stdout: "", stderr: "" };
  const to = (name: "stdout" | "stderr") => async (bytes: Buffer) => {
    output[name] += bytes.toString("utf8");
  };
  const ending = await runGuarded({
    command: ["sh", "-c", script],
    folder: process.cwd(),
    environment: process.env,
    deadline: 60_000,
    signal: new AbortController().signal,
    stdout: to("stdout"),
    stderr: to("stderr"),
    ...over,
  });
  return { ending, ...output };
}

/** Live processes with a mark in their command line. */
function alive(mark: string): readonly string[] {
  return execFileSync("ps", ["-eo", "stat=,args="], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes(mark) && !line.startsWith("Z"));
}

async function untilGone(mark: string): Promise<void> {
  await waitFor({
    what: "nothing of the command to be left",
    deadline: 30_000,
    look: () => alive(mark).length === 0 || undefined,
    seen: () => alive(mark).join("\n"),
  });
}

describe("a guarded command", () => {
  it("gives its output and its exit code", async () => {
    expect(await run("echo out; echo err >&2; exit 5")).toEqual({
      ending: { code: 5, signal: null, late: false },
      stdout: "out\n",
      stderr: "err\n",
    });
  });

  it("counts a signal as shells do", async () => {
    expect((await run("kill -KILL $$")).ending).toEqual({ code: 137, signal: "SIGKILL", late: false });
  });

  it("takes what it left in the background with it, and waits for nobody's output", async () => {
    const { ending } = await run("sleep 7301 & exit 0");
    expect(ending.code).toBe(0);
    expect(alive("sleep 7301")).toEqual([]);
  });

  it("may end well when it is told to at its deadline, and was late all the same", async () => {
    const { ending, stdout } = await run("trap 'echo told; exit 0' TERM; echo ready; sleep 7302 & wait", {
      deadline: 500,
    });
    expect([ending, stdout]).toEqual([{ code: 0, signal: null, late: true }, "ready\ntold\n"]);
    expect(alive("sleep 7302")).toEqual([]);
  });

  it("is ended when whoever asked for it has gone, with the reason", async () => {
    const asked = new AbortController();
    const running = run("sleep 7303", { signal: asked.signal });
    await waitFor({ what: "it to run", deadline: 10_000, look: () => alive("sleep 7303").length > 0 || undefined });
    asked.abort(new Error("nobody is there"));
    await expect(running).rejects.toThrow("nobody is there");
    expect(alive("sleep 7303")).toEqual([]);
  });

  it("does not run when its program is not there", async () => {
    const missing = runGuarded({
      command: ["/no/such/program"],
      folder: process.cwd(),
      environment: process.env,
      deadline: 1_000,
      signal: new AbortController().signal,
      stdout: async () => undefined,
      stderr: async () => undefined,
    });
    await expect(missing).rejects.toThrow("ENOENT");
  });

  it("ends with the process that runs it, however that ends", async () => {
    const module = join(dirname(compiledCommand()), "guarded-command.js");
    const program = `require(${JSON.stringify(module)}).runGuarded({
      command: ["sh", "-c", "trap '' TERM; sleep 7304 & sleep 7304"], folder: ".", environment: process.env, deadline: 600000,
      signal: new AbortController().signal, stdout: async () => {}, stderr: async () => {},
    })`;
    const runner: ChildProcess = spawn(process.execPath, ["-e", program], { stdio: "ignore" });
    await waitFor({ what: "it to run", deadline: 30_000, look: () => alive("sleep 7304").length >= 3 || undefined });
    runner.kill("SIGKILL");
    await once(runner, "exit");
    await untilGone("sleep 7304");
  });
});

describe("lines", () => {
  it("are broken after 32 KiB, in whatever pieces they come, and are else as they were", () => {
    const shorten = inShortLines();
    const text = (pieces: readonly string[]) =>
      pieces.map((piece) => shorten(Buffer.from(piece)).toString("utf8")).join("");
    expect(text(["one\ntw", "o\n", "\n"])).toBe("one\ntwo\n\n");
    const long = text(["x".repeat(40_000), "x".repeat(40_000), "\nend\n"]);
    expect(long.split("\n").map(({ length }) => length)).toEqual([32_768, 32_768, 80_000 - 65_536, 3, 0]);
  });
});
