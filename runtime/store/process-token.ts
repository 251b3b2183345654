import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/**
 * Tells in a file's name which process it belongs to: `<machine>-<pid>-<start>`. Boot and process-number space are in
 * `<machine>`, so that a process of another machine or container is never taken for a dead one of this.
 */
export function processToken(): string {
  return `${machine()}-${process.pid}-${startTime(process.pid) ?? 0}`;
}

/** A token of this process with a random end, for a name that is used once. */
export function uniqueToken(): string {
  return `${processToken()}-${randomBytes(4).toString("hex")}`;
}

/** Whether the process that a {@link processToken} or {@link uniqueToken} names still runs; `unknown` for one of another machine. */
export function stateOfProcess(token: string): "alive" | "dead" | "unknown" {
  const [, origin, pid, start] = /^([0-9a-f]{8})-(\d+)-(\d+)(?:-[0-9a-f]{8})?$/.exec(token) ?? [];
  if (origin !== machine()) return "unknown";
  const now = startTime(Number(pid));
  if (now === null) return "dead";
  return now === Number(start) ? "alive" : "dead";
}

let knownMachine: string | undefined;

function machine(): string {
  knownMachine ??= createHash("sha256").update(machineText()).digest("hex").slice(0, 8);
  return knownMachine;
}

function machineText(): string {
  try {
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8")} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname(); // Not Linux.
  }
}

/** Start in clock ticks since the boot, null when there is no such process, 0 where the system does not say. */
function startTime(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in brackets and may hold anything; fields are counted after it.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" || state === "X" ? null : Number(fields[18]);
  } catch {
    return startTimeWithoutProc(pid);
  }
}

function startTimeWithoutProc(pid: number): number | null {
  try {
    process.kill(pid, 0);
    return 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? 0 : null;
  }
}
