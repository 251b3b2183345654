import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect } from "node:net";
import { basename, relative } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A process of this machine, as `/proc` tells it. */
export interface RunningProcess {
  readonly pid: number;
  readonly arguments: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** The processes of this machine. None where there is no `/proc`. */
export function readProcesses(): readonly RunningProcess[] {
  return pids().flatMap((pid) => {
    const found = readProcess(pid);
    return found === null ? [] : [found];
  });
}

/** One process, or null when it has ended, zombies included. What of another user cannot be read is left empty. */
export function readProcess(pid: number): RunningProcess | null {
  const args = nulSeparated(readable(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")));
  if (args.length === 0) return null;
  const variables = nulSeparated(readable(() => readFileSync(`/proc/${pid}/environ`, "utf8"))).map(
    (line): [string, string] => {
      const equals = line.indexOf("=");
      return [line.slice(0, equals), line.slice(equals + 1)];
    },
  );
  const cwd = readable(() => readlinkSync(`/proc/${pid}/cwd`));
  return { pid, arguments: args, cwd, environment: Object.fromEntries(variables) };
}

/** When a process was started, by the machine's clock in milliseconds since 1970; null when it has ended. */
export function startTime(pid: number): number | null {
  // See proc(5): the name, in brackets, may hold anything; state is the first field after it, starttime the 20th.
  const fields = readable(() => readFileSync(`/proc/${pid}/stat`, "utf8"))
    .replace(/^.*\) /s, "")
    .split(" ");
  const [, booted] = /^btime (\d+)$/m.exec(readable(() => readFileSync("/proc/stat", "utf8"))) ?? [];
  if (fields.length < 20 || fields[0] === "Z" || booted === undefined) return null;
  // Counted in USER_HZ, which is 100 in the interface whatever the kernel's own frequency.
  return Number(booted) * 1000 + Number(fields[19]) * 10;
}

function readable(read: () => string): string {
  try {
    return read();
  } catch {
    // It ended between two looks, or is another user's: for all that this command does, the same as not being there.
    return "";
  }
}

const subcommands: ReadonlySet<string> = new Set(["up", "update", "destroy", "down", "refresh", "import", "watch"]);

/** Whether a process is a `pulumi` that works on a stack of a project. One that does not say which stack counts. */
export function isPulumiRun(
  candidate: RunningProcess,
  { root, stack }: { readonly root: string; readonly stack: string },
): boolean {
  if (basename(candidate.arguments[0] ?? "") !== "pulumi" || !isInside(candidate.cwd, root)) return false;
  if (!candidate.arguments.some((argument) => subcommands.has(argument))) return false;
  const named = namedStack(candidate.arguments) ?? candidate.environment.PULUMI_STACK;
  return named === undefined || named.slice(named.lastIndexOf("/") + 1) === stack;
}

function namedStack(args: readonly string[]): string | undefined {
  for (const [index, argument] of args.entries()) {
    if (argument === "--stack" || argument === "-s") return args[index + 1];
    if (argument.startsWith("--stack=")) return argument.slice("--stack=".length);
  }
  return undefined;
}

/** The engine that a process works for as its plugin (dynamic provider, language host), or null for any other process. */
function engineOf({ arguments: args }: RunningProcess): { readonly host: string; readonly port: number } | null {
  const plugin = args.findIndex(
    (argument) =>
      /@pulumi[\\/]pulumi[\\/]cmd[\\/]dynamic-provider/.test(argument) ||
      /^pulumi-(language|resource)-/.test(basename(argument)),
  );
  if (plugin === -1) return null;
  const [, host, port] = /^(.+):(\d+)$/.exec(args[plugin + 1] ?? "") ?? [];
  return host === undefined || port === undefined ? null : { host, port: Number(port) };
}

/**
 * The plugins of a project's runs that outlived their engine. A dynamic provider goes on with what it was doing, and with
 * the rest of it after the next run has begun.
 */
export async function findLeftOvers(root: string): Promise<readonly RunningProcess[]> {
  const leftOvers: RunningProcess[] = [];
  for (const candidate of readProcesses()) {
    const engine = engineOf(candidate);
    if (engine === null || !isInside(candidate.cwd, root)) continue;
    if (!(await accepts(engine))) leftOvers.push(candidate);
  }
  return leftOvers;
}

/** Milliseconds for a connection on this machine. */
const connectTimeout = 5000;

/** Whether something listens at an address. One that does not refuse within the time counts as listening. */
function accepts({ host, port }: { readonly host: string; readonly port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: connectTimeout });
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => settle(true));
    socket.once("timeout", () => settle(true));
    socket.once("error", () => settle(false));
  });
}

/** Milliseconds that a process gets after SIGTERM, and again after SIGKILL. */
const endDeadline = 5000;

/** Ends a process: SIGTERM, then SIGKILL. Fails when it is still there after that. */
export async function endProcess(target: RunningProcess): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (!isStillThere(target)) return;
    try {
      process.kill(target.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ESRCH") return;
      throw new Error(`process ${target.pid} cannot be ended`, { cause: error });
    }
    const deadline = performance.now() + endDeadline;
    while (isStillThere(target) && performance.now() < deadline) await delay(50);
  }
  if (isStillThere(target)) throw new Error(`process ${target.pid} is still there after SIGKILL`);
}

/** The same process, and not another one that got its pid. */
function isStillThere({ pid, arguments: args }: RunningProcess): boolean {
  return readProcess(pid)?.arguments.join("\0") === args.join("\0");
}

function isInside(path: string, folder: string): boolean {
  if (path === "") return false;
  const way = relative(folder, path);
  return way === "" || !(way === ".." || way.startsWith("../") || way.startsWith("/"));
}

function pids(): readonly number[] {
  try {
    return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function nulSeparated(text: string): readonly string[] {
  return text.split("\0").filter((part) => part !== "");
}
