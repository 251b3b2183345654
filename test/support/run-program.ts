import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  /** Both streams, in the order of their arrival. */
  readonly output: string;
}

export interface StartedRun {
  readonly process: ChildProcess;
  /** Fulfilled when the program has ended and all it printed has come; whatever its exit code. */
  readonly ended: Promise<Run>;
}

/** Starts a program with no standard input and collects what it prints. */
export function startProgram(
  command: string,
  args: readonly string[],
  options: Pick<SpawnOptions, "cwd" | "env">,
): StartedRun {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const ended = new Promise<Run>((done, failed) => {
    child.once("error", failed);
    child.once("close", (code) => done({ code, stdout, output }));
  });
  return { process: child, ended };
}
