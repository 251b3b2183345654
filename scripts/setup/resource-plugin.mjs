// A resource plugin of Pulumi for tests: the released one where this machine has it, else a stand-in of test/support.
//
// TEST_PLUGINS=real insists on the released one, and tries to install it; TEST_PLUGINS=stand-in takes the stand-in anyway.
// Run as a program with a package's name it prints, as JSON, the folder that has to be on PATH and which of the two is in it.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { outputOf } from "./run.mjs";
import { Missing, main, say } from "./say.mjs";
import { mark, provideStandInPlugin, sdkVersion } from "./stand-in-plugin.mjs";

/** The folder that has to be on PATH for a package's plugin, and whether the plugin is the released one. */
export async function provideResourcePlugin(packageName, env) {
  const wish = env.TEST_PLUGINS ?? "";
  if (!["", "real", "stand-in"].includes(wish)) {
    throw new Missing(`TEST_PLUGINS is ${JSON.stringify(wish)}.`, "It may be: real, stand-in");
  }
  if (wish !== "stand-in") {
    const folder =
      (await findReal(packageName, env)) ?? (wish === "real" ? await installReal(packageName, env) : undefined);
    if (folder !== undefined) {
      say(`the ${packageName} plugin in tests is the released one, in ${folder}`);
      return { folder, real: true };
    }
  }
  const folder = await provideStandInPlugin(packageName);
  say(
    `the ${packageName} plugin in tests is the stand-in of test/support (TEST_PLUGINS=real insists on the released one)`,
  );
  return { folder, real: false };
}

async function findReal(packageName, env) {
  const name = `pulumi-resource-${packageName}`;
  const installed = join(env.PULUMI_HOME ?? join(homedir(), ".pulumi"), "plugins");
  const [major] = sdkVersion(packageName).split(".");
  const ofThisMajor = new RegExp(`^resource-${packageName}-v${major}\\.[^.]+\\.[^.]+$`);
  const versions = existsSync(installed) ? readdirSync(installed).filter((entry) => ofThisMajor.test(entry)) : [];
  versions.sort((one, other) => other.localeCompare(one, "en", { numeric: true }));
  const folders = [...(env.PATH ?? "").split(delimiter), ...versions.map((entry) => join(installed, entry))];
  for (const folder of folders) {
    if (folder === "" || !existsSync(join(folder, name)) || isStandIn(join(folder, name))) continue;
    if (await works(join(folder, name))) return folder;
    say(`${join(folder, name)} does not start and is not used`);
  }
  return undefined;
}

function isStandIn(program) {
  return readFileSync(program).subarray(0, 500).includes(mark);
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

async function installReal(packageName, env) {
  const version = sdkVersion(packageName);
  say(`installing the released ${packageName} plugin ${version}`);
  outputOf("pulumi", ["plugin", "install", "resource", packageName, version], { env });
  const folder = await findReal(packageName, env);
  if (folder !== undefined) return folder;
  throw new Missing(
    `TEST_PLUGINS=real, and there is no pulumi-resource-${packageName} on PATH or in PULUMI_HOME, nor could it be installed here.`,
    `Install it with: pulumi plugin install resource ${packageName} ${version}`,
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(async () => {
    const [, , packageName] = process.argv;
    process.stdout.write(`${JSON.stringify(await provideResourcePlugin(packageName, process.env))}\n`);
  });
}
