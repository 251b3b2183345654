import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { formatDuration } from "../format";
import { packageRoot } from "../package-root";
import { inheritedEnvironment } from "./comfyui-process";
import { Folders } from "./folders";
import { livePresence, type Presence } from "./presence";
import { logTail } from "./process-log";
import { protocolVersion, type SupervisorAbout } from "./protocol";
import { ask, NoAnswerError } from "./transport";

/** Milliseconds in which a supervisor that is started must answer. */
const startDeadline = 20_000;
/** Milliseconds between two looks whether it answers. */
const interval = 50;
/** Milliseconds for the answer to who it is. */
const aboutTimeout = 5_000;

/** The socket of the supervisor that answers for a directory, or null. Fails when it speaks another protocol. */
export async function findSocket(directory: string): Promise<string | null> {
  const presence = livePresence(directory);
  if (presence === null) return null;
  if (presence.protocol !== protocolVersion) throw new Error(otherProtocol(directory, presence));
  try {
    const about = (await ask(presence.socket, {
      method: "GET",
      path: "/v1/about",
      timeout: aboutTimeout,
    })) as SupervisorAbout;
    return about.pid === presence.pid ? presence.socket : null;
  } catch (error) {
    if (error instanceof NoAnswerError) return null;
    throw error;
  }
}

const opening = new Map<string, Promise<string>>();

/** The socket of a directory's supervisor, which is started where none answers. Those who ask at the same time share one start. */
export function openSocket(directory: string): Promise<string> {
  const socket = opening.get(directory) ?? open(directory).finally(() => opening.delete(directory));
  opening.set(directory, socket);
  return socket;
}

async function open(directory: string): Promise<string> {
  const began = performance.now();
  let daemon: Daemon | null = null;
  for (;;) {
    const socket = await findSocket(directory);
    if (socket !== null) return socket;
    const ended = daemon?.ended ?? null;
    if (ended !== null && ended !== 0) throw new Error(notStarted(directory, `it ended with ${ended}`));
    if (performance.now() - began > startDeadline) {
      throw new Error(notStarted(directory, `it did not answer within ${formatDuration(startDeadline)}`));
    }
    // One that ended well found another supervisor at work, which may have ended meanwhile.
    if (daemon === null || ended === 0) daemon = startDaemon(directory);
    await delay(interval);
  }
}

interface Daemon {
  /** Exit code or signal, or null while it runs. */
  readonly ended: number | string | null;
}

/** Starts the supervisor in a session of its own, so that it outlives whoever needs it first. */
function startDaemon(directory: string): Daemon {
  const program = join(packageRoot(), "dist", "runtime", "supervisor", "main.js");
  if (!existsSync(program)) throw new Error(`${program} is missing: run "npm run build" in ${packageRoot()}`);
  const log = openDaemonLog(directory);
  try {
    // By one name, whatever links lead to it: processes are found again by their paths.
    const child = spawn(process.execPath, [program, "--directory", realpathSync(directory)], {
      cwd: "/",
      env: daemonEnvironment(),
      detached: true,
      stdio: ["ignore", log, log],
    });
    const daemon: { ended: number | string | null } = { ended: null };
    child.once("exit", (code, signal) => {
      daemon.ended = signal ?? code;
    });
    child.once("error", (error) => {
      daemon.ended = error.message;
    });
    child.unref();
    return daemon;
  } finally {
    closeSync(log);
  }
}

function openDaemonLog(directory: string): number {
  try {
    mkdirSync(directory, { recursive: true });
    return openSync(new Folders(directory).log, "a", 0o600);
  } catch (error) {
    throw new Error(
      `the folder ${directory} of the local platform cannot be written to, and the supervisor keeps all that it knows there: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** The machine's ways and no credentials, as for ComfyUI, and where the supervisor puts its socket and caches. */
/** The AWS SDK's settings are for restores from S3; ComfyUI's processes do not get them, see `inheritedEnvironment`. */
function daemonEnvironment(): Record<string, string> {
  const { XDG_RUNTIME_DIR, XDG_CACHE_HOME } = process.env;
  return {
    ...inheritedEnvironment(),
    ...Object.fromEntries(
      Object.entries(process.env).filter(
        (entry): entry is [string, string] => entry[0].startsWith("AWS_") && entry[1] !== undefined,
      ),
    ),
    ...(XDG_RUNTIME_DIR === undefined ? {} : { XDG_RUNTIME_DIR }),
    ...(XDG_CACHE_HOME === undefined ? {} : { XDG_CACHE_HOME }),
  };
}

function otherProtocol(directory: string, { pid, protocol, version }: Presence): string {
  return (
    `the supervisor of ${directory} (process ${pid}, pulumi-comfyui ${version}) speaks protocol ${protocol}, and this is protocol ${protocolVersion}. ` +
    `End it with "kill ${pid}" and run again: what it looks after goes on running and is taken over by the next one`
  );
}

function notStarted(directory: string, what: string): string {
  const { log } = new Folders(directory);
  const tail = logTail(log).join("\n");
  return `the supervisor of ${directory} could not be started: ${what}. The end of ${log}:\n${tail === "" ? "(empty)" : tail}`;
}
