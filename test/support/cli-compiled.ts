import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root";

/** The compiled command. Compiles the package first where that is missing or older than its sources. */
export function compiledCommand(): string {
  const root = packageRoot();
  const command = join(root, "dist", "runtime", "cli", "main.js");
  const sources = join(root, "runtime", "cli");
  const newest = Math.max(
    ...readdirSync(sources, { recursive: true, encoding: "utf8" }).map((path) => statSync(join(sources, path)).mtimeMs),
  );
  if (!existsSync(command) || statSync(command).mtimeMs < newest) {
    const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
    const { stdout } = spawnSync(process.execPath, [compiler, "-p", join(root, "tsconfig.json")], { encoding: "utf8" });
    if (!existsSync(command)) throw new Error(`the package could not be compiled:\n${stdout}`);
  }
  return command;
}

/** Runs the compiled command as a process of its own to its end. */
export async function runCompiled(
  args: readonly string[],
  { cwd, env = process.env }: { readonly cwd: string; readonly env?: NodeJS.ProcessEnv },
) {
  const child = spawn(process.execPath, [compiledCommand(), ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}
