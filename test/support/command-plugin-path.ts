import { execFileSync } from "node:child_process";
import { delimiter, resolve } from "node:path";

let used = false;

/**
 * Puts the command plugin on this process's PATH, for the engines that it starts: the released one where this machine has it, else the
 * stand-in (TEST_PLUGINS=real insists, TEST_PLUGINS=stand-in takes the stand-in anyway). May be called again.
 */
export function useCommandPlugin(): void {
  if (used) return;
  const script = resolve(__dirname, "../../scripts/setup/resource-plugin.mjs");
  const said = execFileSync(process.execPath, [script, "command"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { folder } = JSON.parse(said) as { readonly folder: string };
  process.env.PATH = [folder, process.env.PATH ?? ""].join(delimiter);
  used = true;
}
