import { parseStartupLog } from "../health";

/** What an instance is busy with. */
export type Phase =
  | "waiting"
  | "restoring"
  | "booting"
  | "importing"
  | "smoke"
  | "stabilizing"
  | "proven"
  | "draining"
  | "stopping"
  | "failed";

/** How a process ended. */
export interface Exit {
  /** Both are null when nobody was told: whoever started it had ended before it. */
  readonly code: number | null;
  readonly signal: string | null;
}

/** What is wrong with an instance. */
export interface Fault {
  readonly phase: Phase;
  readonly reason: string;
  readonly plugin?: string;
  readonly traceback?: string;
}

/** Why something is not as it should be, for a person to act on. */
export interface Evidence extends Fault {
  readonly instance: string;
  readonly exit?: Exit;
  /** The last lines of its output. */
  readonly logTail: readonly string[];
}

/**
 * Why a process ended, where `log` is what it printed: ComfyUI does not name the plugin that ends it, so its last line is part of the
 * reason.
 */
export function faultOfExit(exit: Exit, seen: Phase, wasProven: boolean, log: string): Fault {
  const { importing, traceback, lastLine } = parseStartupLog(log);
  // It may have ended before anybody saw that it had come to its plugins.
  const phase = seen === "booting" && importing ? "importing" : seen;
  const when = wasProven ? "ComfyUI ended" : `ComfyUI ended while it was ${phase}`;
  return {
    phase,
    reason: `${when}: ${describeExit(exit)}${lastLine === "" ? "" : `; it printed last: ${lastLine}`}`,
    ...(traceback === null || wasProven ? {} : { traceback }),
  };
}

export function describeExit({ code, signal }: Exit): string {
  if (signal !== null) return `it was ended by ${signal}`;
  return code === null ? "it ended" : `it exited with code ${code}`;
}
