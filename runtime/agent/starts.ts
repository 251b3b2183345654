import { pause } from "../bell";
import type { Exit } from "../instance";
import { type AgentFolders, logName } from "./folders";
import { type Run, readExit, readRun } from "./launching";
import { readEnd } from "./shared-files";
import { ConclusiveFault } from "./termination";

/** Milliseconds between two looks at what the launcher tells. */
export const launcherInterval = 200;

/** How a start ended; null when the signal came first. */
async function untilExit({ start }: Run, folders: AgentFolders, signal: AbortSignal): Promise<Exit | null> {
  while (!signal.aborted) {
    const exit = readExit(folders);
    if (exit !== null && exit.start === start) return { code: exit.code, signal: exit.signal };
    // The whole container was killed, and has been started again.
    if ((readRun(folders)?.start ?? 0) > start) return { code: null, signal: null };
    await pause(launcherInterval, signal);
  }
  return null;
}

/**
 * Does something while a start runs, whose signal ends with the start; `ended` with that alone. What fails because of the end is no
 * failure, but for a conclusive fault. How the start ended; null when the signal came first.
 */
export async function attend(
  run: Run,
  folders: AgentFolders,
  signal: AbortSignal,
  act: (signal: AbortSignal, ended: AbortSignal) => Promise<void>,
): Promise<Exit | null> {
  const over = new AbortController();
  const exit = untilExit(run, folders, signal).finally(() => over.abort(new Error("ComfyUI has ended")));
  // Whatever comes of it is awaited below.
  exit.catch(() => undefined);
  try {
    await act(AbortSignal.any([signal, over.signal]), over.signal);
  } catch (error) {
    if (error instanceof ConclusiveFault || (!signal.aborted && !over.signal.aborted)) throw error;
  }
  return exit;
}

/** The end of what a start has printed. */
export function startLog(start: number, folders: AgentFolders, bytes: number): string {
  const earlier = (readRun(folders)?.start ?? 0) > start;
  return readEnd(folders.own, earlier ? `${logName}.1` : logName, bytes)?.toString("utf8") ?? "";
}
