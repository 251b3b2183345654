/** A line of ComfyUI's table "Import times for custom nodes:". */
export interface PluginImport {
  /** Folder or file name in the plugins' folder. */
  readonly name: string;
  readonly path: string;
  readonly failed: boolean;
  readonly seconds: number;
}

/** Why a plugin failed, as far as ComfyUI said. */
export interface ImportFailure {
  readonly message: string;
  readonly traceback: string | null;
}

/** What a ComfyUI process has printed about its start so far. */
export interface StartupReport {
  /** True once it has come to its plugins; before that it loads its own code. */
  readonly importing: boolean;
  /** In the order of the table, which is that of the seconds. Empty before the table is printed. */
  readonly plugins: readonly PluginImport[];
  readonly failures: ReadonlyMap<string, ImportFailure>;
  /** Plugins whose `prestartup_script.py` raised; such a plugin may still load. */
  readonly prestartupFailed: readonly string[];
  /** ComfyUI's own node files that failed; the server works without them. */
  readonly coreFailures: readonly string[];
  /** Plugins left out by command-line arguments, or `"all"`. */
  readonly skipped: ReadonlySet<string> | "all";
  /** The last traceback that belongs to no plugin: what ended the process, if something did. */
  readonly traceback: string | null;
  readonly lastLine: string;
}

/** When the base directory is read-only, ComfyUI prints every message twice, first with its level and logger in front. */
const loggerPrefix = /^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.]+:/;
const tableRow = /^\s*(\d+(?:\.\d+)?) seconds( \((?:IMPORT|PRESTARTUP) FAILED\))?: (.+)$/;
const failureForms = [
  /^Cannot import (?<path>.+?) module for custom nodes: (?<message>.*)$/,
  /^Error while calling comfy_entrypoint in (?<path>.+?): (?<message>.*)$/,
  /^Skip (?<path>.+?) module for custom nodes due to (?<message>.*)$/,
];
const chained =
  /^(?:During handling of the above exception, another exception occurred|The above exception was the direct cause of the following exception):$/;
/** Printed right before ComfyUI loads its nodes and plugins. */
const beforeImports = /^(?:\[Prompt Server\] web root: |ComfyUI frontend version: )/;
const addressInUse = /OSError: \[Errno 98\] .*address already in use/;

const baseName = (path: string) => path.replace(/\/+$/, "").replace(/^.*\//, "");

/** Reads what ComfyUI prints while it starts: its import tables, its reasons, its tracebacks. */
export function parseStartupLog(text: string): StartupReport {
  const plugins = new Map<string, PluginImport>();
  const failures = new Map<string, ImportFailure>();
  const prestartupFailed = new Set<string>();
  const coreFailures = new Set<string>();
  const skippedNames = new Set<string>();
  let skippedAll = false;
  let table: "import" | "prestartup" | undefined;
  let importing = false;
  let traceback: string[] = [];
  let lastLine = "";

  for (const printed of text.split(/\r?\n/)) {
    const line = printed.replace(loggerPrefix, "");
    if (beforeImports.test(line)) importing = true;
    if (line.startsWith("Traceback (most recent call last):")) {
      traceback = chained.test(lastLine) ? [...traceback, line] : [line];
    } else if (traceback.length > 0) {
      traceback.push(line);
    }
    if (line.trim() !== "") lastLine = line.trimEnd();

    if (line === "Import times for custom nodes:") table = "import";
    else if (line === "Prestartup times for custom nodes:") table = "prestartup";
    const [, seconds, failed, path] = tableRow.exec(line) ?? [];
    if (seconds !== undefined && path !== undefined) {
      const name = baseName(path);
      if (table === "import") plugins.set(name, { name, path, failed: failed !== undefined, seconds: Number(seconds) });
      if (table === "prestartup" && failed !== undefined) prestartupFailed.add(name);
      continue;
    }

    const { path: culprit, message } = matchFirst(failureForms, line);
    if (culprit !== undefined && message !== undefined) {
      const known = failures.get(baseName(culprit));
      const shown = line.startsWith("Cannot import") ? textOf(traceback.slice(0, -1)) : null;
      failures.set(baseName(culprit), { message: message.trim(), traceback: shown ?? known?.traceback ?? null });
      traceback = [];
    }
    const core = /^IMPORT FAILED: (.+)$/.exec(line)?.[1];
    if (core !== undefined) coreFailures.add(core.trim());
    const skippedName = /^Skipping (.+) due to disable_all_custom_nodes/.exec(line)?.[1];
    if (skippedName !== undefined) skippedNames.add(skippedName);
    if (line.startsWith("Skipping loading of custom nodes")) skippedAll = true;
  }

  return {
    importing,
    plugins: [...plugins.values()],
    failures,
    prestartupFailed: [...prestartupFailed],
    coreFailures: [...coreFailures],
    skipped: skippedAll ? "all" : skippedNames,
    traceback: textOf(endOfTraceback(traceback)),
    lastLine,
  };
}

/** Whether the process ended because its port was taken, which ComfyUI notices only after all imports. */
export function saysPortInUse(text: string): boolean {
  return addressInUse.test(text);
}

function matchFirst(forms: readonly RegExp[], line: string): Partial<Record<"path" | "message", string>> {
  for (const form of forms) {
    const groups = form.exec(line)?.groups;
    if (groups) return groups;
  }
  return {};
}

/** A traceback ends with the exception's own lines, which are followed by an empty line or by the end of the output. */
function endOfTraceback(lines: readonly string[]): readonly string[] {
  const end = lines.findIndex((line, at) => {
    const continues = lines.slice(at + 1).find((later) => later.trim() !== "");
    return (
      line.trim() === "" && !(continues !== undefined && (chained.test(continues) || /^Traceback|^\s/.test(continues)))
    );
  });
  return end === -1 ? lines : lines.slice(0, end);
}

function textOf(lines: readonly string[]): string | null {
  const text = lines.join("\n").trim();
  return text === "" ? null : text;
}
