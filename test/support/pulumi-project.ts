import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { findSupervisor, type ServiceState, type SupervisorClient } from "../../runtime/supervisor";
import { type Run, startProgram } from "./run-program";
import { addPlugin, type PluginSource, standInSource } from "./stand-in";

const repository = resolve(__dirname, "../..");

/** A run that is under way. */
export interface StartedRun {
  readonly ended: Promise<Run>;
  /** Ctrl-C, for the engine alone. */
  interrupt(): void;
  /** Ends the engine with SIGKILL, and nothing that it started. */
  kill(): Promise<void>;
  /** Ends the engine and all that it started with SIGKILL, its providers too. */
  killAll(): Promise<void>;
}

/** What `pulumi stack export` prints, as far as tests look at it. */
export interface StackState {
  readonly deployment: {
    readonly resources: readonly {
      readonly urn: string;
      readonly type: string;
      readonly id?: string;
      readonly inputs?: Readonly<Record<string, unknown>>;
      readonly outputs?: Readonly<Record<string, unknown>>;
    }[];
  };
}

/** What `defaultProgram` declares; `service` and the others are passed on to `ComfyUIProject`. */
export interface ProjectDeclaration {
  readonly count: number;
  readonly workstation?: object;
  readonly snapshot?: object;
  readonly service?: object;
  /** @default the folder `store` */
  readonly store?: object;
}

/** Health settings by which a test does not wait longer than it has to. */
export const quickHealth = { stableFor: "200ms", timeout: "180s", startTimeout: "90s" };

const defaultProgram = `
const { readFileSync } = require("node:fs");
const { ComfyUIProject, fixed, local } = require("pulumi-comfyui");
const { count, ...rest } = JSON.parse(readFileSync("declaration.json", "utf8"));
const platform = local({ directory: "platform" });
const project = new ComfyUIProject("studio", { platform, environment: "studio", store: "store", scaling: fixed(count), ...rest });
module.exports = {
  serviceUrl: project.service.url,
  workstationUrl: project.workstation.url,
  release: project.service.release,
  snapshot: project.snapshot.reference,
};
`;

