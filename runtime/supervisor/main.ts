#!/usr/bin/env node
import { isAbsolute } from "node:path";
import { parseArgs } from "node:util";
import { runDaemon } from "./daemon";

/** The supervisor: `node main.js --directory DIR`. Its output is the end of `supervisor.log` when it cannot start. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { directory: { type: "string" } } });
  const { directory } = values;
  if (directory === undefined || !isAbsolute(directory))
    throw new Error("--directory must be given as an absolute path");
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  // It outlives the terminal that it was first needed in.
  process.on("SIGHUP", () => undefined);
  await runDaemon(directory, stop.signal);
}

main().then(
  // What is still open, such as a look at an adopted process, must not keep it.
  () => process.exit(0),
  (error) => {
    console.error(error instanceof Error ? (error.stack ?? error.message) : error);
    process.exit(1);
  },
);
