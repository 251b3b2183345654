// Pulumi's `kubernetes` resource plugin for tests: the released one where this machine has it, else a stand-in of test/support.
//
// TEST_PLUGINS=real insists on the released one, and tries to install it; TEST_PLUGINS=stand-in takes the stand-in anyway.
// Run as a program it prints, as JSON, the folder that has to be on PATH and which of the two is in it.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { outputOf } from "./run.mjs";
import { Missing, main, say } from "./say.mjs";
import { mark, provideStandInPlugin, sdkVersion } from "./stand-in-plugin.mjs";

const name = "pulumi-resource-kubernetes";

/** The folder that has to be on PATH for the plugin, and whether the plugin is the released one. */
export async function provideKubernetesPlugin(env) {
  const wish = env.TEST_PLUGINS ?? "";
  if (!["", "real", "stand-in"].includes(wish)) {
    throw new Missing(`TEST_PLUGINS is ${JSON.stringify(wish)}.`, "It may be: real, stand-in");
  }
  if (wish !== "stand-in") {
    const folder = (await findReal(env)) ?? (wish === "real" ? await installReal(env) : undefined);
    if (folder !== undefined) {
      say(`the kubernetes plugin in tests is the released one, in ${folder}`);
      return { folder, real: true };
    }
  }
  const folder = await provideStandInPlugin("kubernetes");
  say(`the kubernetes plugin in tests is the stand-in of test/support (TEST_PLUGINS=real insists on the released one)`);
  return { folder, real: false };
}

/** The environment variables with the plugin on PATH, so that tests neither look for it nor say again which it is. */
export async function withKubernetesPlugin(env) {
  const plugin = await provideKubernetesPlugin(env);
  return {
    ...env,
    PATH: [plugin.folder, env.PATH].join(delimiter),
    PULUMI_COMFYUI_KUBERNETES_PLUGIN: JSON.stringify(plugin),
  };
}

async function findReal(env) {
  const installed = join(env.PULUMI_HOME ?? join(homedir(), ".pulumi"), "plugins");
  const versions = existsSync(installed)
    ? readdirSync(installed).filter((entry) => /^resource-kubernetes-v4\.[^.]+\.[^.]+$/.test(entry))
    : [];
  versions.sort((one, other) => other.localeCompare(one, "en", { numeric: true }));
  const folders = [...(env.PATH ?? "").split(delimiter), ...versions.map((entry) => join(installed, entry))];
  for (const folder of folders) {
    if (folder === "" || !existsSync(join(folder, name)) || isStandIn(folder)) continue;
    if (await works(join(folder, name))) return folder;
    say(`${join(folder, name)} does not start and is not used`);
  }
  return undefined;
}

function isStandIn(folder) {
  return readFileSync(join(folder, name)).subarray(0, 500).includes(mark);
}

/** Whether the plugin starts, which it tells by the port on which it serves. */
function works(program) {
  return new Promise((resolve) => {
    // An engine's address at which none listens: the plugin asks for it only later.
    const child = spawn(program, ["127.0.0.1:1"], { stdio: ["ignore", "pipe", "ignore"] });
    const end = (result) => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      resolve(result);
    };
    const timer = setTimeout(end, 30_000, false);
    child.on("error", () => end(false));
    child.on("exit", () => end(false));
    child.stdout.once("data", (text) => end(/^\d+/.test(String(text))));
  });
}

async function installReal(env) {
  const version = sdkVersion("kubernetes");
  say(`installing the released kubernetes plugin ${version}`);
  outputOf("pulumi", ["plugin", "install", "resource", "kubernetes", version], { env });
  const folder = await findReal(env);
  if (folder !== undefined) return folder;
  throw new Missing(
    `TEST_PLUGINS=real, and there is no ${name} on PATH or in PULUMI_HOME, nor could it be installed here.`,
    `Install it with: pulumi plugin install resource kubernetes ${version}`,
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(async () => {
    process.stdout.write(`${JSON.stringify(await provideKubernetesPlugin(process.env))}\n`);
  });
}
