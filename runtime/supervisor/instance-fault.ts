import { parseStartupLog } from "../health";
import { logTail, readLog } from "./process-log";
import { describeExit, type Exit } from "./processes";
import type { Evidence, Phase } from "./protocol";

/** How one start of an instance's process went. */
export type Outcome =
  | { readonly kind: "ended"; readonly exit: Exit }
  | { readonly kind: "port-in-use" }
  | {
      readonly kind: "faulty";
      readonly fault: Fault;
      /** Whether another start would come to the same. */
      readonly conclusive: boolean;
    };

/** What is wrong with an instance. */
export interface Fault {
  readonly phase: Phase;
  readonly reason: string;
  readonly plugin?: string;
  readonly traceback?: string;
}

/** Why a process ended: ComfyUI does not name the plugin that ends it, so its last line is part of the reason. */
export function faultOfExit(exit: Exit, seen: Phase, wasProven: boolean, log: string): Fault {
  const { importing, traceback, lastLine } = parseStartupLog(readLog(log));
  // It may have ended before anybody saw that it had come to its plugins.
  const phase = seen === "booting" && importing ? "importing" : seen;
  const when = wasProven ? "ComfyUI ended" : `ComfyUI ended while it was ${phase}`;
  return {
    phase,
    reason: `${when}: ${describeExit(exit)}${lastLine === "" ? "" : `; it printed last: ${lastLine}`}`,
    ...(traceback === null || wasProven ? {} : { traceback }),
  };
}

/** A fault with what a person needs to see of it. */
export function evidenceOf(instance: string, fault: Fault, outcome: Outcome | null, log: string): Evidence {
  return {
    instance,
    ...fault,
    ...(outcome?.kind === "ended" ? { exit: outcome.exit } : {}),
    logTail: logTail(log),
  };
}
