import { spawn } from "node:child_process";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { formatDuration } from "../../units";
import { DeadlineError } from "../../waiting";

/** How the `pulumi` command is run. */
export interface PulumiSettings {
  /** The project's folder. */
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds that one call gets. */
  readonly deadline: number;
  readonly signal: AbortSignal;
}

/** `pulumi` ended with a failure; the message holds what it printed. */
export class PulumiFailedError extends Error {
  override readonly name = "PulumiFailedError";
}

/** Milliseconds after SIGTERM until a call that had its time is ended for good. */
const killDelay = 5000;

/** The `pulumi` command on PATH. */
export class Pulumi {
  constructor(private readonly settings: PulumiSettings) {}

  /** The selected stack's name without organisation and project. */
  async stackName(stack: string | undefined): Promise<string> {
    const name = (await this.run(["stack", "--show-name", ...stackOption(stack)])).trim();
    return name.slice(name.lastIndexOf("/") + 1);
  }

  /** The backend's URL, and a folder where it is one on this machine. */
  async backend(): Promise<{ readonly url: string; readonly folder: string | null }> {
    const answer = JSON.parse(await this.run(["whoami", "--verbose", "--json"])) as { readonly url?: string };
    const url = answer.url ?? "";
    return { url, folder: backendFolder(url, this.settings.cwd) };
  }

  /** The stack's state with its secrets encrypted. Needs no lock. */
  async exportState(stack: string | undefined): Promise<string> {
    return this.run(["stack", "export", ...stackOption(stack)]);
  }

  /** Replaces the stack's state. `--force`: also a state whose serial or version tags are not the backend's own. */
  async importState(stack: string | undefined, state: string): Promise<void> {
    await this.run(["stack", "import", "--force", ...stackOption(stack)], state);
  }

  /** Reads what some of the stack's resources are now, and nothing else of it. */
  async refresh(stack: string | undefined, urns: readonly string[]): Promise<void> {
    const targets = urns.flatMap((urn) => ["--target", urn]);
    await this.run(["refresh", "--yes", "--skip-preview", ...targets, ...stackOption(stack)]);
  }

  /** Takes every lock of the stack away. */
  async cancel(stack: string): Promise<void> {
    await this.run(["cancel", "--yes", "--stack", stack]);
  }

  private run(args: readonly string[], input = ""): Promise<string> {
    const { cwd, environment, deadline, signal } = this.settings;
    const call = `pulumi ${args.filter((arg) => arg !== "--non-interactive").join(" ")}`;
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const child = spawn("pulumi", [...args, "--non-interactive"], {
        cwd,
        env: { PULUMI_SKIP_UPDATE_CHECK: "true", ...environment },
        stdio: "pipe",
      });
      let [stdout, stderr] = ["", ""];
      let late = false;
      let killer: NodeJS.Timeout | undefined;
      const end = () => {
        child.kill("SIGTERM");
        killer ??= setTimeout(() => child.kill("SIGKILL"), killDelay);
      };
      const timer = setTimeout(() => {
        late = true;
        end();
      }, deadline);
      signal.addEventListener("abort", end, { once: true });
      const settle = () => {
        clearTimeout(timer);
        clearTimeout(killer);
        signal.removeEventListener("abort", end);
      };
      child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
      child.once("error", (error: NodeJS.ErrnoException) => {
        settle();
        reject(error.code === "ENOENT" ? notInstalled(cwd, error) : error);
      });
      child.once("close", (code, endedBy) => {
        settle();
        if (signal.aborted) reject(signal.reason as Error);
        else if (late)
          reject(new DeadlineError(`${call} did not end within ${formatDuration(deadline)}${quoted(stderr)}`));
        else if (code === 0) resolve(stdout);
        else reject(new PulumiFailedError(`${call} ended with ${endedBy ?? `exit code ${code}`}${quoted(stderr)}`));
      });
      // A command that ends without having read its input says why by itself.
      child.stdin.on("error", () => undefined);
      child.stdin.end(input);
    });
  }
}

function stackOption(stack: string | undefined): readonly string[] {
  return stack === undefined ? [] : ["--stack", stack];
}

function quoted(stderr: string): string {
  const text = stderr.trim();
  return text === "" ? "" : `:\n${text}`;
}

function notInstalled(cwd: string, cause: Error): Error {
  return new Error(
    `pulumi cannot be started in ${cwd}: it is not on PATH. Install it with "curl -fsSL https://get.pulumi.com | sh" ` +
      "(https://www.pulumi.com/docs/install/) and add $HOME/.pulumi/bin to PATH; in a clone of pulumi-comfyui, npm run up has set one up",
    { cause },
  );
}

/** Folder of a `file://` backend as Pulumi understands its URL, or null for any other backend. */
export function backendFolder(url: string, cwd: string): string | null {
  if (!url.startsWith("file://")) return null;
  const path = decodeURIComponent(url.slice("file://".length).split("?", 1)[0] ?? "");
  if (path === "~" || path.startsWith("~/")) return resolve(homedir(), path.slice(2));
  return resolve(cwd, path);
}
