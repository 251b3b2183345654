import { type Evidence, type Exit, type Fault, faultOfExit as faultOf, type Phase } from "../instance";
import { logTail, readLog } from "./process-log";

export type { Fault } from "../instance";

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

/** Why a process ended, by what its log says. */
export function faultOfExit(exit: Exit, seen: Phase, wasProven: boolean, log: string): Fault {
  return faultOf(exit, seen, wasProven, readLog(log));
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
