// What the set-up tells a person; always on stderr, so that stdout stays a command's own.

export function say(message) {
  process.stderr.write(`• ${message}\n`);
}

/** Something that a person has to install or change before this can work. */
export class Missing extends Error {
  constructor(what, remedy) {
    super(`${what}\n  ${remedy}`);
    this.name = "Missing";
  }
}

/** Runs a program's entry point; what is missing is told in two lines, everything else with its stack. */
export async function main(run) {
  try {
    process.exitCode = await run();
  } catch (error) {
    process.stderr.write(`${error instanceof Missing ? error.message : error.stack}\n`);
    process.exitCode = 1;
  }
}
