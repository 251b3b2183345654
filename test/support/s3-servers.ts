import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { S3 } from "@aws-sdk/client-s3";
import type { StoreSettings } from "../../runtime/store";
import { waitFor } from "../../runtime/waiting";
import { temporaryFolder } from "./trees";

export const s3Servers = ["versitygw", "minio"] as const;
export type S3ServerName = (typeof s3Servers)[number];

export const keys = { accessKeyId: "test-access-key", secretAccessKey: "test-secret-key-0123456789" };

/** A real S3 server of a test file's own, on this machine, with a bucket. */
export interface S3Server {
  readonly endpoint: string;
  readonly bucket: string;
  /** What a store needs to reach it. */
  readonly settings: StoreSettings;
  /** A client beside the one under test. */
  readonly client: S3;
  /** Ends it and removes its files. */
  readonly stop: () => Promise<void>;
}

interface Launch {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const launches: Readonly<
  Record<S3ServerName, (folder: string, address: string, port: number, console: number) => Launch>
> = {
  versitygw: (folder, address, port) => {
    for (const name of ["data", "attributes"]) mkdirSync(join(folder, name));
    return {
      args: [
        ...["--port", `${address}:${port}`, "--quiet", "--keep-alive", "--access", keys.accessKeyId],
        ...["--secret", keys.secretAccessKey, "posix", "--sidecar", join(folder, "attributes"), join(folder, "data")],
      ],
      env: {},
    };
  },
  minio: (folder, address, port, console) => ({
    args: [
      "server",
      join(folder, "data"),
      "--address",
      `${address}:${port}`,
      "--console-address",
      `127.0.0.1:${console}`,
    ],
    env: {
      MINIO_ROOT_USER: keys.accessKeyId,
      MINIO_ROOT_PASSWORD: keys.secretAccessKey,
      MINIO_BROWSER: "off",
      MINIO_UPDATE: "off",
      // Serves from the root file system, which a person's MinIO is kept from.
      MINIO_CI_CD: "1",
      MINIO_KMS_SECRET_KEY: `test-key:${Buffer.alloc(32, 7).toString("base64")}`,
      HOME: folder,
    },
  }),
};

/** Times that a start is tried, for somebody else may take a free port before the server does. */
const starts = 3;

/** Starts it at `address`, one of this machine; another than loopback is for clients outside, as in a cluster's pods. */
export async function startS3Server(name: S3ServerName, address = "127.0.0.1"): Promise<S3Server> {
  const program = await programOf(name);
  for (let number = 1; ; number += 1) {
    const folder = temporaryFolder();
    const [port, console] = [await freePort(address), await freePort()];
    const { args, env } = launches[name](folder.path, address, port, console);
    const child = spawn(program, args, { env: { PATH: process.env.PATH, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    const end = () => child.kill("SIGKILL");
    process.once("exit", end);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (text: Buffer) => {
        output = (output + text.toString()).slice(-2000);
      });
    }
    const stop = async () => {
      process.off("exit", end);
      await ended(child);
      folder.remove();
    };
    const endpoint = `http://${address}:${port}`;
    const settings: StoreSettings = { endpoint, region: "us-east-1", credentials: keys };
    const client = new S3({ endpoint, region: "us-east-1", credentials: keys, forcePathStyle: true });
    const bucket = "test-bucket";
    try {
      await waitFor({
        what: `${name} to make a bucket`,
        deadline: 60_000,
        look: async () => {
          if (child.exitCode !== null) throw new Error(`${name} ended with exit code ${child.exitCode}: ${output}`);
          return client.createBucket({ Bucket: bucket }).catch(() => undefined);
        },
        seen: () => output,
      });
      return { endpoint, bucket, settings, client, stop };
    } catch (error) {
      await stop();
      if (number >= starts || !/in use/.test(output)) throw error;
    }
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

async function programOf(name: S3ServerName): Promise<string> {
  const setup = pathToFileURL(resolve(__dirname, "../../scripts/setup/s3-servers.mjs")).href;
  const { programOf } = (await import(setup)) as { programOf: (name: string) => string };
  const program = programOf(name);
  if (!existsSync(program)) throw new Error(`${program} is not there; \`npm test\` builds it`);
  return program;
}

/** A port that nobody listens on at this moment. */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  server.close();
  await once(server, "close");
  return port;
}
