import { parseArgs } from "node:util";
import { startGateway } from "./gateway";

const usage = "usage: gateway --folder DIR --port N [--host 127.0.0.1]";

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { folder: { type: "string" }, port: { type: "string" }, host: { type: "string", default: "127.0.0.1" } },
  });
  const { folder, port, host } = values;
  if (folder === undefined || port === undefined || !/^\d{1,5}$/.test(port)) throw new Error(usage);
  const gateway = await startGateway({ folder, port: Number(port), host });
  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      gateway.close().then(
        () => process.exit(0),
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
