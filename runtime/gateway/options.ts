import { parseArgs } from "node:util";

const usage =
  "usage: gateway --folder DIR --port N [--host 127.0.0.1]\n" +
  "       gateway kubernetes --service NAME --folder DIR --port N [--host 0.0.0.0] [--farewell SECONDS] [--keep-alive SECONDS]";

/** What the program is started with. */
export interface ProgramOptions {
  readonly folder: string;
  readonly port: number;
  readonly host?: string;
}

/** As one of a service's gateways in a cluster. */
export interface ClusterProgramOptions extends ProgramOptions {
  readonly service: string;
  /** Milliseconds from the signal to stop for which new connections are still taken. */
  readonly farewell?: number;
  /** Milliseconds for which a connection without a request is kept. */
  readonly keepAliveTimeout?: number;
}

/** Reads the command line. Throws with what it should be. */
export function programOptions(parameters: readonly string[]): ProgramOptions | ClusterProgramOptions {
  const { values, positionals } = parseArgs({
    args: [...parameters],
    allowPositionals: true,
    options: {
      folder: { type: "string" },
      port: { type: "string" },
      host: { type: "string" },
      service: { type: "string" },
      farewell: { type: "string" },
      "keep-alive": { type: "string" },
    },
  });
  const { folder, port, host, service, farewell, "keep-alive": keepAlive } = values;
  const [platform, ...rest] = positionals;
  const numbers = [farewell, keepAlive].filter((value) => value !== undefined);
  if (folder === undefined || port === undefined || !/^\d{1,5}$/.test(port) || rest.length > 0) throw new Error(usage);
  const common = { folder, port: Number(port), ...(host === undefined ? {} : { host }) };
  if (platform === undefined && service === undefined && numbers.length === 0) return common;
  if (platform !== "kubernetes" || service === undefined) throw new Error(usage);
  if (!numbers.every((value) => /^\d{1,5}$/.test(value))) throw new Error(usage);
  return {
    ...common,
    service,
    ...(farewell === undefined ? {} : { farewell: Number(farewell) * 1_000 }),
    ...(keepAlive === undefined ? {} : { keepAliveTimeout: Number(keepAlive) * 1_000 }),
  };
}
