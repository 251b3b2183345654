// Running other programs during the set-up.
import { spawn, spawnSync } from "node:child_process";
import { constants } from "node:os";

/** Runs a program with its output on stderr; throws when it fails. */
export function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, { stdio: ["ignore", 2, 2], ...options });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${signal ?? `exit code ${status}`}`);
}

/** A program's output, or undefined when it cannot be run or fails. */
export function outputOf(command, args, options = {}) {
  const { status, stdout } = spawnSync(command, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    ...options,
  });
  return status === 0 ? stdout.trim() : undefined;
}

/** Runs a program in the foreground, passing signals on to it, and gives the exit code a shell would. */
export function foreground(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "inherit", ...options });
    const forward = (signal) => child.kill(signal);
    // A terminal sends Ctrl-C to the child as well: here it only must not end this process before the child.
    const wait = () => {};
    process.on("SIGINT", wait).on("SIGTERM", forward);
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      process.off("SIGINT", wait).off("SIGTERM", forward);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}
