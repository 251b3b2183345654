import { Command, CommanderError } from "commander";
import { packageVersion } from "../package-root";
import { type ExitCode, exitCodes } from "./exit-codes";
import { describeFailure, exitCodeOf } from "./failure";
import { addHistory } from "./history";
import { addList } from "./list";
import { addOpen } from "./open";
import { Output, type OutputOptions } from "./output";
import { addPack } from "./pack";
import { addPrune } from "./prune";
import { addRecover } from "./recover";
import { addRestore } from "./restore";
import { addScan } from "./scan";
import { addStatus } from "./status";
import type { Surroundings } from "./surroundings";
import { addVerify } from "./verify";

/** What a command's file needs to declare itself: the program to add to, and how its work is run. */
export interface Program {
  readonly commands: Command;
  readonly surroundings: Surroundings;
  /** Runs a command's work with the output that its options ask for; what it returns becomes the exit code. */
  readonly perform: (options: OutputOptions, work: (output: Output) => Promise<ExitCode>) => Promise<void>;
}

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
export async function runCommand(args: readonly string[], surroundings: Surroundings): Promise<ExitCode> {
  let code: ExitCode = exitCodes.done;
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
  for (const add of [
    addScan,
    addPack,
    addRestore,
    addList,
    addVerify,
    addPrune,
    addStatus,
    addHistory,
    addOpen,
    addRecover,
  ]) {
    add(program);
  }
  try {
    await commands.parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    return report(error, usageErrors.join(""), args.includes("--json"), surroundings);
  }
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
