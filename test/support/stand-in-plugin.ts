import { execFileSync } from "node:child_process";
import { delimiter, resolve } from "node:path";

const found = new Map<string, string>();

/**
 * Puts the stand-in of a package's resource plugin on this process's PATH, where engines that it starts find it, and gives its folder. May be
 * called again. The kubernetes plugin may be the released one instead: kubernetes-plugin-path.ts.
 */
export function useStandInPlugin(packageName: "aws" | "command"): string {
  const before = found.get(packageName);
  if (before !== undefined) return before;
  const script = resolve(__dirname, "../../scripts/setup/stand-in-plugin.mjs");
  const folder = execFileSync(process.execPath, [script, packageName], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  }).trim();
  process.env.PATH = [folder, process.env.PATH ?? ""].join(delimiter);
  found.set(packageName, folder);
  return folder;
}
