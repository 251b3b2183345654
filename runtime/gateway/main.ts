import { parseArgs } from "node:util";
import { startGateway } from "./gateway";

const usage =
  "usage: gateway --folder DIR --port N [--host 127.0.0.1]\n" +
  "       gateway kubernetes --service NAME --folder DIR --port N [--host 0.0.0.0]";

async function start(): Promise<{ close(): Promise<void> }> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      folder: { type: "string" },
      port: { type: "string" },
      host: { type: "string" },
      service: { type: "string" },
    },
  });
  const { folder, port, host, service } = values;
  const [platform, ...rest] = positionals;
  if (folder === undefined || port === undefined || !/^\d{1,5}$/.test(port) || rest.length > 0) throw new Error(usage);
  const common = { folder, port: Number(port), ...(host === undefined ? {} : { host }) };
  if (platform === undefined && service === undefined) return startGateway(common);
  if (platform !== "kubernetes" || service === undefined) throw new Error(usage);
  // Only there: the client of the API server is most of the program.
  const { startKubernetesGateway } = await import("./kubernetes/index.js");
  return startKubernetesGateway({ ...common, service, environment: process.env });
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
