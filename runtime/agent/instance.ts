import { existsSync, mkdirSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { pause } from "../bell";
import type { Evidence, Phase } from "../instance";
import { Drain } from "./drain";
import { evidenceOf } from "./fault-evidence";
import { type AgentFolders, launcherFiles } from "./folders";
import { Follower } from "./following";
import { type InstanceSpec, instanceSpecSchema } from "./instance-spec";
import { Journal } from "./journal";
import { writeLauncher } from "./launching";
import { isListening } from "./listening";
import type { InstanceOptions } from "./options";
import { interpreterOutside, restoreOnce } from "./restoring";
import { type Answers, serve } from "./server";
import type { AgentStatus } from "./status";
import { ConclusiveFault, faultExitCode, noteFault, readFault } from "./termination";
import { readTold, refuseTold, untilToldToEnd } from "./told";

/** Milliseconds without a word of any gateway after which an empty queue alone makes an instance drained. */
const usualUnheard = 30_000;
/** Milliseconds between two looks at a proven instance's queue. */
const queueInterval = 1_000;
/** Milliseconds beyond the drain's deadline for which the agent outlives ComfyUI's end. */
const graceBeyondDrain = 30_000;

/** Runs the agent of an instance until it is told to end. Returns its exit code. */
export async function runInstance(options: InstanceOptions): Promise<number> {
  let spec: InstanceSpec;
  try {
    spec = readTold(options.instance, instanceSpecSchema);
  } catch (error) {
    return refuseTold(error, options);
  }
  return new InstanceAgent(options, spec).run();
}

class InstanceAgent {
  readonly #folders: AgentFolders;
  readonly #instance: string;
  readonly #journal: Journal;
  readonly #life = new AbortController();
  #follower: Follower | null = null;
  #started = false;
  #stopping = false;
  #released = false;
  #queue: number | null = null;
  #drain: { readonly start: number; readonly drain: Drain } | null = null;
  #fault: Evidence | null = null;

  constructor(
    private readonly options: InstanceOptions,
    private readonly spec: InstanceSpec,
  ) {
    this.#folders = options;
    this.#instance = instanceId(spec, options.pod);
    this.#journal = new Journal(this.#instance);
  }

  async run(): Promise<number> {
    const stopped = this.#untilStopped();
    const server = await serve(this.#answers(), this.spec.ports.agent, this.options.host);
    try {
      this.#fault = readFault(this.#folders);
      if (this.#fault !== null) return await this.#remainFailed(this.#fault, stopped);
      await Promise.race([this.#live(), stopped]);
      await stopped;
      await this.#untilComfyUIEnded();
      return 0;
    } catch (error) {
      if (!(error instanceof ConclusiveFault)) throw error;
      this.#fault = error.evidence;
      this.#journal.evidence = error.evidence;
      this.#journal.enter("failed", error.evidence.reason);
      noteFault(error.evidence, this.options, this.#journal);
      return faultExitCode;
    } finally {
      this.#life.abort(new Error("the agent ends"));
      server.closeAllConnections();
      server.close();
    }
  }

  async #live(): Promise<void> {
    const { signal } = this.#life;
    const { spec } = this;
    let phase: Phase = "restoring";
    try {
      mkdirSync(`${this.#folders.launcher}/agent`, { recursive: true, mode: 0o700 });
      // What restores note for later ones outlives this process there.
      process.env.XDG_CACHE_HOME ??= launcherFiles(this.#folders).cache;
      const restored = await restoreOnce(spec, this.#folders, this.#journal, signal);
      phase = "waiting";
      const loopback = "127.0.0.1";
      const address = this.options.address ?? ownAddress();
      writeLauncher(
        {
          ...{ location: restored.location, python: restored.python, port: spec.ports.comfyui, ownFolders: true },
          listen: address === loopback ? [loopback] : [loopback, address],
          arguments: spec.arguments,
        },
        this.#folders,
      );
      const outside = interpreterOutside(restored.python, restored.location.root);
      const image = outside === null ? "the environment's own interpreter" : outside;
      this.#follower = new Follower({
        instance: this.#instance,
        spec,
        restored,
        folders: this.#folders,
        journal: this.#journal,
        demands: `its image has to be able to run ${image}`,
        longestSilence: this.options.longestSilence,
        lookInterval: this.options.lookInterval,
      });
    } catch (error) {
      if (signal.aborted) return;
      throw new ConclusiveFault(evidenceOf(this.#instance, phase, error));
    }
    this.#started = true;
    this.#journal.say("the environment is there; ComfyUI may start");
    this.#follower.expected = () => this.#leaving;
    this.#follower.onStart = () => {
      this.#queue = null;
      this.#released = false;
    };
    await Promise.all([this.#follower.run(signal), this.#watchQueue(this.#follower, signal)]);
  }

  /** Another attempt would come to the same, so nothing is done: the evidence is there for whoever asks. */
  async #remainFailed(fault: Evidence, stopped: Promise<void>): Promise<number> {
    this.#journal.evidence = fault;
    this.#started = existsSync(launcherFiles(this.#folders).start);
    this.#journal.enter("failed", `${fault.reason} (noted by an earlier agent of this pod; nothing is tried again)`);
    await stopped;
    // Only a container's last end is kept for those who look at the pod: it has to tell the fault as well.
    noteFault(fault, this.options, this.#journal);
    return faultExitCode;
  }

  async #untilStopped(): Promise<void> {
    await untilToldToEnd();
    this.#stopping = true;
    this.#journal.say("told to end");
  }

  /** The kubelet ends this container after ComfyUI's; others may not. */
  async #untilComfyUIEnded(): Promise<void> {
    const follower = this.#follower;
    const grace = this.options.grace ?? this.spec.drainDeadline + graceBeyondDrain;
    const deadline = performance.now() + grace;
    while (follower?.running === true && performance.now() < deadline) {
      if (!(await isListening(this.spec.ports.comfyui))) return;
      await pause(200, this.#life.signal);
    }
  }

  async #watchQueue(follower: Follower, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#note(follower.proven ? await follower.queueRemaining() : null);
      await pause(queueInterval, signal);
    }
  }

  #note(queue: number | null): number | null {
    this.#queue = queue;
    // It was given work after the gateway was done with it.
    if (queue !== null && queue > 0) this.#released = false;
    return queue;
  }

  get #draining(): boolean {
    return this.#drain !== null && this.#drain.start === (this.#follower?.start ?? 0);
  }

  get #leaving(): boolean {
    return this.#stopping || this.#draining;
  }

  #answers(): Answers {
    const { options } = this;
    return {
      status: () => Promise.resolve(this.#status()),
      started: () => this.#started,
      ready: () => this.#ready,
      live: () => this.#condemned === null,
      drain: () => this.#drained(options.unheard ?? usualUnheard),
      release: async () => {
        const queue = this.#follower?.proven === true ? this.#note(await this.#follower.queueRemaining()) : null;
        this.#released = queue === null || queue === 0;
        return this.#released;
      },
      keep: () => {
        this.#released = false;
        this.#drain?.drain.heard();
      },
    };
  }

  get #ready(): boolean {
    return this.#follower?.proven === true && this.#condemned === null && !this.#leaving && this.#fault === null;
  }

  get #condemned(): string | null {
    return this.#follower?.condemned ?? null;
  }

  async #drained(unheard: number): Promise<void> {
    const follower = this.#follower;
    // The kubelet asks also before it starts a container again that does not live: there is nothing to wait for, and nothing goes.
    if (follower === null || this.#fault !== null || follower.condemned !== null) return;
    const { start } = follower;
    if (this.#drain?.start !== start) {
      const began = new Drain(
        {
          deadline: this.spec.drainDeadline,
          unheard,
          queueRemaining: async () => this.#note(await follower.queueRemaining()),
          holdsWork: () => follower.start === start && follower.proven,
          report: (detail) => this.#journal.enter("draining", detail),
        },
        () => this.#released,
        this.#life.signal,
      );
      this.#drain = { start, drain: began };
      this.#journal.enter("draining");
      void began.done.then((how) => {
        const text = how === "drained" ? "drained" : "the drain's deadline has come; what is left is lost";
        this.#journal.enter("draining", text);
        this.#journal.say(text);
      });
    }
    await this.#drain.drain.done;
  }

  #status(): AgentStatus {
    const { phase, detail, phaseSince, evidence } = this.#journal;
    return {
      protocol: 1,
      service: this.spec.service,
      release: this.spec.release,
      instance: this.#instance,
      phase,
      detail,
      phaseSince,
      started: this.#started,
      ready: this.#ready,
      live: this.#condemned === null,
      start: this.#follower?.start ?? 0,
      queueRemaining: this.#queue,
      draining: this.#draining,
      released: this.#released,
      evidence,
    };
  }
}

/** `<release>/<what the pod's name has after the Deployment's>`; the whole name for a pod that is named otherwise. */
function instanceId({ service, release }: InstanceSpec, pod: string): string {
  const prefix = `${service}-${release}-`;
  return `${release}/${pod.startsWith(prefix) ? pod.slice(prefix.length) : pod}`;
}

/** The pod's address, where the downward API has not told it. */
function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  const outward = addresses.find(({ internal, family }) => !internal && family === "IPv4");
  return outward?.address ?? "127.0.0.1";
}
