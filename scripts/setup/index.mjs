// Everything a fresh clone needs before a command can run, step by step; a second run finds it all and says nothing.
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { provideEngine } from "./engine.mjs";
import { provideKubernetes } from "./kubernetes.mjs";
import { provideNode } from "./node.mjs";
import { buildPackage, installDependencies } from "./package.mjs";
import { local, root } from "./paths.mjs";
import { outputOf } from "./run.mjs";
import { provideS3Servers } from "./s3-servers.mjs";
import { Missing } from "./say.mjs";

function requirePython(env) {
  const version = outputOf("python3", ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], { env });
  if (version === undefined) {
    throw new Missing(
      "Python 3 is needed and there is no python3 on PATH.",
      "Install it with: apt-get install python3 python3-venv",
    );
  }
  if (outputOf("python3", ["-c", "import ensurepip, venv"], { env }) === undefined) {
    throw new Missing(
      `Python ${version} on PATH cannot make virtual environments: its module ensurepip is missing.`,
      `Install it with: apt-get install python${version}-venv`,
    );
  }
}

/** Node.js, dependencies and build; gives the environment variables to go on with. */
export function setUpPackage() {
  const env = { ...process.env };
  env.PATH = [provideNode(), join(root, "node_modules", ".bin"), env.PATH].join(delimiter);
  requirePython(env);
  installDependencies(env);
  buildPackage(env);
  return env;
}

/** All of that, and Pulumi. */
export function setUpEngine() {
  const env = setUpPackage();
  const { folders, built } = provideEngine(env);
  // The launcher of dynamic providers is a script of @pulumi/pulumi; an installed Pulumi brings its own, a built one does not.
  if (built) folders.push(join(root, "node_modules", "@pulumi", "pulumi"));
  env.PATH = [...folders, env.PATH].join(delimiter);
  // A built engine comes without plugins and can fetch none; an installed one is left as its owner set it.
  if (built) env.PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION = "true";
  env.PULUMI_SKIP_UPDATE_CHECK = "true";
  return env;
}

/** All of that, and the servers that tests run against. */
export function setUpTests() {
  const env = setUpEngine();
  provideS3Servers(env);
  provideKubernetes(env);
  return env;
}

/** A backend in a folder of this clone, unless the person chose one. */
export function useLocalBackend(env) {
  if (!env.PULUMI_BACKEND_URL) {
    const state = join(local, "state");
    mkdirSync(state, { recursive: true, mode: 0o700 });
    env.PULUMI_BACKEND_URL = pathToFileURL(state).href;
  }
  if (!env.PULUMI_CONFIG_PASSPHRASE && !env.PULUMI_CONFIG_PASSPHRASE_FILE) {
    const file = join(local, "passphrase");
    mkdirSync(local, { recursive: true, mode: 0o700 });
    if (!existsSync(file)) writeFileSync(file, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
    env.PULUMI_CONFIG_PASSPHRASE = readFileSync(file, "utf8").trim();
  }
  return env;
}
