import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { FillSource, WorkstationSpec } from "../../runtime/agent";
import type { WorkstationStatus } from "../../runtime/deployment";
import { defaultLayout } from "../../runtime/environment";
import { waitFor } from "../../runtime/waiting";
import { type Started, startProgram } from "./agent-processes";
import { freePort } from "./free-port";
import { patience } from "./supervisor-platform";

const bundle = resolve(__dirname, "../../dist/bundles/agent.js");

export interface WorkstationPodOptions {
  readonly spec?: Partial<WorkstationSpec>;
  readonly from?: FillSource;
  /** The claim, which outlives the pod. @default a folder of the pod's own */
  readonly claim?: string;
}

/** Where the API server is and how the agent is known there. */
export interface Account {
  readonly folder: string;
  readonly port: number;
}

/** What a workstation's pod has: folders that its containers share, and the containers as processes of this machine. */
export class WorkstationPod {
  readonly #processes: Started[] = [];

  private constructor(
    readonly root: string,
    readonly claim: string,
    readonly spec: WorkstationSpec,
  ) {}

  static async make(root: string, { spec, from, claim = join(root, "claim") }: WorkstationPodOptions = {}) {
    const pod = new WorkstationPod(root, claim, {
      workstation: "studio",
      owner: "acme/studio/dev",
      layout: defaultLayout,
      models: null,
      arguments: [],
      idleStop: null,
      stopDeadline: patience,
      ports: { comfyui: await freePort(), agent: await freePort(), relay: await freePort() },
      ...spec,
    });
    for (const folder of [claim, join(root, "own"), join(root, "launcher")]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(root, "workstation.json"), JSON.stringify(pod.spec));
    if (from !== undefined) writeFileSync(join(root, "from.json"), JSON.stringify(from));
    return pod;
  }

  /** Where a person reaches ComfyUI. */
  get url(): string {
    return `http://127.0.0.1:${this.spec.ports.relay}`;
  }
  get agentUrl(): string {
    return `http://127.0.0.1:${this.spec.ports.agent}`;
  }

  startAgent({ account, scanInterval = 500 }: { readonly account?: Account; readonly scanInterval?: number } = {}) {
    const { XDG_CACHE_HOME: _, ...inherited } = process.env;
    const { root } = this;
    const args = {
      ...{ workstation: join(root, "workstation.json"), from: join(root, "from.json"), environment: this.claim },
      ...{ own: join(root, "own"), launcher: join(root, "launcher"), account: account?.folder ?? join(root, "none") },
      ...{
        "termination-log": join(root, "termination-log"),
        host: "127.0.0.1",
        pod: `studio-workstation-${rootName(root)}`,
      },
      "scan-interval": String(scanInterval),
    };
    const parameters = Object.entries(args).flatMap(([name, value]) => [`--${name}`, value]);
    const api =
      account === undefined
        ? {}
        : { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(account.port) };
    return this.#keep(startProgram(process.execPath, [bundle, "workstation", ...parameters], { ...inherited, ...api }));
  }

  /** The launcher, as ComfyUI's container would start it. */
  startComfyUI(): Started {
    const launcher = join(this.root, "launcher");
    return this.#keep(startProgram(join(launcher, "python"), [join(launcher, "launcher.py")], process.env));
  }

  #keep(started: Started): Started {
    this.#processes.push(started);
    return started;
  }

  /** Status code of a request to the agent; 0 where it does not answer. */
  async code(path: string): Promise<number> {
    try {
      const response = await fetch(this.agentUrl + path);
      await response.arrayBuffer();
      return response.status;
    } catch {
      return 0;
    }
  }

  /** Waits until the agent's status is as it should be. */
  untilStatus(what: string, condition: (status: WorkstationStatus) => boolean): Promise<WorkstationStatus> {
    let seen: WorkstationStatus | null = null;
    return waitFor({
      what: `the agent's status: ${what}`,
      deadline: patience,
      interval: 30,
      look: async () => {
        try {
          seen = (await (await fetch(`${this.agentUrl}/status`)).json()) as WorkstationStatus;
        } catch {
          return undefined;
        }
        return condition(seen) ? seen : undefined;
      },
      seen: () => `${JSON.stringify(seen)}\n${this.#processes.map(({ output }) => output()).join("\n")}`,
    });
  }

  /** Waits until ComfyUI may be started. */
  untilStarted(): Promise<void> {
    return waitFor({
      what: "the agent to let ComfyUI start",
      deadline: patience,
      interval: 30,
      look: async () => ((await this.code("/started")) === 200 ? true : undefined),
      seen: () => this.#processes.map(({ output }) => output()).join("\n"),
    }).then(() => undefined);
  }

  /** Starts both, and waits until it runs. */
  async start(account?: Account): Promise<{ readonly agent: Started; readonly comfyui: Started }> {
    const agent = this.startAgent(account === undefined ? {} : { account });
    await this.untilStarted();
    const comfyui = this.startComfyUI();
    await this.untilStatus("running", ({ phase }) => phase === "running");
    return { agent, comfyui };
  }

  /** Ends its processes. */
  async end(): Promise<void> {
    for (const started of this.#processes) started.child.kill("SIGTERM");
    const all = Promise.all(this.#processes.map(({ ended }) => ended.catch(() => undefined)));
    const late = setTimeout(() => {
      for (const { child } of this.#processes) child.kill("SIGKILL");
    }, 15_000);
    await all;
    clearTimeout(late);
  }

  async remove(): Promise<void> {
    await this.end();
    rmSync(this.root, { recursive: true, force: true });
  }
}

const rootName = (root: string) => root.split("/").at(-1) ?? "";
