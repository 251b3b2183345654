// Calls the engine's `pack` or `restore` in a process of its own, with options that the command line does not have.
// Arguments: the compiled engine, the function's name, and the request as JSON. Prints what it answers as JSON.

type Engine = Readonly<Record<string, (request: unknown) => Promise<unknown>>>;

async function main(): Promise<void> {
  const [, , engine = "", name = "", request = ""] = process.argv;
  const called = (require(engine) as Engine)[name];
  if (called === undefined) throw new Error(`${engine} has no ${name}`);
  process.stdout.write(`${JSON.stringify(await called(JSON.parse(request)))}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
