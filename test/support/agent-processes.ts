import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that a test started, and what it has printed. */
export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  output(): string;
  /** Sends a signal: to a container's process 1, where it is one. */
  signal(name: NodeJS.Signals): void;
}

export function startProgram(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Started {
  return start(command, args, env, (pid) => pid);
}

/** A program as process 1 of a space of process numbers of its own, all of which ends with it. Takes root. */
export function startContainer(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Started {
  return start("unshare", ["--pid", "--fork", "--kill-child", "--mount-proc", "--", command, ...args], env, childOf);
}

function start(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  target: (pid: number) => number,
): Started {
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  // A test process that ends early takes its processes along.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data: Buffer) => {
      output += data.toString();
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      process.off("exit", kill);
      resolve({ code, signal });
    });
  });
  return {
    child,
    ended,
    output: () => output,
    signal: (name) => void process.kill(target(child.pid ?? 0), name),
  };
}

/** The process that `unshare` has started and passes no signal on to. */
function childOf(pid: number): number {
  const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim());
  if (!Number.isInteger(child) || child === 0) throw new Error(`process ${pid} has no child`);
  return child;
}
