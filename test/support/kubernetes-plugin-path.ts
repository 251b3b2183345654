import { execFileSync } from "node:child_process";
import { delimiter, resolve } from "node:path";

/** Which kubernetes plugin an engine finds that this process starts. */
export interface KubernetesPlugin {
  readonly folder: string;
  /** Whether it is the released one, not the stand-in. */
  readonly real: boolean;
}

let found: KubernetesPlugin | undefined;

/**
 * Puts the kubernetes plugin on this process's PATH, for the engines that it starts: the released one where this machine has it,
 * else the stand-in (TEST_PLUGINS=real insists, TEST_PLUGINS=stand-in takes the stand-in anyway). May be called again.
 */
export function useKubernetesPlugin(): KubernetesPlugin {
  if (found !== undefined) return found;
  // Set, and on PATH, where a script set the tests up.
  const given = process.env.PULUMI_COMFYUI_KUBERNETES_PLUGIN;
  const plugin: KubernetesPlugin = JSON.parse(given ?? findKubernetesPlugin());
  if (given === undefined) process.env.PATH = [plugin.folder, process.env.PATH ?? ""].join(delimiter);
  found = plugin;
  return plugin;
}

function findKubernetesPlugin(): string {
  const script = resolve(__dirname, "../../scripts/setup/kubernetes-plugin.mjs");
  return execFileSync(process.execPath, [script], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
