import { writeFileSync } from "node:fs";
import { z } from "zod";
import type { Evidence } from "../instance";
import { type AgentFolders, launcherFiles } from "./folders";
import type { Journal } from "./journal";
import { readShared, writeShared } from "./shared-files";

/** The agent's exit code for a fault that another start would repeat. */
export const faultExitCode = 70;
/** Bytes that Kubernetes keeps of a container's termination message. */
const longestMessage = 4096;
/** Characters that a reason gets while anything else has to be left out. */
const enoughReason = 600;

const evidenceSchema = z.object({
  instance: z.string(),
  phase: z.string(),
  reason: z.string(),
  plugin: z.string().exactOptional(),
  traceback: z.string().exactOptional(),
  exit: z.object({ code: z.number().nullable(), signal: z.string().nullable() }).exactOptional(),
  logTail: z.array(z.string()),
}) as unknown as z.ZodType<Evidence>;

/** A conclusive fault: another start would come to the same. */
export class ConclusiveFault extends Error {
  override readonly name = "ConclusiveFault";
  constructor(readonly evidence: Evidence) {
    super(evidence.reason);
  }
}

/** What was noted by an agent of this pod before it ended, or null. */
export function readFault(folders: AgentFolders): Evidence | null {
  return readShared(launcherFiles(folders).fault, evidenceSchema);
}

/** Notes a fault for the agent that is started next, and for whoever watches the pod. */
export function noteFault(
  evidence: Evidence,
  places: AgentFolders & { readonly terminationLog: string },
  journal: Journal,
): void {
  const { terminationLog } = places;
  const { fault } = launcherFiles(places);
  const attempts: readonly [string, () => void][] = [
    [terminationLog, () => writeFileSync(terminationLog, terminationMessage(evidence))],
    [fault, () => writeShared(fault, JSON.stringify(evidence))],
  ];
  // On a full disk one of them may still have room.
  for (const [path, write] of attempts) {
    try {
      write();
    } catch (error) {
      journal.say(`${path} could not be written: ${(error as Error).message}`);
    }
  }
}

/**
 * Evidence as JSON of at most 4,096 bytes, the most that Kubernetes keeps. What matters least goes first: the beginning of the log's
 * end, the beginning of the traceback (its end names the error), and the end of the reason.
 */
export function terminationMessage(evidence: Evidence): string {
  const { traceback } = evidence;
  let shown: Evidence = { ...evidence, reason: startOf(evidence.reason, 4 * enoughReason) };
  const fits = () => Buffer.byteLength(JSON.stringify(shown)) <= longestMessage;
  const whole = shown.logTail;
  // Some of the log stays in any case, where there is a traceback as well.
  for (const least of [5, 0]) {
    for (let count = whole.length; !fits() && count >= least; count--) {
      shown = { ...shown, logTail: count === 0 ? [] : whole.slice(-count).map((line) => startOf(line, 300)) };
    }
    for (let length = Math.min(traceback?.length ?? 0, longestMessage); !fits() && length > 0; length -= 100) {
      const limit = least === 0 ? 0 : enoughReason;
      if (length < limit) break;
      shown = { ...shown, traceback: endOf(traceback ?? "", length) };
    }
  }
  for (let length = enoughReason; !fits() && length > 0; length -= 50) {
    const { instance, phase, reason } = evidence;
    shown = { instance: startOf(instance, 200), phase, reason: startOf(reason, length), logTail: [] };
  }
  return JSON.stringify(shown);
}

function startOf(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`;
}

function endOf(text: string, length: number): string {
  return text.length <= length ? text : `…${text.slice(-length).toWellFormed()}`;
}
