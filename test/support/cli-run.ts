import { runCommand } from "../../runtime/cli/program";
import { type TestSurroundings, testSurroundings } from "./cli-surroundings";

/** Runs the command in this process. `json` is its document on stdout. */
export async function runCli(args: readonly string[], over: Partial<TestSurroundings> = {}) {
  const surroundings = testSurroundings(over);
  const code = await runCommand(args, surroundings);
  const { stdout, stderr } = surroundings;
  return {
    code,
    stdout: stdout.text,
    /** What was written to stdout that is no text. */
    bytes: Buffer.concat(stdout.bytes),
    stderr: stderr.text,
    get json(): unknown {
      return JSON.parse(stdout.text);
    },
  };
}
