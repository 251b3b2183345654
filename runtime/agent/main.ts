// The program beside ComfyUI in every pod; its first argument says what the pod is.
import { runInstance } from "./instance";
import { instanceUsage, parseInstanceOptions, parseWorkstationOptions, workstationUsage } from "./options";
import { runWorkstation } from "./workstation";

const modes: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  instance: (args) => runInstance(parseInstanceOptions(args)),
  workstation: (args) => runWorkstation(parseWorkstationOptions(args)),
};

async function main(): Promise<number> {
  const [mode = "", ...args] = process.argv.slice(2);
  const run = modes[mode];
  if (run === undefined) throw new Error(`${instanceUsage}\n${workstationUsage}`);
  return run(args);
}

main().then(
  // Timers and connections that are left are of no use to anybody.
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exit(1);
  },
);
