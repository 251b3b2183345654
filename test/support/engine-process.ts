import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import type { PackRequest, PruneRequest, RestoreRequest } from "../../runtime/snapshot";
import type { CreateRequest } from "./engine-program";

/** Something that happens in the engine's process just before or after it calls one of Node.js's file functions. */
export interface Incident {
  readonly module: "node:fs" | "node:fs/promises";
  /** For example `link`; `*` for every one that makes, changes or removes something. */
  readonly function: string;
  /** Only calls whose first argument has this in it. Default: all. */
  readonly path?: string;
  /** The how manieth of those calls, from 1 on. */
  readonly call: number;
  readonly when: "before" | "after";
  readonly action:
    | { readonly kill: true }
    | { readonly write: string; readonly content: string; readonly encoding?: BufferEncoding }
    | { readonly remove: string };
}

export interface Outcome {
  readonly killed: boolean;
  /** Calls that matched the incident's function and path. */
  readonly calls: number;
  readonly result: unknown;
  readonly error: { readonly name: string; readonly message: string; readonly paths?: readonly string[] } | null;
}

export interface StartedEngine {
  readonly outcome: Promise<Outcome>;
  /** With SIGKILL; the outcome then tells of it. */
  readonly kill: () => void;
}

/** Runs in the child: wraps the file functions, calls the engine, and writes what came of it. */
const program = `
const [bundle, json] = process.argv.slice(2);
const { operation, request, incident } = JSON.parse(json);
const fs = require("node:fs");
let calls = 0;
const changing = ["open", "openSync", "link", "linkSync", "unlink", "rename", "mkdir", "mkdirSync", "symlinkSync", "rmSync",
  "writeFileSync", "renameSync", "rm", "copyFile", "futimesSync", "chmodSync"];
function happen() {
  const { kill, write, content, encoding, remove } = incident.action;
  if (kill) process.kill(process.pid, "SIGKILL");
  if (write) { fs.mkdirSync(require("node:path").dirname(write), { recursive: true }); original.writeFileSync(write, content, encoding); }
  if (remove) original.rmSync(remove, { recursive: true });
}
const original = { writeFileSync: fs.writeFileSync, rmSync: fs.rmSync };
if (incident) {
  const target = require(incident.module);
  for (const name of incident.function === "*" ? changing : [incident.function]) {
    const real = target[name];
    if (real === undefined) continue;
    const strikes = (first, flags) => {
      if (incident.path !== undefined && !String(first).includes(incident.path)) return false;
      if (incident.function === "*" && name.startsWith("open") && flags !== "wx") return false;
      calls += 1;
      return calls === incident.call;
    };
    target[name] = (...args) => {
      const now = strikes(args[0], args[1]);
      if (now && incident.when === "before") happen();
      const value = real(...args);
      if (!now || incident.when === "before") return value;
      if (typeof value?.then !== "function") { happen(); return value; }
      return value.then((settled) => { happen(); return settled; });
    };
  }
}
require(bundle)[operation](request).then(
  (result) => process.stdout.write(JSON.stringify({ calls, result, error: null })),
  (error) => process.stdout.write(JSON.stringify({ calls, result: null, error: { name: error.name, message: error.message, paths: error.paths } })),
);
`;

/** Makes a program of the snapshot engine, so that it can run, and be killed, in a process of its own. */
export async function buildEngine(folder: string): Promise<EngineProcess> {
  const bundle = join(folder, "engine.cjs");
  await build({
    entryPoints: [join(__dirname, "engine-program.ts")],
    outfile: bundle,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22",
    // Threads run the compiled program of the package, which is looked for above this folder.
    define: { __dirname: JSON.stringify(__dirname) },
    logLevel: "warning",
  });
  const script = join(folder, "run.cjs");
  writeFileSync(script, program);
  return new EngineProcess(script, bundle);
}

export class EngineProcess {
  constructor(
    private readonly script: string,
    private readonly bundle: string,
    private readonly wrapper: readonly string[] = [],
  ) {}

  /** The same engine, started by another program, which is given Node.js's command line as further arguments. */
  under(wrapper: readonly string[]): EngineProcess {
    return new EngineProcess(this.script, this.bundle, wrapper);
  }

  pack(request: PackRequest, incident: Incident | null): Promise<Outcome> {
    return this.#run("pack", request, incident);
  }

  restore(request: RestoreRequest, incident: Incident | null): Promise<Outcome> {
    return this.#run("restore", request, incident);
  }

  prune(request: PruneRequest, incident: Incident | null): Promise<Outcome> {
    return this.#run("prune", request, incident);
  }

  /** Starts a pack that can be killed from outside. */
  startPack(request: PackRequest): StartedEngine {
    return this.#start("pack", request, null);
  }

  /** Starts to write an object, which can be killed from outside. */
  startCreate(request: CreateRequest): StartedEngine {
    return this.#start("create", request, null);
  }

  #run(
    operation: string,
    request: PackRequest | RestoreRequest | PruneRequest,
    incident: Incident | null,
  ): Promise<Outcome> {
    return this.#start(operation, request, incident).outcome;
  }

  #start(
    operation: string,
    request: PackRequest | RestoreRequest | PruneRequest | CreateRequest,
    incident: Incident | null,
  ): StartedEngine {
    const [command = process.execPath, ...args] = [
      ...this.wrapper,
      process.execPath,
      this.script,
      this.bundle,
      JSON.stringify({ operation, request, incident }),
    ];
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const outcome = new Promise<Outcome>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (_, endedBy) => {
        if (endedBy !== null) resolve({ killed: true, calls: 0, result: null, error: null });
        else resolve({ killed: false, ...(JSON.parse(output) as Omit<Outcome, "killed">) });
      });
    });
    return { outcome, kill: () => void child.kill("SIGKILL") };
  }
}
