import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { temporaryFolder, writeFiles } from "./cli-surroundings";

/** PATH with a real `pulumi` on it: the one that is there, else the one that the set-up built. Null where there is none. */
export const pathWithPulumi = findPath();

function findPath(): string | null {
  const path = process.env.PATH ?? "";
  if (spawnSync("pulumi", ["version"], { env: { PATH: path, PULUMI_SKIP_UPDATE_CHECK: "true" } }).status === 0)
    return path;
  const cache =
    process.env.PULUMI_COMFYUI_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "pulumi-comfyui");
  if (!existsSync(cache)) return null;
  const built = readdirSync(cache).find((name) => existsSync(join(cache, name, "pulumi")));
  return built === undefined ? null : [join(cache, built), path].join(delimiter);
}

/** A project with a stack in a backend of its own, all of it in a temporary folder. */
export interface TestStack {
  /** The project's folder. */
  readonly project: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Folder that the stack's lock files are in. */
  readonly locks: string;
  readonly exportState: () => State;
  /** Runs `pulumi` with these arguments and gives what it prints; throws when it fails. */
  readonly pulumi: (args: readonly string[]) => string;
}

interface State {
  readonly deployment: Readonly<Record<string, unknown>>;
}

/** Makes a real stack `dev` of a project `studio`, empty or with a state. */
export function makeStack(path: string, state?: State): TestStack {
  const folder = temporaryFolder();
  const project = join(folder, "project");
  const backend = join(folder, "backend");
  mkdirSync(backend);
  writeFiles(project, { "Pulumi.yaml": "name: studio\nruntime: nodejs\n" });
  const environment = {
    PATH: path,
    HOME: folder,
    PULUMI_HOME: join(folder, "home"),
    PULUMI_BACKEND_URL: `file://${backend}`,
    PULUMI_CONFIG_PASSPHRASE: "passphrase",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_STACK: "dev",
  };
  const pulumi = (args: readonly string[], input?: string) =>
    execFileSync("pulumi", [...args, "--non-interactive"], {
      cwd: project,
      env: environment,
      encoding: "utf8",
      stdio: ["pipe", "pipe", "pipe"],
      ...(input === undefined ? {} : { input }),
    });
  pulumi(["stack", "init", "dev"]);
  if (state !== undefined) {
    pulumi(["stack", "import", "--force"], JSON.stringify(state));
    addPendingOperations(join(backend, ".pulumi", "stacks", "studio", "dev.json"), state);
  }
  return {
    project,
    environment,
    locks: join(backend, ".pulumi", "locks", "organization", "studio", "dev"),
    pulumi,
    exportState: () => JSON.parse(pulumi(["stack", "export"])),
  };
}

/** An import drops pending operations, so they are put where a killed run leaves them: into the backend's own file. */
function addPendingOperations(file: string, { deployment: { pending_operations } }: State): void {
  if (pending_operations === undefined) return;
  const { checkpoint, ...rest } = JSON.parse(readFileSync(file, "utf8"));
  const latest = { ...checkpoint.latest, pending_operations };
  writeFileSync(file, JSON.stringify({ ...rest, checkpoint: { ...checkpoint, latest } }));
}
