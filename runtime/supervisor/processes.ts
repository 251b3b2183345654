import { spawn } from "node:child_process";
import { closeSync, readdirSync, readFileSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { formatDuration } from "../format";
import type { Exit } from "../instance";
import { openLog } from "./process-log";

/** A process beyond the reuse of its number: pids come round again, also after a reboot. */
export interface ProcessIdentity {
  readonly pid: number;
  /** `<boot id>/<start in clock ticks since the boot>`. */
  readonly startTime: string;
}

export const processIdentity: z.ZodType<ProcessIdentity> = z.object({ pid: z.int().positive(), startTime: z.string() });

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
/** Milliseconds that a process gets to end after SIGKILL; one that waits in the kernel, for a driver say, does not. */
const killGrace = 30_000;
/** Milliseconds between two looks at a process that is no child of this one. */
const adoptedInterval = 250;

const markVariable = "PULUMI_COMFYUI_PROCESS";

/** Identity of a live process, or null when there is none with this pid (a zombie is none). */
export function identify(pid: number): ProcessIdentity | null {
  return look(pid)?.identity ?? null;
}

/** A live process as the kernel describes it. */
interface LiveProcess {
  readonly identity: ProcessIdentity;
  readonly group: number;
  readonly session: number;
  /** Clock ticks that it has computed, its threads' included. */
  readonly ticks: number;
}

function look(pid: number): LiveProcess | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // See proc(5). The second field is the program's name in brackets and may hold anything; fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, , group, session] = fields;
  const [user, system, start] = [fields[11], fields[12], fields[19]];
  if (start === undefined || state === "Z" || state === "X") return null;
  return {
    identity: { pid, startTime: `${bootId()}/${start}` },
    group: Number(group),
    session: Number(session),
    ticks: Number(user) + Number(system),
  };
}

/** Seconds that a process has computed so far, on all its threads; null when it is gone. */
export function computed(identity: ProcessIdentity): number | null {
  const found = look(identity.pid);
  // Counted in USER_HZ, which is 100 in the interface whatever the kernel's own frequency.
  return found?.identity.startTime === identity.startTime ? found.ticks / 100 : null;
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
export function findMarkedBelow(
  directory: string,
  wanted: (mark: string) => boolean = () => true,
): readonly ProcessIdentity[] {
  return findMarkedAs((found) => found.startsWith(`${directory}/`) && wanted(found));
}

function findMarkedAs(wanted: (mark: string) => boolean): readonly ProcessIdentity[] {
  const prefix = `${markVariable}=`;
  const hasMark = (pid: number) =>
    readFileSync(`/proc/${pid}/environ`, "utf8")
      .split("\0")
      .some((text) => text.startsWith(prefix) && wanted(text.slice(prefix.length)));
  return ownProcesses(hasMark)
    .sort((a, b) => Number(leads(b)) - Number(leads(a)))
    .map(({ identity }) => identity);
}

const leads = ({ identity, group }: LiveProcess) => group === identity.pid;

/** Live processes of this user that something holds for. */
function ownProcesses(holds: (pid: number) => boolean): LiveProcess[] {
  return readdirSync("/proc").flatMap((name): LiveProcess[] => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    try {
      if (statSync(`/proc/${name}`).uid !== process.getuid?.() || !holds(pid)) return [];
    } catch {
      return []; // It ended meanwhile, or may not be looked into.
    }
    const found = look(pid);
    return found === null ? [] : [found];
  });
}

/**
 * Ends a process: SIGINT, then SIGKILL to its group; then what it leaves behind. Fails when it has not ended some time after
 * SIGKILL, and may then be called again.
 */
export async function stopProcess(
  running: RunningProcess,
  mark: string,
  signal: "SIGINT" | "SIGTERM",
  grace = { interrupt: interruptGrace, kill: killGrace },
): Promise<void> {
  const { pid } = running.identity;
  send(running.identity, signal);
  if (!(await endsWithin(running, grace.interrupt))) {
    if (isAlive(running.identity)) killGroup(pid);
    if (!(await endsWithin(running, grace.kill))) {
      throw new Error(
        `process ${pid} of ${mark} has not ended ${formatDuration(grace.kill)} after SIGKILL: it waits in the kernel, for a driver or a file system`,
      );
    }
  }
  killRemains(running, mark);
}

async function endsWithin({ exited }: RunningProcess, milliseconds: number): Promise<boolean> {
  const over = new AbortController();
  const late = delay(milliseconds, false, { signal: over.signal }).catch(() => false);
  const ended = await Promise.race([exited.then(() => true), late]);
  over.abort();
  return ended;
}

/**
 * Sends SIGKILL to what a process that has just ended has left: all with its mark, and all of its session, since what it
 * started may have an environment of its own. Its number is not given to another process while its session lasts.
 */
export function killRemains({ identity }: RunningProcess, mark: string): void {
  killMarked(mark);
  if (look(identity.pid) !== null) return; // Given to another process already, so nothing is left of the session.
  for (const { identity: left, session } of ownProcesses(() => true)) {
    if (session === identity.pid) send(left, "SIGKILL");
  }
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

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

let knownBootId: string | undefined;

/** Tells one boot of a machine from the next. */
export function bootId(): string {
  knownBootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return knownBootId;
}
