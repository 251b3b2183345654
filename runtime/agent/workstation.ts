import { existsSync, lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pause } from "../bell";
import { type WorkstationPhase, type WorkstationStatus, workstationKeys } from "../deployment/workstation";
import type { Evidence, Phase } from "../instance";
import { inClusterAccess } from "../kubernetes/in-cluster";
import { incompleteReason } from "../snapshot";
import { Drain } from "./drain";
import { evidenceOf } from "./fault-evidence";
import { fillOnce, leadToModels } from "./filling";
import { Fingerprint } from "./fingerprint";
import { launcherFiles } from "./folders";
import { Journal } from "./journal";
import { writeLauncher } from "./launching";
import { isListening } from "./listening";
import type { WorkstationOptions } from "./options";
import { Relay } from "./relay";
import { Scanner } from "./scanning";
import { type Answers, serve } from "./server";
import { Telling } from "./telling";
import { ConclusiveFault, faultExitCode, noteFault, readFault } from "./termination";
import { readTold, refuseTold, untilToldToEnd } from "./told";
import { WorkstationFollower } from "./workstation-following";
import { type FillSource, fillSourceSchema, type WorkstationSpec, workstationSpecSchema } from "./workstation-spec";

/** Milliseconds between two looks at the queue, and two words of what it does. */
const queueInterval = 1_000;
/** Milliseconds between two looks whether a person has done what was missing. */
const blockedInterval = 2_000;
/** Milliseconds between two scans while nothing is known to have changed. */
const usualScanInterval = 60_000;
/** Milliseconds beyond the stop's deadline for which the agent outlives ComfyUI's end. */
const graceBeyondStop = 30_000;
/** Milliseconds that the last scan gets, and the last word: less than the pod's grace period leaves. */
const lastScanDeadline = 100_000;
const lastWordDeadline = 10_000;

/** Runs the agent of a workstation until it is told to end. Returns its exit code. */
export async function runWorkstation(options: WorkstationOptions): Promise<number> {
  let spec: WorkstationSpec;
  let source: FillSource | null;
  try {
    spec = readTold(options.workstation, workstationSpecSchema);
    source = existsSync(options.from) ? readTold(options.from, fillSourceSchema) : null;
  } catch (error) {
    return refuseTold(error, options);
  }
  return new WorkstationAgent(options, spec, source).run();
}

class WorkstationAgent {
  readonly #journal: Journal;
  readonly #life = new AbortController();
  /** Ends with the process alone: what is told last is told after everything else has ended. */
  readonly #telling: Telling | null;
  readonly #fingerprint: Fingerprint;
  readonly #scanner: Scanner;
  readonly #follower: WorkstationFollower;
  #relay: Relay | null = null;
  #started = false;
  #stopping = false;
  #blocked: string | null = null;
  #queue: number | null = null;
  #lastBusy = performance.now();
  #drain: { readonly start: number; readonly drain: Drain } | null = null;
  #fault: Evidence | null = null;

