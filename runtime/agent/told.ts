import { readFileSync } from "node:fs";
import type { z } from "zod";
import type { AgentFolders } from "./folders";
import { Journal } from "./journal";
import { faultExitCode, noteFault } from "./termination";

/** What an agent is told in a file. Throws with all that is wrong with it. */
export function readTold<T>(path: string, form: z.ZodType<T>): T {
  const parsed = form.safeParse(JSON.parse(readFileSync(path, "utf8")));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path: at, message }) => `${at.join(".") || "it"}: ${message}`);
  throw new Error(`${path} is not what this agent is told by: ${problems.join("; ")}`);
}

/** Leaves why an agent cannot begin with what it is told, and gives its exit code. */
export function refuseTold(
  error: unknown,
  options: AgentFolders & { readonly pod: string; readonly terminationLog: string },
): number {
  const { message } = error as Error;
  const journal = new Journal(options.pod);
  journal.enter("failed", message);
  noteFault({ instance: options.pod, phase: "waiting", reason: message, logTail: [] }, options, journal);
  return faultExitCode;
}

/** Fulfilled when this process is told to end. */
export function untilToldToEnd(): Promise<void> {
  return new Promise((resolve) => {
    for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, () => resolve());
  });
}
