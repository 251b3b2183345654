import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { AgentStatus, InstanceSpec } from "../../runtime/agent";
import { waitFor } from "../../runtime/waiting";
import { type Started, startContainer, startProgram } from "./agent-processes";
import { freePort } from "./free-port";
import { patience } from "./supervisor-platform";

/** The folder of the programs as `npm run build` makes them. */
export const bundles = resolve(__dirname, "../../dist/bundles");

/** Options of the agent by name, without the dashes. */
export type AgentArguments = Readonly<Record<string, string>>;

export interface AgentSurroundings {
  readonly environment?: Readonly<Record<string, string>>;
  readonly inContainer?: boolean;
  /** @default the one that was built */
  readonly program?: string;
}

/** What a pod has: folders that its containers share, and the containers as processes of this machine. */
export class TestPod {
  readonly environment: string;
  readonly own: string;
  readonly launcher: string;
  readonly terminationLog: string;
  readonly #processes: Started[] = [];

  private constructor(
    readonly root: string,
    readonly spec: InstanceSpec,
  ) {
    this.environment = join(root, "environment");
    this.own = join(root, "own");
    this.launcher = join(root, "launcher");
    this.terminationLog = join(root, "termination-log");
    for (const folder of [this.environment, this.own, this.launcher]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(root, "instance.json"), JSON.stringify(spec));
  }

  static async make(
    root: string,
    snapshot: string,
    more: Partial<Omit<InstanceSpec, "health">> & { readonly health?: Partial<InstanceSpec["health"]> } = {},
  ): Promise<TestPod> {
    const { health, ...rest } = more;
    return new TestPod(root, {
      service: "studio",
      release: "r1-abcde",
      snapshot,
      models: null,
      arguments: [],
      health: {
        startTimeout: patience,
        stableFor: 0,
        smoke: null,
        smokeTimeout: patience,
        acceptFailing: [],
        ...health,
      },
      drainDeadline: patience,
      ports: { comfyui: await freePort(), agent: await freePort() },
      ...rest,
    });
  }

  get agentUrl(): string {
    return `http://127.0.0.1:${this.spec.ports.agent}`;
  }
  get comfyuiUrl(): string {
    return `http://127.0.0.1:${this.spec.ports.comfyui}`;
  }

  /** The agent; with `inContainer`, in a space of process numbers of its own, which takes root. */
  startAgent(
    more: AgentArguments = {},
    { environment = {}, inContainer = false, program = join(bundles, "agent.js") }: AgentSurroundings = {},
  ): Started {
    const { XDG_CACHE_HOME: _, ...inherited } = process.env;
    const args = {
      instance: join(this.root, "instance.json"),
      environment: this.environment,
      own: this.own,
      launcher: this.launcher,
      "termination-log": this.terminationLog,
      host: "127.0.0.1",
      address: "127.0.0.1",
      pod: "studio-r1-abcde-7d9f8-x2x4z",
      ...more,
    };
    const parameters = Object.entries(args).flatMap(([name, value]) => [`--${name}`, value]);
    const start = inContainer ? startContainer : startProgram;
    return this.#keep(start(process.execPath, [program, "instance", ...parameters], { ...inherited, ...environment }));
  }

  /** ComfyUI's container, whose process 1 is the launcher: it takes all others with it. */
  startContainer(environment: Readonly<Record<string, string>> = {}): Started {
    const [command, program] = [join(this.launcher, "python"), join(this.launcher, "launcher.py")];
    return this.#keep(startContainer(command, [program], { ...process.env, ...environment }));
  }

  /** The launcher in this machine's own space of process numbers. */
  startLauncher(environment: Readonly<Record<string, string>> = {}): Started {
    const [command, program] = [join(this.launcher, "python"), join(this.launcher, "launcher.py")];
    return this.#keep(startProgram(command, [program], { ...process.env, ...environment }));
  }

  #keep(started: Started): Started {
    this.#processes.push(started);
    return started;
  }

  /** Status code of a request to the agent; 0 where it does not answer. */
  async code(path: string, method = "GET"): Promise<number> {
    try {
      const response = await fetch(this.agentUrl + path, { method });
      await response.arrayBuffer();
      return response.status;
    } catch {
      return 0;
    }
  }

  async status(): Promise<AgentStatus | null> {
    try {
      return (await (await fetch(`${this.agentUrl}/status`)).json()) as AgentStatus;
    } catch {
      return null;
    }
  }

  /** Waits until the agent's status is as it should be. */
  untilStatus(what: string, condition: (status: AgentStatus) => boolean): Promise<AgentStatus> {
    let seen: AgentStatus | null = null;
    return waitFor({
      what: `the agent's status: ${what}`,
      deadline: patience,
      interval: 30,
      look: async () => {
        seen = await this.status();
        return seen !== null && condition(seen) ? seen : undefined;
      },
      seen: () => `${JSON.stringify(seen)}\n${this.#processes.map(({ output }) => output()).join("\n")}`,
    });
  }

  untilStarted(): Promise<AgentStatus> {
    return this.untilStatus("started", ({ started }) => started);
  }

  untilReady(): Promise<AgentStatus> {
    return this.untilStatus("ready", ({ ready }) => ready);
  }

  /** A file that agent and launcher share. */
  read<T>(name: string): T | null {
    const path = join(this.launcher, name);
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as T) : null;
  }

  /** What the kubelet would find of the agent's end. */
  get terminationMessage(): string {
    return existsSync(this.terminationLog) ? readFileSync(this.terminationLog, "utf8") : "";
  }

  /** Ends its processes. */
  async end(): Promise<void> {
    for (const { child } of this.#processes) child.kill("SIGKILL");
    await Promise.all(this.#processes.map(({ ended }) => ended.catch(() => undefined)));
  }

  async remove(): Promise<void> {
    await this.end();
    rmSync(this.root, { recursive: true, force: true });
  }
}
