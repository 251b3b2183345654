import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { waitFor } from "../../runtime/waiting";

/** The stand-in's source, which has the layout of ComfyUI's own. */
export const standInSource = resolve(__dirname, "../../examples/local/stand-in");

/** A plugin: its `__init__.py` as text, or its files by relative path. A name that ends in `.py` is a single file. */
export type PluginSource = string | Readonly<Record<string, string>>;

export interface StandInOptions {
  /** Plugins by folder name. They are added to what the base directory has. Default none. */
  readonly plugins?: Readonly<Record<string, PluginSource>>;
  /** Further command-line arguments. Default none. */
  readonly arguments?: readonly string[];
  /** Default: a free port that the system chooses. */
  readonly port?: number;
  /** Base directory to use, which then outlives the process. Default: a new one that goes with it. */
  readonly base?: string;
  /** Folder with `main.py`. Default: the stand-in as it is in the examples. */
  readonly source?: string;
  /** Interpreter. Default `python3`. */
  readonly python?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running stand-in for ComfyUI. */
export interface StandIn {
  /** For example `http://127.0.0.1:40123`. */
  readonly url: string;
  readonly port: number;
  /** Holds `custom_nodes`, `input`, `output`, `temp`, `user`, `models`. */
  readonly base: string;
  readonly pid: number;
  /** All that the process has printed. */
  readLog(): string;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  /** Sends a signal, waits for the end and removes the base directory if it was made for this process. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A stand-in that may not listen yet, or never. */
export type StartingStandIn = Omit<StandIn, "url" | "port">;

const listening = /^To see the GUI go to: (http:\/\/\S+:(\d+))$/m;

/** Starts a stand-in and waits until it listens. Fails with its log when it ends before. */
export async function startStandIn(options: StandInOptions = {}): Promise<StandIn> {
  const starting = spawnStandIn(options);
  let exit: Exit | undefined;
  void starting.exited.then((seen) => {
    exit = seen;
  });
  try {
    const [, url, port] = await waitFor({
      what: "the stand-in to listen",
      deadline: 60_000,
      interval: 20,
      look: () => {
        const found = listening.exec(starting.readLog());
        if (found) return found;
        if (exit) throw new Error(`it ended with ${JSON.stringify(exit)} before it listened:\n${starting.readLog()}`);
        return undefined;
      },
      seen: () => starting.readLog().trimEnd().split("\n").at(-1) ?? "",
    });
    if (url === undefined || port === undefined) throw new Error("its log does not say where it listens");
    return { ...starting, url, port: Number(port) };
  } catch (error) {
    await starting.stop();
    throw error;
  }
}

/** Starts a stand-in without waiting for anything. */
export function spawnStandIn(options: StandInOptions = {}): StartingStandIn {
  const base = options.base ?? mkdtempSync(join(tmpdir(), "stand-in-"));
  mkdirSync(join(base, "custom_nodes"), { recursive: true });
  mkdirSync(join(base, "user"), { recursive: true });
  for (const [name, source] of Object.entries(options.plugins ?? {})) addPlugin(base, name, source);
  const logFile = join(base, `comfyui-${process.hrtime.bigint()}.log`);
  const log = openSync(logFile, "w");
  const child = spawn(
    options.python ?? "python3",
    [
      join(options.source ?? standInSource, "main.py"),
      ...["--listen", "127.0.0.1", "--port", String(options.port ?? 0), "--base-directory", base],
      ...["--database-url", `sqlite:///${join(base, "user", "comfyui.db")}`],
      ...(options.arguments ?? []),
    ],
    {
      cwd: base,
      stdio: ["ignore", log, log],
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...options.environment },
    },
  );
  closeSync(log);
  const exited = endOf(child);
  const readLog = () => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "");
  const stop = async (signal: NodeJS.Signals = "SIGKILL") => {
    child.kill(signal);
    const exit = await exited;
    if (options.base === undefined) rmSync(base, { recursive: true, force: true });
    return exit;
  };
  return {
    base,
    pid: child.pid ?? 0,
    readLog,
    exited,
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
    },
  };
}

/** Writes a plugin into a base directory. */
export function addPlugin(base: string, name: string, source: PluginSource): void {
  const single = name.endsWith(".py") && typeof source === "string";
  const files = typeof source === "string" ? { [single ? "" : "__init__.py"]: source } : source;
  for (const [path, content] of Object.entries(files)) {
    const file = join(base, "custom_nodes", name, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}

function endOf(child: ChildProcess): Promise<Exit> {
  // A test process that ends early takes its servers along.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  return new Promise((ended, failed) => {
    child.once("error", failed);
    child.once("exit", (code, signal) => {
      process.off("exit", kill);
      ended({ code, signal });
    });
  });
}
