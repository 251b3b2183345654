import { existsSync } from "node:fs";
import { join } from "node:path";
import type { PluginRecord } from "../environment";
import { ComfyUI, observePlugins, parseStartupLog } from "../health";
import { DeadlineError, waitFor } from "../waiting";
import { comfyuiStart } from "./comfyui-process";
import { type Journal, reasonOf } from "./journal";
import { readLog } from "./process-log";
import type { Start } from "./processes";
import type { WorkstationDeclaration } from "./protocol";

/** Milliseconds that a workstation gets to listen: a person's plugins may install what they need at their first start. */
const startDeadline = 30 * 60_000;
/** Milliseconds after that in which its node classes must have been told once. */
const classesDeadline = 120_000;

/** How a workstation's ComfyUI is started. @throws when its environment lacks what a start needs */
export function workstationStart(
  declaration: WorkstationDeclaration,
  { port, log, mark }: Pick<Start, "log" | "mark"> & { readonly port: number },
): Start {
  const { root, layout, arguments: args, environmentVariables } = declaration;
  const python = join(root, layout.dependencies, "bin", "python");
  for (const path of [python, join(root, layout.comfyui, "main.py")]) {
    if (!existsSync(path)) throw new Error(`the environment is not complete: ${path} does not exist`);
  }
  return comfyuiStart({ root, layout, python, port, folders: null, arguments: args, environmentVariables, log, mark });
}

export interface Boot {
  readonly name: string;
  readonly url: string;
  readonly log: string;
  /** Identity of each plugin's content just before the start. */
  readonly hashes: Readonly<Record<string, string>>;
  /** Hears of the last line that it printed. */
  readonly report: (lastLine: string) => void;
  readonly journal: Journal;
  readonly signal: AbortSignal;
}

/**
 * Waits until a workstation answers, and returns how each plugin behaved at its start. Null when it does not tell its node
 * classes: a person can work with it all the same, and a snapshot's plugins must then all load.
 */
export async function untilBooted(boot: Boot): Promise<readonly PluginRecord[] | null> {
  const { name, url, log, hashes, report, journal, signal } = boot;
  const comfyui = new ComfyUI(url, signal);
  let lastLine = "";
  await waitFor({
    what: `workstation ${name} to answer at ${url}`,
    deadline: startDeadline,
    interval: 200,
    signal,
    look: async () => {
      if (await comfyui.answers()) return true;
      ({ lastLine } = parseStartupLog(readLog(log)));
      report(lastLine);
      return undefined;
    },
    seen: () => lastLine,
  });
  const printed = readLog(log);
  let refused = "";
  try {
    return await waitFor({
      what: `the node classes of workstation ${name}`,
      deadline: classesDeadline,
      interval: 500,
      signal,
      look: async () => {
        try {
          return await observePlugins({ url, log: printed, contentHashes: hashes, signal });
        } catch (error) {
          refused = reasonOf(error);
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
