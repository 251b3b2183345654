import type { PluginRecord } from "../environment";
import { ComfyUI } from "./comfyui";
import { parseStartupLog, type StartupReport } from "./startup-log";

/** A plugin that is part of an environment, and what is known of it from before. */
export interface ExpectedPlugin {
  /** Folder or file name in the plugins' folder. */
  readonly name: string;
  /** Identity of its content as it is in the environment. */
  readonly contentHash: string | null;
  /** How it behaved at the workstation's last start, or null. Binding only while the content is the same. */
  readonly baseline: PluginRecord | null;
}

/** A plugin that is not in the state which it has to be in. */
export interface PluginFault {
  readonly name: string;
  readonly reason: string;
  readonly traceback: string | null;
}

/**
 * Compares what a process printed and offers with what its plugins have to be. A plugin whose content is unchanged must be in
 * its recorded state, with its recorded classes; every other one must load. One that failed before may load now.
 */
export function judgePlugins(
  expected: readonly ExpectedPlugin[],
  acceptFailing: readonly string[],
  report: StartupReport,
  classes: ReadonlyMap<string, string>,
): readonly PluginFault[] {
  const rows = new Map(report.plugins.map((plugin) => [plugin.name, plugin]));
  return expected.flatMap(({ name, contentHash, baseline }): PluginFault[] => {
    if (!isImported(name) || isSkipped(name, report) || acceptFailing.includes(name)) return [];
    const record =
      baseline !== null && baseline.contentHash !== null && baseline.contentHash === contentHash ? baseline : null;
    if (record?.state === "failed") return [];
    const row = rows.get(name);
    if (row === undefined || row.failed) {
      const failure = report.failures.get(name);
      const reason = row === undefined ? "ComfyUI did not import it" : (failure?.message ?? "its import failed");
      return [{ name, reason, traceback: failure?.traceback ?? null }];
    }
    // Two plugins with the same class: the one imported last has it, and that order is the directory's, which a
    // restored copy need not share. So a class counts as there whichever module brings it.
    const missing = (record?.classes ?? []).filter((recorded) => !classes.has(recorded));
    if (missing.length === 0) return [];
    return [{ name, reason: `it loads, but without its node classes ${missing.join(", ")}`, traceback: null }];
  });
}

export interface Observation {
  readonly url: string;
  /** All that the process has printed since its start. */
  readonly log: string;
  /** Identity of each plugin's content at the start, where it is known. */
  readonly contentHashes: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** How each plugin of a running server behaved at its start, sorted by name. Throws when the server does not answer. */
export async function observePlugins({
  url,
  log,
  contentHashes,
  signal,
}: Observation): Promise<readonly PluginRecord[]> {
  const classes = await new ComfyUI(url, signal).classes();
  return parseStartupLog(log)
    .plugins.map(({ name, failed }) => ({
      name,
      contentHash: contentHashes[name] ?? null,
      state: failed ? ("failed" as const) : ("loaded" as const),
      classes: classesOf(name, classes),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function classesOf(plugin: string, classes: ReadonlyMap<string, string>): readonly string[] {
  const module = `custom_nodes.${plugin.replace(/\.py$/, "")}`;
  return [...classes].flatMap(([name, of]) => (of === module ? [name] : [])).sort();
}

/** ComfyUI passes over what a person has switched off by renaming, and over Python's byte code. */
const isImported = (name: string) => !name.endsWith(".disabled") && name !== "__pycache__";

const isSkipped = (name: string, { skipped }: StartupReport) => skipped === "all" || skipped.has(name);
