import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { build } from "esbuild";
import { waitFor } from "../../runtime/waiting";

/** Bundles the gateway as it is shipped; returns the file. */
export async function bundleGateway(folder: string): Promise<string> {
  const outfile = join(folder, "gateway.js");
  await build({
    entryPoints: [join(__dirname, "../../runtime/gateway/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22",
    minify: true,
    alias: { "whatwg-url": "node:url" },
    logLevel: "silent",
  });
  return outfile;
}

/** The gateway as a process of its own. */
export class GatewayProgram {
  readonly child: ChildProcess;
  /** All that it printed. */
  output = "";
  readonly exit: Promise<number | null>;

  /** @param largestFile bytes that a file may get, as if the disk had no room for more. */
  constructor(
    bundle: string,
    parameters: readonly string[],
    largestFile?: number,
    environment: NodeJS.ProcessEnv = process.env,
  ) {
    // POSIX counts the limit in blocks of 512 bytes, bash in blocks of 1,024.
    const limit = largestFile === undefined ? "" : `ulimit -f ${Math.floor(largestFile / 1024)}; `;
    this.child = spawn("bash", ["-c", `${limit}exec "$0" "$@"`, process.execPath, bundle, ...parameters], {
      stdio: ["ignore", "pipe", "pipe"],
      env: environment,
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk) => {
        this.output += chunk;
      });
    }
    this.exit = new Promise((resolve) => this.child.once("exit", (code) => resolve(code)));
  }

  /** Waits until it listens; returns its URL. */
  async listening(): Promise<string> {
    return waitFor({
      what: "the gateway to listen",
      deadline: 120_000,
      interval: 5,
      look: () => {
        const [, url] = /listening on (\S+)/.exec(this.output) ?? [];
        if (url === undefined && this.child.exitCode !== null) throw new Error(`it ended: ${this.output}`);
        return url;
      },
      seen: () => this.output,
    });
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.exit;
  }
}
