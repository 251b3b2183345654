import { CommanderError } from "commander";
import { reasonOf, statusOf } from "../kubernetes/failure";
import { InvalidInputError } from "../problems";
import { SnapshotNotFoundError } from "../snapshot/types";
import { SupervisorError } from "../supervisor/transport";
import { type ExitCode, exitCodes } from "./exit-codes";
import { InterruptedError } from "./surroundings";

/** What a failed command tells: the `error` of its JSON document. */
export interface Failure {
  readonly message: string;
  /** What is wrong with the input, property by property. */
  readonly problems?: readonly { readonly path: string; readonly reason: string }[];
  /** What the supervisor calls its refusal. */
  readonly code?: string;
}

/** The exit code that an error means. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.badInput;
  if (error instanceof InvalidInputError || error instanceof SnapshotNotFoundError) return exitCodes.badInput;
  if (error instanceof InterruptedError) return exitCodes.interrupted;
  return exitCodes.failed;
}

/** An error as a person, or a script, gets to see it: its message and those of its causes, without a stack. */
export function describeFailure(error: unknown): Failure {
  return {
    message: messages(error).join("\n  because: "),
    ...(error instanceof InvalidInputError ? { problems: error.problems } : {}),
    ...(error instanceof SupervisorError ? { code: error.refusal.code } : {}),
  };
}

function messages(error: unknown): readonly string[] {
  if (!(error instanceof Error)) return [String(error)];
  // The client of the API server prints its answers' headers as well.
  if (statusOf(error) !== null) return [reasonOf(error)];
  const own = error.message || error.name;
  return error.cause === undefined ? [own] : [own, ...messages(error.cause)];
}
