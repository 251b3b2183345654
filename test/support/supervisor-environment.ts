import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { defaultLayout, type EnvironmentLocation, type PluginRecord } from "../../runtime/environment";
import { pack } from "../../runtime/snapshot";
import { type PluginSource, standInSource } from "./stand-in";

/** Makes a small environment: the stand-in as ComfyUI, a virtual environment without packages, and plugins. */
export function makeEnvironment(root: string, plugins: Readonly<Record<string, PluginSource>>): EnvironmentLocation {
  const environment = { root, layout: defaultLayout };
  cpSync(standInSource, join(root, defaultLayout.comfyui), {
    recursive: true,
    filter: (path) => !path.endsWith("__pycache__"),
  });
  execFileSync("python3", ["-m", "venv", "--without-pip", join(root, defaultLayout.dependencies)]);
  mkdirSync(join(root, defaultLayout.plugins), { recursive: true });
  mkdirSync(join(root, defaultLayout.models, "checkpoints"), { recursive: true });
  for (const [name, source] of Object.entries(plugins)) setPlugin(environment, name, source);
  return environment;
}

/** Replaces a plugin's files. */
export function setPlugin({ root, layout }: EnvironmentLocation, name: string, source: PluginSource): void {
  const folder = join(root, layout.plugins, name);
  rmSync(folder, { recursive: true, force: true });
  const files = typeof source === "string" ? { "__init__.py": source } : source;
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

/** A plugin whose import ends the process, as a failing native library does. */
export const exitingPlugin = "import sys\n\nprint('about to end', file=sys.stderr)\nsys.exit(3)\n";

/** A plugin that takes the port which its own process is to listen at, once: ComfyUI notices only after all imports. */
export const portTakingPlugin = (marker: string) => `
import os
import socket
import sys

if not os.path.exists(${JSON.stringify(marker)}):
    open(${JSON.stringify(marker)}, "w").close()
    taken = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))

NODE_CLASS_MAPPINGS = {}
`;

/** A plugin whose import never ends, so that the port never opens. */
export const hangingPlugin = "import threading\n\nthreading.Event().wait()\n";

/** Packs an environment into the store beside it. Returns its reference. */
export async function packEnvironment(
  environment: EnvironmentLocation,
  plugins: readonly PluginRecord[] = [],
): Promise<string> {
  const store = join(environment.root, "..", "store");
  return (await pack({ environment, store, models: "referenced", plugins })).reference;
}
