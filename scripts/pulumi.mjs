// npm run up | preview | destroy | output | comfyui: `pulumi`, or the command pulumi-comfyui, on this clone's example, with everything it needs set up first.
import { join } from "node:path";
import { setUpEngine, useLocalBackend } from "./setup/index.mjs";
import { root } from "./setup/paths.mjs";
import { foreground, outputOf, run } from "./setup/run.mjs";
import { main, say } from "./setup/say.mjs";

const asking = new Set(["up", "destroy"]);

function hasStackArgument(args) {
  return args.some((arg) => arg === "--stack" || arg === "-s" || arg.startsWith("--stack="));
}

/** Selects the stack by environment variable and makes it where it is missing. */
function provideStack(env) {
  env.PULUMI_STACK ??= "dev";
  if (outputOf("pulumi", ["stack", "--show-name", "--non-interactive"], { cwd: root, env }) !== undefined) return;
  say(`making the stack ${env.PULUMI_STACK}`);
  run("pulumi", ["stack", "init", env.PULUMI_STACK, "--non-interactive"], { cwd: root, env });
}

await main(async () => {
  const [command, ...args] = process.argv.slice(2);
  const env = useLocalBackend(setUpEngine());
  if (command === "comfyui") {
    const program = join(root, "dist", "runtime", "cli", "main.js");
    return foreground("node", [program, ...args], { cwd: join(root, "examples", "local"), env });
  }
  if (!hasStackArgument(args)) provideStack(env);
  if (command === "output") {
    return foreground("pulumi", ["stack", "output", "--json", ...args], { cwd: root, env });
  }
  const unattended =
    asking.has(command) && !process.stdin.isTTY && !args.some((arg) => arg === "--yes" || arg === "-y");
  return foreground("pulumi", [command, ...(unattended ? ["--yes"] : []), ...args], { cwd: root, env });
});
