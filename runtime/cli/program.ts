import { Command, CommanderError } from "commander";
import { packageVersion } from "../package-root";
import { type ExitCode, exitCodes } from "./exit-codes";
import { describeFailure, exitCodeOf } from "./failure";
import { Output, type OutputOptions } from "./output";
import type { Surroundings } from "./surroundings";

/** What a command's file needs to declare itself: the program to add to, and how its work is run. */
export interface Program {
  readonly commands: Command;
  readonly surroundings: Surroundings;
  /** Runs a command's work with the output that its options ask for; what it returns becomes the exit code: an {@link ExitCode}, or another command's. */
  readonly perform: (options: OutputOptions, work: (output: Output) => Promise<number>) => Promise<void>;
}

/**
 * The commands in the order of the help. Each is loaded only when it is asked for, or when all are shown: a scan is over before
 * what the other commands need would have been loaded. With endings, since Node.js itself resolves these.
 */
const declarations = {
  scan: async () => (await import("./scan.js")).addScan,
  pack: async () => (await import("./pack.js")).addPack,
  restore: async () => (await import("./restore.js")).addRestore,
  list: async () => (await import("./list.js")).addList,
  verify: async () => (await import("./verify.js")).addVerify,
  export: async () => (await import("./export.js")).addExport,
  prune: async () => (await import("./prune.js")).addPrune,
  status: async () => (await import("./status.js")).addStatus,
  history: async () => (await import("./history.js")).addHistory,
  open: async () => (await import("./open.js")).addOpen,
  "with-candidate": async () => (await import("./with-candidate.js")).addWithCandidate,
  recover: async () => (await import("./recover.js")).addRecover,
} satisfies Record<string, () => Promise<(program: Program) => void>>;
const names = Object.keys(declarations) as (keyof typeof declarations)[];

const footer = `
Exit codes:
  0    done; healthy; unchanged
  1    failed
  2    bad usage or bad input
  3    the answer is no: changed, damaged, unhealthy, nothing there, not confirmed
  130  interrupted

With --json a command writes one JSON document to stdout, also when it fails: {"error": {"message": ...}}.
`;

/** Runs `pulumi-comfyui` with its arguments and gives the exit code; never throws. */
export async function runCommand(args: readonly string[], surroundings: Surroundings): Promise<number> {
  let code: number = exitCodes.done;
  const usageErrors: string[] = [];
  const commands = new Command("pulumi-comfyui")
    .description("Snapshots, state and repair of ComfyUI projects that are declared with Pulumi.")
    .version(packageVersion(), "--version", "print the version and end")
    .helpOption("-h, --help", "print help and end")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => surroundings.stdout.write(text),
      writeErr: (text) => usageErrors.push(text),
    })
    .showHelpAfterError("Run with --help to see what it takes.")
    .addHelpText("after", footer);
  const program: Program = {
    commands,
    surroundings,
    perform: async (options, work) => {
      const output = new Output(surroundings, options);
      try {
        code = await work(output);
      } finally {
        output.clearProgress();
      }
    },
  };
  try {
    const [name = ""] = args;
    const wanted = Object.hasOwn(declarations, name) ? [name as keyof typeof declarations] : names;
    for (const each of wanted) (await declarations[each]())(program);
    await commands.parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    return report(error, usageErrors.join(""), asksForJson(args), surroundings);
  }
}

/** What follows `--` is another command's. */
function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end === -1 ? args : args.slice(0, end)).includes("--json");
}

function report(error: unknown, usage: string, json: boolean, surroundings: Surroundings): ExitCode {
  // An interruption arrives in many guises: aborted reads, ended children. The signal knows.
  const cause = surroundings.signal.aborted ? surroundings.signal.reason : error;
  const code = exitCodeOf(cause);
  if (code === exitCodes.done) return code;
  const failure = cause instanceof CommanderError ? { message: usage.trim() || cause.message } : describeFailure(cause);
  if (json) surroundings.stdout.write(`${JSON.stringify({ error: failure }, null, 2)}\n`);
  const prefix = cause instanceof CommanderError ? "" : "pulumi-comfyui: ";
  surroundings.stderr.write(`${prefix}${failure.message}\n`);
  if (surroundings.environment.PULUMI_COMFYUI_DEBUG && cause instanceof Error) {
    surroundings.stderr.write(`${cause.stack ?? cause.message}\n`);
  }
  return code;
}
