import type { PluginRecord } from "../environment";
import { ComfyUI, observePlugins, parseStartupLog } from "../health";
import { DeadlineError, waitFor } from "../waiting";

/** Milliseconds that a workstation gets to listen: a person's plugins may install what they need at their first start. */
const startDeadline = 30 * 60_000;
/** Milliseconds after that in which its node classes must have been told once. */
const classesDeadline = 120_000;

export interface Boot {
  readonly name: string;
  readonly url: string;
  /** All that this start has printed, or the end of it. */
  readonly readLog: () => string;
  /** Identity of each plugin's content at the start. */
  readonly hashes: () => Promise<Readonly<Record<string, string>>>;
  /** Hears of the last line that it printed. */
  readonly report: (lastLine: string) => void;
  readonly journal: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Waits until a workstation answers, and returns how each plugin behaved at its start. Null when it does not tell its node
 * classes: a person can work with it all the same, and a snapshot's plugins must then all load.
 */
export async function untilBooted(boot: Boot): Promise<readonly PluginRecord[] | null> {
  const { name, url, readLog, hashes, report, journal, signal } = boot;
  const comfyui = new ComfyUI(url, signal);
  let lastLine = "";
  await waitFor({
    what: `workstation ${name} to answer at ${url}`,
    deadline: startDeadline,
    interval: 200,
    signal,
    look: async () => {
      if (await comfyui.answers()) return true;
      ({ lastLine } = parseStartupLog(readLog()));
      report(lastLine);
      return undefined;
    },
    seen: () => lastLine,
  });
  const printed = readLog();
  const contentHashes = await hashes();
  let refused = "";
  try {
    return await waitFor({
      what: `the node classes of workstation ${name}`,
      deadline: classesDeadline,
      interval: 500,
      signal,
      look: async () => {
        try {
          return await observePlugins({ url, log: printed, contentHashes, signal });
        } catch (error) {
          refused = error instanceof Error ? error.message : String(error);
          return undefined;
        }
      },
      seen: () => refused,
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    journal(error.message);
    return null;
  }
}
