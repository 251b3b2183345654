import { spawn } from "node:child_process";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { isValues, listAt, textAt, type Values } from "../plugin-base/values";

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

interface Shell {
  readonly command: string;
  /** Of a Command, in plain text. */
  readonly inputs: Values;
  /** What the Command's last run gave, if any. */
  readonly before: Values;
  /** Kills it, and nothing that it started. */
  readonly signal: AbortSignal;
  /** Hears each line, as far as `logging` wants it. */
  readonly show: (line: string) => void;
}

/** Runs a command to its end, and until nobody holds its output any more. @throws with all its output, unless its exit code is 0 */
export async function runShell({ command, inputs, before, signal, show }: Shell): Promise<Output> {
  const interpreter = listAt(inputs, "interpreter").map(String);
  const [program = "/bin/sh", ...args] = interpreter.length > 0 ? interpreter : ["/bin/sh", "-c"];
  const stdin = textAt(inputs, "stdin");
  const child = spawn(program, [...args, command], {
    cwd: textAt(inputs, "dir") ?? process.cwd(),
    env: { ...process.env, ...environmentOf(inputs), ...previousOutput(inputs, before) },
    stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    signal,
    killSignal: "SIGKILL",
  });
  child.stdin?.on("error", () => undefined).end(stdin);
  const logging = textAt(inputs, "logging") ?? "stdoutAndStderr";
  const all: string[] = [];
  const own = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    let open = "";
    const stream = child[name] as Readable;
    stream.setEncoding("utf8").on("data", (text: string) => {
      own[name] += text;
      all.push(text);
      const lines = `${open}${text}`.split("\n");
      open = lines.pop() ?? "";
      if (logging.toLowerCase().includes(name)) for (const line of lines) show(line);
    });
  }
  const failure = await new Promise<string | null>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, by) => {
      if (by !== null) resolve(`signal: ${by} (${constants.signals[by]})`);
      else resolve(code === 0 ? null : `exit status ${code}`);
    });
  });
  if (failure !== null) throw new Error(`${failure}: running ${JSON.stringify(command)}:\n${all.join("")}`);
  return { stdout: own.stdout.replace(/\n$/, ""), stderr: own.stderr.replace(/\n$/, "") };
}

function environmentOf({ environment }: Values): Readonly<Record<string, string>> {
  return isValues(environment)
    ? Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, String(value)]))
    : {};
}

function previousOutput({ addPreviousOutputInEnv }: Values, before: Values): Readonly<Record<string, string>> {
  const [stdout, stderr] = [textAt(before, "stdout"), textAt(before, "stderr")];
  if (addPreviousOutputInEnv === false) return {};
  return {
    ...(stdout ? { PULUMI_COMMAND_STDOUT: stdout } : {}),
    ...(stderr ? { PULUMI_COMMAND_STDERR: stderr } : {}),
  };
}
