import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { Passed } from "./throttling-proxy";

/** An S3 server of this machine with one bucket. */
export interface S3Server {
  readonly port: number;
  readonly bucket: string;
  /** Where the bucket's objects are files. */
  readonly folder: string;
  /** Credentials, as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  readonly stop: () => Promise<void>;
}

/** Milliseconds for a server or a proxy to start. */
const deadline = 60_000;

/** Starts versitygw, which keeps objects as files, on a folder; builds it first where it is not there. */
export async function startS3Server(folder: string, repository: string): Promise<S3Server> {
  const program = await provideServer(repository);
  const [access, secret] = [randomBytes(10).toString("hex"), randomBytes(20).toString("hex")];
  const [data, attributes] = ["data", "attributes"].map((name) => join(folder, name)) as [string, string];
  for (const path of [data, attributes]) mkdirSync(path, { recursive: true });
  const port = await freePort();
  const server = spawn(
    program,
    [
      ...["--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", "--access", access, "--secret", secret],
      ...["posix", "--sidecar", attributes, data],
    ],
    { stdio: "ignore" },
  );
  const stop = stopper(server);
  const bucket = "bench";
  const { S3 } = await import("@aws-sdk/client-s3");
  const client = new S3({
    endpoint: `http://127.0.0.1:${port}`,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: access, secretAccessKey: secret },
  });
  try {
    for (const started = performance.now(); ; await delay(50)) {
      if (server.exitCode !== null) throw new Error(`${program} ended with exit code ${server.exitCode}`);
      const error = await client.createBucket({ Bucket: bucket }).then(
        () => null,
        (error: Error) => error,
      );
      if (error === null) break;
      if (performance.now() - started > deadline) {
        throw new Error(`${program} did not make a bucket within ${deadline / 1000} s: ${error.message}`);
      }
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const env = { AWS_ACCESS_KEY_ID: access, AWS_SECRET_ACCESS_KEY: secret };
  return { port, bucket, folder: join(data, bucket), env, stop };
}

/** A throttling proxy in a process of its own. */
export interface RunningProxy {
  readonly endpoint: string;
  /** Ends it; tells what has passed. */
  readonly stop: () => Promise<Passed>;
}

/** `program` is the bundled `throttling-proxy-main.ts`. */
export async function startProxy(program: string, port: number, bytesPerSecond: number): Promise<RunningProxy> {
  const child = spawn(process.execPath, [program, String(port), String(bytesPerSecond)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const end = stopper(child);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async () => {
    const late = delay(deadline, undefined, { ref: false }).then(() => {
      throw new Error(`the proxy said nothing within ${deadline / 1000} s`);
    });
    const { value, done } = await Promise.race([lines.next(), late]);
    if (done === true) throw new Error(`the proxy ended with exit code ${child.exitCode}`);
    return value;
  };
  try {
    const endpoint = `http://127.0.0.1:${await line()}`;
    const stop = async () => {
      try {
        child.stdin.end();
        return JSON.parse(await line()) as Passed;
      } finally {
        await end();
      }
    };
    return { endpoint, stop };
  } catch (error) {
    await end();
    throw error;
  }
}

async function provideServer(repository: string): Promise<string> {
  const setup = pathToFileURL(join(repository, "scripts", "setup", "s3-servers.mjs")).href;
  const { programOf, provideS3Servers } = (await import(setup)) as {
    readonly programOf: (name: string) => string;
    readonly provideS3Servers: (env: NodeJS.ProcessEnv) => void;
  };
  provideS3Servers(process.env);
  return programOf("versitygw");
}

/** Ends a process; it ends with this one as well. */
function stopper(child: ChildProcess): () => Promise<void> {
  const kill = () => void child.kill("SIGKILL");
  process.once("exit", kill);
  return async () => {
    process.off("exit", kill);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    kill();
    await exit;
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
