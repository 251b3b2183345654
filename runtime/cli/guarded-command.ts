import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { pause } from "../bell";

/** Milliseconds between SIGTERM and SIGKILL. */
const grace = 10_000;
/** Milliseconds for the output of a command that has ended: what left its process group may hold it open for ever. */
const outputGrace = 2_000;

export interface GuardedCommand {
  readonly command: readonly [string, ...string[]];
  /** Absolute. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds that it may take. */
  readonly deadline: number;
  /** Ends it; the reason is thrown. */
  readonly signal: AbortSignal;
  /** Takes what it writes, and is done when there is room for more. */
  readonly stdout: (bytes: Buffer) => Promise<void>;
  readonly stderr: (bytes: Buffer) => Promise<void>;
}

export interface Ending {
  /** As a shell counts: 128 and the signal's number when a signal ended it. */
  readonly code: number;
  /** Null when it ended by itself. */
  readonly signal: NodeJS.Signals | null;
  /** Whether it was ended at its deadline. */
  readonly late: boolean;
}

/**
 * Runs a command in a process group of its own, which ends with it, at its deadline, and with this process, however that ends: SIGTERM,
 * 10 s later SIGKILL. Only what takes a process group of its own escapes.
 *
 * @throws when it cannot be started, and the signal's reason
 */
export async function runGuarded(request: GuardedCommand): Promise<Ending> {
  const { folder, environment, signal } = request;
  const [program, ...args] = request.command;
  signal.throwIfAborted();
  const guard = startGuard();
  const child = spawn(program, args, {
    cwd: folder,
    env: { ...environment },
    detached: true,
    stdio: ["inherit", "pipe", "pipe"],
  });
  if (child.pid !== undefined) guard.stdin?.write(`${child.pid}\n`);
  try {
    await once(child, "spawn");
    return await untilEnded(child, request);
  } finally {
    const gone = once(guard, "exit");
    guard.stdin?.end("\n");
    await gone;
  }
}

async function untilEnded(child: ChildProcess, request: GuardedCommand): Promise<Ending> {
  const { signal, deadline } = request;
  const output = Promise.all([pass(child.stdout, request.stdout), pass(child.stderr, request.stderr)]);
  // Awaited at the end, where a failure is told.
  output.catch(() => undefined);
  const over = new AbortController();
  const exit = new Promise<Pick<Ending, "code" | "signal">>((resolve) => {
    child.once("exit", (code, by) => {
      over.abort();
      resolve({ code: code ?? 128 + (by === null ? 0 : constants.signals[by]), signal: by });
    });
  });
  await pause(deadline, AbortSignal.any([signal, over.signal]));
  const late = !over.signal.aborted && !signal.aborted;
  if (!over.signal.aborted) {
    signalGroup(child, "SIGTERM");
    await pause(grace, over.signal);
  }
  // What it started goes with it.
  signalGroup(child, "SIGKILL");
  const ended = await exit;
  const waited = new AbortController();
  await Promise.race([output, pause(outputGrace, waited.signal)]);
  waited.abort();
  child.stdout?.destroy();
  child.stderr?.destroy();
  await output;
  signal.throwIfAborted();
  return { ...ended, late };
}

async function pass(stream: Readable | null, write: (bytes: Buffer) => Promise<void>): Promise<void> {
  if (stream === null) return;
  try {
    for await (const bytes of stream) await write(bytes as Buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch (error) {
    // Nothing is left of it; macOS says EPERM of a group of which only a zombie is left.
    if (!["ESRCH", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/**
 * Told the number of a process group, then to go; when instead its standard input ends, this process was killed. In a session of its own,
 * since whoever kills this process may kill the process group that it is in.
 */
const guardScript = `
read -r group || exit 0
read -r done && exit 0
kill -s TERM -- "-$group" 2>/dev/null
seconds=0
while kill -s 0 -- "-$group" 2>/dev/null && [ "$seconds" -lt ${grace / 1_000} ]; do
  sleep 1
  seconds=$((seconds + 1))
done
kill -s KILL -- "-$group" 2>/dev/null
exit 0
`;

function startGuard(): ChildProcess {
  const guard = spawn("/bin/sh", ["-c", guardScript, "guard"], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  guard.stdin?.on("error", () => undefined);
  return guard;
}
