import { startGateway } from "./gateway";
import { programOptions } from "./options";

async function start(): Promise<{ close(): Promise<void> }> {
  const options = programOptions(process.argv.slice(2));
  if (!("service" in options)) return startGateway(options);
  // Only there: the client of the API server is most of the program.
  const { startKubernetesGateway } = await import("./kubernetes/index.js");
  return startKubernetesGateway({ ...options, environment: process.env });
}

async function main(): Promise<void> {
  const gateway = await start();
  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      gateway.close().then(
        () => process.exit(),
        (error: Error) => {
          console.error(error.stack ?? error.message);
          process.exit(1);
        },
      );
    });
  }
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