  constructor(
    private readonly options: WorkstationOptions,
    private readonly spec: WorkstationSpec,
    private readonly source: FillSource | null,
  ) {
    const { workstation, owner, layout, ports } = spec;
    const journal = new Journal(workstation);
    this.#journal = journal;
    const access = inClusterAccess(options.account);
    const end = new AbortController().signal;
    this.#telling = access && new Telling(workstation, owner, access, (message) => journal.say(message), end);
    const fingerprint = new Fingerprint(spec, options.pod, this.#telling);
    this.#fingerprint = fingerprint;
    this.#scanner = new Scanner({
      location: { root: options.environment, layout },
      // Where it never travels; on the claim, since the next pod needs it.
      index: join(options.environment, ".comfyui", "scan-index"),
      interval: options.scanInterval ?? usualScanInterval,
      progress: (message) => {
        if (!this.#started) journal.enter("waiting", `looking at the environment: ${message}`);
      },
      onBegin: () => fingerprint.scanBegins(),
      onScan: (found, at) => fingerprint.scanned(found, at),
      onFailure: (error) => {
        fingerprint.scanFailed(error);
        journal.say(
          `the environment could not be looked at: ${error instanceof Error ? error.message : String(error)}`,
        );
      },
    });
    this.#follower = new WorkstationFollower({
      ...{ workstation, port: ports.comfyui, folders: options, journal },
      hashPlugins: () => this.#hashPlugins(),
      onBooted: (plugins) => {
        this.#lastBusy = performance.now();
        fingerprint.booted(plugins);
      },
      onEnded: () => {
        this.#queue = null;
      },
    });
    this.#follower.expected = () => this.#leaving;
  }

  async run(): Promise<number> {
    const { ports } = this.spec;
    const stopped = this.#untilStopped();
    const server = await serve(this.#answers(), ports.agent, this.options.host);
    const telling = this.#keepTelling();
    try {
      this.#fault = readFault(this.options);
      if (this.#fault !== null) return await this.#remainFailed(this.#fault, stopped);
      this.#relay = await Relay.start({
        ...{ port: ports.relay, host: this.options.host, to: ports.comfyui },
        absence: () =>
          `The workstation does not answer yet: ${[this.#phase, this.#journal.detail].filter(Boolean).join(", ")}`,
      });
      await Promise.race([this.#live(), stopped]);
      await stopped;
      await this.#untilComfyUIEnded();
      await this.#lastLook();
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
      await telling;
      await this.#telling?.told(lastWordDeadline);
      this.#relay?.close();
      server.closeAllConnections();
      server.close();
    }
  }

  async #live(): Promise<void> {
    const { signal } = this.#life;
    let phase: Phase = "restoring";
    try {
      mkdirSync(join(this.options.launcher, "agent"), { recursive: true, mode: 0o700 });
      process.env.XDG_CACHE_HOME ??= launcherFiles(this.options).cache;
      await this.#fingerprint.recall();
      await this.#untilComplete(signal);
      phase = "waiting";
      // What an earlier pod told last must not be taken for what is there while ComfyUI runs.
      this.#fingerprint.running = true;
      await this.#scanner.fresh(signal).catch(() => signal.throwIfAborted());
      await this.#telling?.told(lastWordDeadline);
      this.#writeLauncher();
    } catch (error) {
      if (signal.aborted) return;
      throw new ConclusiveFault(evidenceOf(this.spec.workstation, phase, error));
    }
    this.#started = true;
    this.#journal.say("the environment is there; ComfyUI may start");
    await Promise.all([
      this.#follower.run(signal),
      this.#watchQueue(signal),
      this.#scanner.run(signal),
      this.#watchUse(signal),
    ]);
  }

  /** Waits until there is an environment that can be started: filled, or made by a person. */
  async #untilComplete(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.source !== null) await fillOnce(this.source, this.spec, this.options, this.#journal, signal);
      this.#blocked = this.#whatIsMissing() ?? leadToModels(this.spec, this.options);
      if (this.#blocked === null) return;
      this.#journal.enter("waiting", this.#blocked);
      await pause(blockedInterval, signal);
    }
    signal.throwIfAborted();
  }

  #whatIsMissing(): string | null {
    const { environment: root } = this.options;
    const { layout } = this.spec;
    const incomplete = incompleteReason(root);
    if (incomplete !== null) return incomplete;
    for (const path of [join(layout.comfyui, "main.py"), join(layout.dependencies, "bin", "python")]) {
      // The interpreter itself is in ComfyUI's image, not in the agent's: its link has to be there.
      if (lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined) continue;
      return `the claim has no complete environment: ${path} is missing. Declare from: a snapshot for a new claim, or bring the environment there`;
    }
    return null;
  }

  #writeLauncher(): void {
    const { environment: root } = this.options;
    const { layout, ports } = this.spec;
    writeLauncher(
      {
        ...{ location: { root, layout }, python: join(root, layout.dependencies, "bin", "python") },
        // The way in is the relay, which knows when somebody comes.
        ...{ listen: ["127.0.0.1"], port: ports.comfyui, ownFolders: false },
        arguments: this.spec.arguments,
      },
      this.options,
    );
  }

  /** A workstation starts also when its plugins cannot be read: their records then tell of no content. */
  async #hashPlugins(): Promise<Readonly<Record<string, string>>> {
    try {
      return (await this.#scanner.fresh(this.#life.signal)).pluginHashes;
    } catch {
      return {};
    }
  }

  /** Another attempt would come to the same, so nothing is done: the evidence is there for whoever asks. */
  async #remainFailed(fault: Evidence, stopped: Promise<void>): Promise<number> {
    this.#journal.evidence = fault;
    this.#started = existsSync(launcherFiles(this.options).start);
    this.#journal.enter("failed", `${fault.reason} (noted by an earlier agent of this pod; nothing is tried again)`);
    await stopped;
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
    const deadline = performance.now() + (this.options.grace ?? this.spec.stopDeadline + graceBeyondStop);
    while (this.#follower.running && performance.now() < deadline) {
      if (!(await isListening(this.spec.ports.comfyui))) return;
      await pause(200, this.#life.signal);
    }
  }

  /** Tells what the claim holds now that nothing writes there any more. */
  async #lastLook(): Promise<void> {
    if (!this.#started) return;
    this.#journal.enter("draining", "looking at the environment once more");
    this.#fingerprint.running = false;
    try {
      await this.#scanner.fresh(AbortSignal.timeout(lastScanDeadline));
    } catch {
      // It has been told as the fingerprint's problem, but for a time-out.
      this.#fingerprint.running = true;
    }
  }

  async #watchQueue(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#note(this.#follower.booted ? await this.#follower.queueRemaining() : null);
      await pause(queueInterval, signal);
    }
  }

  #note(queue: number | null): number | null {
    this.#queue = queue;
    if (queue !== 0) this.#lastBusy = performance.now();
    return queue;
  }

  /** Stops it when nobody uses it: without a prompt and without a request for as long as is declared. */
  async #watchUse(signal: AbortSignal): Promise<void> {
    const { idleStop } = this.spec;
    const telling = this.#telling;
    if (idleStop === null || telling === null) return;
    while (!signal.aborted) {
      const since = Math.max(this.#lastBusy, this.#relay?.lastActivity ?? 0);
      const idle = performance.now() - since;
      if (idle < idleStop || !this.#follower.booted || this.#leaving) {
        await pause(Math.max(100, Math.min(idleStop - idle, 10_000)), signal);
        continue;
      }
      try {
        await telling.told(lastWordDeadline);
        if (this.#note(await this.#follower.queueRemaining()) !== 0) continue;
        this.#journal.say("nobody has used it for as long as idleStop says: it stops");
        await telling.stopIdle(new Date(Date.now() - idle).toISOString());
        return;
      } catch (error) {
        this.#journal.say(`it could not stop itself: ${(error as Error).message}`);
        await pause(10_000, signal);
      }
    }
  }

  /** Tells what it does whenever that changes, until it ends. */
  async #keepTelling(): Promise<void> {
    const { signal } = this.#life;
    for (;;) {
      this.#telling?.tell(workstationKeys.status, this.#status());
      if (signal.aborted) return;
      await pause(500, signal);
    }
  }

  get #leaving(): boolean {
    return this.#stopping || (this.#drain !== null && this.#drain.start === this.#follower.start);
  }

  get #ready(): boolean {
    return this.#follower.booted && !this.#leaving && this.#fault === null;
  }

  get #phase(): WorkstationPhase {
    const { phase } = this.#journal;
    const names = { proven: "running", draining: "stopping" } as const;
    if (phase === "proven" || phase === "draining") return names[phase];
    return phase === "restoring" || phase === "waiting" || phase === "failed" ? phase : "booting";
  }

  #answers(): Answers {
    return {
      status: () => Promise.resolve(this.#status()),
      started: () => this.#started,
      ready: () => this.#ready,
      live: () => true,
      drain: () => this.#drained(),
      release: () => Promise.resolve(true),
      keep: () => undefined,
    };
  }

  /** Fulfilled once its prompts have ended, or the stop's deadline has come. */
  async #drained(): Promise<void> {
    const follower = this.#follower;
    if (this.#fault !== null || !follower.booted) return;
    const { start } = follower;
    if (this.#drain?.start !== start) {
      const drain = new Drain(
        {
          deadline: this.spec.stopDeadline,
          unheard: 0,
          queueRemaining: async () => this.#note(await follower.queueRemaining()),
          holdsWork: () => follower.start === start && follower.booted,
          report: (detail) => this.#journal.enter("draining", detail),
        },
        () => true,
        this.#life.signal,
      );
      this.#drain = { start, drain };
      this.#journal.enter("draining");
      void drain.done.then((how) =>
        this.#journal.say(
          how === "drained" ? "its prompts have ended" : "the stop's deadline has come: what runs is lost",
        ),
      );
    }
    await this.#drain.drain.done;
  }

  #status(): WorkstationStatus {
    const { detail, phaseSince, evidence } = this.#journal;
    return {
      protocol: 1,
      ...{ workstation: this.spec.workstation, pod: this.options.pod },
      ...{ phase: this.#phase, detail, phaseSince, blocked: this.#blocked },
      ...{ start: this.#follower.start, queueRemaining: this.#queue, evidence },
    };
  }
}
