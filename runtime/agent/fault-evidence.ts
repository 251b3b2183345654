import type { Evidence, Phase } from "../instance";
import { HopelessRestoreError } from "./restoring";

/** Evidence of what went wrong in the agent itself. */
export function evidenceOf(instance: string, phase: Phase, error: unknown): Evidence {
  const reason = error instanceof Error ? error.message : String(error);
  // What was not foreseen is to be found in the code.
  const known = error instanceof HopelessRestoreError || (error as NodeJS.ErrnoException).code !== undefined;
  const stack = known || !(error instanceof Error) ? undefined : error.stack;
  return { instance, phase, reason, ...(stack === undefined ? {} : { traceback: stack }), logTail: [] };
}