/** A Pulumi project in a folder of its own, run by the real engine with a local backend. */
export class PulumiProject implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly stack = "test",
  ) {}

  static create({ program = defaultProgram, name = "engine-test" } = {}): PulumiProject {
    const project = new PulumiProject(mkdtempSync(join(tmpdir(), "pulumi-comfyui-engine-")));
    const { folder } = project;
    writeFileSync(join(folder, "Pulumi.yaml"), `name: ${name}\nruntime: nodejs\n`);
    writeFileSync(join(folder, "package.json"), '{ "main": "index.js" }\n');
    project.writeProgram(program);
    project.makeSurroundings();
    project.makeStack();
    return project;
  }

  /** A copy of a project's folder, as a person makes one of an example: with the package as a dependency. */
  static copyOf(source: string, stack: string): PulumiProject {
    const project = new PulumiProject(mkdtempSync(join(tmpdir(), "pulumi-comfyui-engine-")), stack);
    cpSync(source, project.folder, { recursive: true });
    writeFileSync(join(project.folder, "package.json"), '{ "private": true }\n');
    project.makeSurroundings();
    project.makeStack();
    return project;
  }

  /** A backend, and what `npm install` would have made. */
  private makeSurroundings(): void {
    const { folder } = this;
    mkdirSync(join(folder, "state"));
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(join(repository, "node_modules/@pulumi"), join(folder, "node_modules/@pulumi"));
    symlinkSync(repository, join(folder, "node_modules/pulumi-comfyui"));
  }

  /** Another stack of the same project. What it declares shares folders with this one's. */
  withStack(name: string): PulumiProject {
    const other = new PulumiProject(this.folder, name);
    other.makeStack();
    return other;
  }

  private makeStack(): void {
    execFileSync("pulumi", ["stack", "init", this.stack, "--non-interactive"], {
      cwd: this.folder,
      env: this.environmentVariables,
      stdio: "pipe",
    });
  }

  get environmentVariables(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      PULUMI_BACKEND_URL: pathToFileURL(join(this.folder, "state")).href,
      PULUMI_CONFIG_PASSPHRASE: "test",
      PULUMI_HOME: join(this.folder, "pulumi-home"),
      PULUMI_STACK: this.stack,
      XDG_CACHE_HOME: join(this.folder, "cache"),
      CI: "true",
      NO_COLOR: "1",
    };
  }

  /** The folder of the environment that the default program declares. */
  get environment(): string {
    return join(this.folder, "studio");
  }
  get platform(): string {
    return join(this.folder, "platform");
  }
  get store(): string {
    return join(this.folder, "store");
  }

  writeProgram(program: string): void {
    writeFileSync(join(this.folder, "index.js"), program);
  }

  /** @param declaration what the program reads; of the default one, a {@link ProjectDeclaration}. */
  declare(declaration: ProjectDeclaration | object): void {
    writeFileSync(join(this.folder, "declaration.json"), JSON.stringify(declaration));
  }

  /** Makes an environment of the stand-in, an empty virtual environment and the plugins. */
  makeEnvironment(
    plugins: Readonly<Record<string, PluginSource>>,
    folder = this.environment,
    python = "python3",
  ): void {
    cpSync(standInSource, join(folder, "ComfyUI"), {
      recursive: true,
      filter: (path) => !path.includes("__pycache__"),
    });
    execFileSync(python, ["-m", "venv", "--without-pip", join(folder, "venv")]);
    mkdirSync(join(folder, "ComfyUI/custom_nodes"), { recursive: true });
    this.writePlugins(plugins, folder);
  }

  writePlugins(plugins: Readonly<Record<string, PluginSource>>, folder = this.environment): void {
    for (const [name, source] of Object.entries(plugins)) addPlugin(join(folder, "ComfyUI"), name, source);
  }

  removePlugin(name: string): void {
    rmSync(join(this.environment, "ComfyUI/custom_nodes", name), { recursive: true });
  }

  /** Runs `pulumi`, without a terminal; never throws for what the command says. */
  run(...args: readonly string[]): Promise<Run> {
    return this.start(...args).ended;
  }

  /** Starts `pulumi`, for a test that does something to it meanwhile. */
  start(...args: readonly string[]): StartedRun {
    const { process: child, ended } = startProgram("pulumi", [...args, "--non-interactive"], {
      cwd: this.folder,
      env: this.environmentVariables,
    });
    const exited = new Promise<void>((done) => child.once("exit", () => done()));
    return {
      ended,
      interrupt: () => void child.kill("SIGINT"),
      kill: async () => {
        child.kill("SIGKILL");
        await exited;
      },
      killAll: async () => {
        for (const pid of descendants(child.pid ?? 0)) killIfThere(pid);
        child.kill("SIGKILL");
        await exited;
      },
    };
  }

  /** Sets settings of the stack. */
  async configure(settings: Readonly<Record<string, string>>): Promise<void> {
    const values = Object.entries(settings).flatMap(([key, value]) => ["--plaintext", `${key}=${value}`]);
    await this.must("config", "set-all", ...values);
  }

  /** Takes a setting of the stack back. */
  async unconfigure(key: string): Promise<void> {
    await this.must("config", "rm", key);
  }

  private async must(...args: readonly string[]): Promise<void> {
    const { code, output } = await this.run(...args);
    if (code !== 0) throw new Error(`pulumi ${args.join(" ")} ended with ${code}:\n${output}`);
  }

  preview(...args: readonly string[]): Promise<Run> {
    return this.run("preview", ...args);
  }

  up(...args: readonly string[]): Promise<Run> {
    return this.run("up", "--yes", "--skip-preview", ...args);
  }

  async mustUp(...args: readonly string[]): Promise<Run> {
    const run = await this.up(...args);
    if (run.code !== 0) throw new Error(`pulumi up ended with ${run.code}:\n${run.output}`);
    return run;
  }

  async destroy(): Promise<Run> {
    return this.run("destroy", "--yes", "--skip-preview");
  }

  /** The stack's state, its secrets encrypted. */
  async state(): Promise<StackState> {
    const { code, stdout, output } = await this.run("stack", "export");
    if (code !== 0) throw new Error(output);
    return JSON.parse(stdout);
  }

  async outputs(): Promise<Readonly<Record<string, string>>> {
    const { code, stdout, output } = await this.run("stack", "output", "--json");
    if (code !== 0) throw new Error(output);
    return JSON.parse(stdout);
  }

  async supervisor(): Promise<SupervisorClient> {
    const supervisor = await findSupervisor(this.platform);
    if (supervisor === null) throw new Error(`no supervisor runs for ${this.platform}`);
    return supervisor;
  }

  async service(name = "studio"): Promise<ServiceState> {
    const service = await (await this.supervisor()).service(name);
    if (service === null) throw new Error(`there is no service ${name}`);
    return service;
  }

  /** Processes that still have this project's folder in their command line or environment. */
  processes(): readonly string[] {
    const own = String(process.pid);
    return execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes(this.folder) && !line.trim().startsWith(own));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (existsSync(this.platform)) await (await findSupervisor(this.platform))?.shutdown({ force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Processes that a process has started, and those that they have. */
function descendants(pid: number): readonly number[] {
  const lines = execFileSync("ps", ["-eo", "pid=,ppid="], { encoding: "utf8" }).trim().split("\n");
  const parents = lines.map((line) => line.trim().split(/\s+/).map(Number));
  const childrenOf = (parent: number): readonly number[] =>
    parents.flatMap(([child = 0, of]) => (of === parent ? [child, ...childrenOf(child)] : []));
  return childrenOf(pid);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** How often each step stands in a run's summary, for example `{ create: 3, same: 2 }`. */
export function stepsOf({ output }: Run): Readonly<Record<string, number>> {
  const steps: Record<string, number> = {};
  const words = {
    created: "create",
    updated: "update",
    deleted: "delete",
    replaced: "replace",
    unchanged: "same",
  } as const;
  for (const [, count, word] of output.matchAll(
    /^\s+(?:[+~-]+ ?)?(\d+) (created|updated|deleted|replaced|unchanged)$/gm,
  )) {
    if (word !== undefined) steps[words[word as keyof typeof words]] = Number(count);
  }
  return steps;
}

export function readText(path: string): string {
  return readFileSync(path, "utf8");
}
