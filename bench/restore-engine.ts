// Calls the engine's `restore` in a process of its own, with options that the command line does not have.
// Arguments: the compiled engine, and the request as JSON.

interface Engine {
  restore(request: unknown): Promise<unknown>;
}

async function main(): Promise<void> {
  const [, , engine = "", request = ""] = process.argv;
  const { restore } = require(engine) as Engine;
  await restore(JSON.parse(request));
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
