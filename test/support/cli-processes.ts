import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { onTestFinished } from "vitest";

/** Starts a process that only waits, under any name and with any arguments; ended after the test. */
export async function startWaiting(
  argv0: string,
  args: readonly string[],
  { cwd, env = {} }: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): Promise<ChildProcess & { readonly pid: number }> {
  const program = "process.stdout.write('up'); setInterval(() => undefined, 1000);";
  const child = spawn(process.execPath, ["-e", program, "--", ...args], {
    argv0,
    cwd,
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  });
  await once(child.stdout, "data");
  const { pid } = child;
  if (pid === undefined) throw new Error("a process that runs has a pid");
  return Object.assign(child, { pid });
}
