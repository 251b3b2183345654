import { readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { startTime } from "./processes";

/** Milliseconds by which a start time may be late: the boot time that it is counted from is in whole seconds. */
const clockTolerance = 2000;

/** A lock of a stack in a backend that is a folder. */
export interface StackLock {
  readonly path: string;
  readonly pid: number;
  readonly host: string;
  readonly user: string;
  /** ISO 8601. */
  readonly since: string;
  /** Whether its process runs; `unknown` on another machine. */
  readonly holder: "alive" | "gone" | "unknown";
}

/** Locks of a stack, from the two places where Pulumi keeps them: by project, and as before projects had stacks of their own. */
export function readLocks(
  backend: string,
  { project, stack }: { readonly project: string; readonly stack: string },
): readonly StackLock[] {
  const locks = join(backend, ".pulumi", "locks");
  return [join(locks, "organization", project, stack), join(locks, stack)].flatMap((folder) =>
    filesIn(folder).map((name) => readLock(join(folder, name))),
  );
}

function readLock(path: string): StackLock {
  const {
    pid = 0,
    hostname: host = "",
    username = "",
    timestamp = "",
  } = JSON.parse(readFileSync(path, "utf8")) as {
    readonly pid?: number;
    readonly hostname?: string;
    readonly username?: string;
    readonly timestamp?: string;
  };
  return { path, pid, host, user: username, since: timestamp, holder: holderOf(pid, host, timestamp) };
}

/**
 * A process that was started after the lock was made only got the holder's pid. What it is called says nothing: programs
 * embed Pulumi's engine.
 */
function holderOf(pid: number, host: string, since: string): StackLock["holder"] {
  if (host !== hostname()) return "unknown";
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return "gone";
  }
  if (process.platform !== "linux") return "alive";
  const started = startTime(pid);
  return started === null || started > Date.parse(since) + clockTolerance ? "gone" : "alive";
}

function filesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(".json"));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}
