import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";

const program = "pulumi-resource-kubernetes";

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
  const script = resolve(__dirname, "../../scripts/setup/kubernetes-plugin.mjs");
  const { folder, real }: KubernetesPlugin = JSON.parse(
    execFileSync(process.execPath, [script], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }),
  );
  if (!existsSync(join(folder, program))) throw new Error(`${program} is not in ${folder}`);
  process.env.PATH = [folder, process.env.PATH ?? ""].join(delimiter);
  found = { folder, real };
  return found;
}
