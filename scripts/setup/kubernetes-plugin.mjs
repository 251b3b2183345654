// Pulumi's `kubernetes` resource plugin for tests: the released one where this machine has it, else a stand-in of test/support.
//
// TEST_PLUGINS=real insists on the released one, and tries to install it; TEST_PLUGINS=stand-in takes the stand-in anyway.
// Run as a program it prints, as JSON, the folder that has to be on PATH and which of the two is in it.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { cache, root } from "./paths.mjs";
import { outputOf } from "./run.mjs";
import { Missing, main, say } from "./say.mjs";

const name = "pulumi-resource-kubernetes";
const sources = join(root, "test", "support", "kubernetes-plugin");
const mark = "stand-in for tests";

const sdkVersion = () =>
  JSON.parse(readFileSync(join(root, "node_modules", "@pulumi", "kubernetes", "package.json"), "utf8")).version;

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
  const folder = await bundleStandIn();
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
  const version = sdkVersion();
  say(`installing the released kubernetes plugin ${version}`);
  outputOf("pulumi", ["plugin", "install", "resource", "kubernetes", version], { env });
  const folder = await findReal(env);
  if (folder !== undefined) return folder;
  throw new Missing(
    `TEST_PLUGINS=real, and there is no ${name} on PATH or in PULUMI_HOME, nor could it be installed here.`,
    `Install it with: pulumi plugin install resource kubernetes ${version}`,
  );
}

/** One file, whatever installs the clone's dependencies, under a name that says what it was made from. */
async function bundleStandIn() {
  const require = createRequire(join(root, "package.json"));
  const folder = join(cache, `kubernetes-plugin-${fingerprint()}`);
  if (existsSync(join(folder, name))) return folder;
  const making = `${folder}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  try {
    await require("esbuild").build({
      entryPoints: [join(sources, "main.ts")],
      outfile: join(making, `${name}.js`),
      bundle: true,
      platform: "node",
      format: "cjs",
      target: "node22",
      keepNames: true,
      define: { SDK_VERSION: JSON.stringify(sdkVersion()) },
      logLevel: "warning",
    });
    const script = `#!/bin/sh\n# ${mark}: see test/support/kubernetes-plugin of pulumi-comfyui\nexec "${process.execPath}" --no-deprecation "${join(folder, `${name}.js`)}" "$@"\n`;
    writeFileSync(join(making, name), script, { mode: 0o755 });
    try {
      renameSync(making, folder);
    } catch (error) {
      // Another process was quicker.
      if (!existsSync(join(folder, name))) throw error;
    }
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return folder;
}

function fingerprint() {
  const hash = createHash("sha256")
    .update(process.execPath)
    .update(readFileSync(fileURLToPath(import.meta.url)));
  for (const file of readdirSync(sources).sort()) hash.update(file).update(readFileSync(join(sources, file)));
  return hash
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex")
    .slice(0, 16);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(async () => {
    process.stdout.write(`${JSON.stringify(await provideKubernetesPlugin(process.env))}\n`);
  });
}
