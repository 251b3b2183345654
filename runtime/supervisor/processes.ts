import { spawn } from "node:child_process";
import { closeSync, readdirSync, readFileSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { openLog } from "./process-log";

/** A process beyond the reuse of its number: pids come round again, also after a reboot. */
export interface ProcessIdentity {
  readonly pid: number;
  /** `<boot id>/<start in clock ticks since the boot>`. */
  readonly startTime: string;
}

export interface Exit {
  /** Both are null when the process was started by an earlier supervisor, which took the answer with it. */
  readonly code: number | null;
  readonly signal: string | null;
}

/** A process that is looked after, whoever started it. */
export interface RunningProcess {
  readonly identity: ProcessIdentity;
  /** Fulfilled when it has ended; never rejected. */
  readonly exited: Promise<Exit>;
}

export interface Start {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly folder: string;
  /** Receives standard output and error; the earlier start's log is kept beside it. */
  readonly log: string;
  /** Names what the process is, in its environment, so that it is found when its record was not written any more. */
  readonly mark: string;
}

/** Milliseconds between SIGINT and SIGKILL. ComfyUI was seen to need up to 3.4 s, longer while a native call runs. */
const interruptGrace = 10_000;
/** Milliseconds between two looks at a process that is no child of this one. */
const adoptedInterval = 250;

export const markVariable = "PULUMI_COMFYUI_PROCESS";

/** Identity of a live process, or null when there is none with this pid (a zombie is none). */
export function identify(pid: number): ProcessIdentity | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // The second field is the program's name in brackets and may hold anything; fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state] = fields;
  const ticks = fields[19];
  if (ticks === undefined || state === "Z" || state === "X") return null;
  return { pid, startTime: `${bootId()}/${ticks}` };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTime === identity.startTime;
}

/**
 * Starts a program in a process group of its own, which outlives this process. Node.js gives children the default
 * action for every signal, so that SIGINT works even when this process was started with it ignored.
 */
export async function startProcess(start: Start): Promise<RunningProcess> {
  const log = openLog(start.log);
  try {
    const child = spawn(start.command, start.arguments, {
      cwd: start.folder,
      env: { ...start.environment, [markVariable]: start.mark },
      detached: true,
      stdio: ["ignore", log, log],
    });
    const exited = new Promise<Exit>((resolve) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    const { pid } = child;
    if (pid === undefined) throw new Error(`${start.command} has no process id`);
    // A child that ended at once is still a zombie or gone; it gets an identity that no live process has.
    const identity = identify(pid) ?? { pid, startTime: "ended" };
    return { identity, exited };
  } finally {
    closeSync(log);
  }
}

/** Looks after a process that an earlier supervisor started, or returns null when it is gone. */
export function adoptProcess(identity: ProcessIdentity): RunningProcess | null {
  if (!isAlive(identity)) return null;
  const exited = (async () => {
    while (isAlive(identity)) await delay(adoptedInterval);
    return { code: null, signal: null };
  })();
  return { identity, exited };
}

/** Live processes of this user which carry the mark, group leaders first. */
export function findMarked(mark: string): readonly ProcessIdentity[] {
  return findMarkedAs((found) => found === mark);
}

/** Live processes of this user whose mark is a path below a directory, group leaders first. */
export function findMarkedBelow(directory: string): readonly ProcessIdentity[] {
  return findMarkedAs((found) => found.startsWith(`${directory}/`));
}

function findMarkedAs(wanted: (mark: string) => boolean): readonly ProcessIdentity[] {
  const prefix = `${markVariable}=`;
  const found: { identity: ProcessIdentity; leads: boolean }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (statSync(`/proc/${name}`).uid !== process.getuid?.()) continue;
      const variables = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      if (!variables.some((text) => text.startsWith(prefix) && wanted(text.slice(prefix.length)))) continue;
    } catch {
      continue; // It ended meanwhile, or is of another user.
    }
    const identity = identify(Number(name));
    if (identity) found.push({ identity, leads: groupOf(identity.pid) === identity.pid });
  }
  return found.sort((a, b) => Number(b.leads) - Number(a.leads)).map(({ identity }) => identity);
}

/** Ends a process: SIGINT, then SIGKILL to its group, and to whatever of it has left the group. */
export async function stopProcess(running: RunningProcess, mark: string, signal: "SIGINT" | "SIGTERM"): Promise<void> {
  send(running.identity, signal);
  const grace = new AbortController();
  await Promise.race([
    running.exited,
    delay(interruptGrace, undefined, { signal: grace.signal }).catch(() => undefined),
  ]);
  grace.abort();
  if (isAlive(running.identity)) killGroup(running.identity.pid);
  await running.exited;
  killMarked(mark);
}

/** Sends SIGKILL to every process with the mark: what a plugin started may outlive the process that it is part of. */
export function killMarked(mark: string): void {
  for (const identity of findMarked(mark)) send(identity, "SIGKILL");
}

export function send(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export function describeExit({ code, signal }: Exit): string {
  if (signal !== null) return `it was ended by ${signal}`;
  return code === null ? "it ended" : `it exited with code ${code}`;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function groupOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
  } catch {
    return null;
  }
}

let knownBootId: string | undefined;

/** Tells one boot of a machine from the next. */
export function bootId(): string {
  knownBootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return knownBootId;
}
