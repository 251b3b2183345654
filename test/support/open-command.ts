import { onTestFailed } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { type Ended, type Started, startProgram } from "./agent-processes";
import { compiledCommand } from "./cli-compiled";

/** Milliseconds: a workstation that it starts has to be there first. */
const patience = 180_000;

/** `pulumi-comfyui open --namespace`, which runs until it is interrupted. */
export class OpenCommand implements AsyncDisposable {
  private constructor(
    private readonly started: Started,
    private readonly printed: { stdout: string },
    /** What it leads from. */
    readonly url: string,
  ) {}

  /** Starts it, and waits until it says where it leads from. */
  static async start(...args: readonly string[]): Promise<OpenCommand> {
    const started = startProgram(process.execPath, [compiledCommand(), "open", ...args], process.env);
    onTestFailed(() => console.error(`open printed: ${started.output()}`));
    const printed = { stdout: "" };
    started.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      printed.stdout += text;
    });
    let ended: Ended | undefined;
    void started.ended.then((end) => {
      ended = end;
    });
    const url = await waitFor({
      what: "open to print a URL",
      deadline: patience,
      look: () => {
        if (ended !== undefined) throw new Error(`open ended with ${ended.code}: ${started.output()}`);
        return /^(http\S+)\n/.exec(printed.stdout)?.[1];
      },
      seen: () => started.output(),
    });
    return new OpenCommand(started, printed, url);
  }

  get stdout(): string {
    return this.printed.stdout;
  }

  /** Both streams. */
  get output(): string {
    return this.started.output();
  }

  /** Ctrl-C. */
  async interrupt(): Promise<Ended> {
    this.started.signal("SIGINT");
    return this.started.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.started.child.kill("SIGKILL");
    await this.started.ended;
  }
}
