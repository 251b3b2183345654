import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { Bell, pause, untilAborted } from "../bell";
import { formatDuration } from "../format";
import type { GatewaySettings, GatewayStatus } from "../gateway/targets";
import { describeExit } from "../instance";
import { packageRoot } from "../package-root";
import { DeadlineError, waitFor } from "../waiting";
import { backOff } from "./back-off";
import { inheritedEnvironment } from "./comfyui-process";
import { readJson, writeJson } from "./files";
import type { ServiceFolders } from "./folders";
import { askGateway } from "./gateway-status";
import { type Journal, reasonOf } from "./journal";
import { adoptOrClear } from "./kept-process";
import { logTail } from "./process-log";
import {
  killMarked,
  type ProcessIdentity,
  processIdentity,
  type RunningProcess,
  startProcess,
  stopProcess,
} from "./processes";
import type { GatewayDeclaration } from "./protocol";
import { urlOf } from "./records";
import { RefusedError } from "./refusal";

/** Milliseconds in which a gateway that was started must answer. */
const listenDeadline = 15_000;
/** Milliseconds in which it must have applied where the traffic goes. */
const applyDeadline = 10_000;
/** Milliseconds after which a process has shown that it is not the kind that ends right away. */
const longRun = 60_000;

/** `gateway/process.json`. */
interface ProcessRecord {
  readonly process: ProcessIdentity | null;
  readonly port: number;
  readonly restarts: number;
}

const form: z.ZodType<ProcessRecord> = z.object({
  process: processIdentity.nullable(),
  port: z.int(),
  restarts: z.int().nonnegative(),
});

/** What is recorded of a gateway's process, or null. @throws when the file is not as this package writes it */
export const readProcessRecord = (folders: ServiceFolders) => readJson(folders.gatewayProcess, form);

/** Keeps the gateway's process of a service running, over the end of the supervisor. */
export class GatewayProcess {
  private readonly life = new AbortController();
  private readonly changes = new Bell();
  private readonly task: Promise<void>;
  private record: ProcessRecord;
  private running: RunningProcess | null = null;
  private runningPort: number | null = null;

  constructor(
    private readonly name: string,
    private readonly folders: ServiceFolders,
    private readonly token: string,
    /** Where it has to listen. */
    private port: number,
    private readonly journal: Journal,
  ) {
    const recorded = readProcessRecord(folders);
    this.record = recorded ?? { process: null, port, restarts: 0 };
    this.running = adoptOrClear(this.record.process, this.mark, journal);
    this.runningPort = this.running === null ? null : this.record.port;
    this.task = this.persist();
  }

  get pid(): number | null {
    return this.running?.identity.pid ?? null;
  }
  get restarts(): number {
    return this.record.restarts;
  }
  get url(): string {
    return urlOf(this.port);
  }

  /** Whether its process holds a port already. */
  holds(port: number): boolean {
    return this.running !== null && this.runningPort === port;
  }

  /** Adjusts it, and returns once it listens at its port. Starts it at once where it waited before its next start. */
  async adjust(port: number): Promise<void> {
    this.port = port;
    this.changes.ring();
    await this.until(`to answer at ${urlOf(port)}`, listenDeadline, async () => {
      const pid = this.holds(port) ? this.pid : null;
      return pid !== null && (await this.status())?.pid === pid;
    });
  }

  /** Waits until it has applied a generation of its targets. */
  untilApplied(generation: number): Promise<void> {
    const applied = async () => ((await this.status())?.generation ?? -1) >= generation;
    return this.until(`to apply generation ${generation} of its targets`, applyDeadline, applied);
  }

  async status(): Promise<GatewayStatus | null> {
    return this.running === null ? null : askGateway(this.url, this.token);
  }

  /** Ends it; fulfilled when nothing of it is left. */
  async stop(): Promise<void> {
    await this.detach();
    if (this.running !== null) await stopProcess(this.running, this.mark, "SIGTERM");
    this.running = null;
  }

  /** Stops looking after it; its process goes on. */
  async detach(): Promise<void> {
    this.life.abort();
    await this.task;
  }

  private async until(what: string, deadline: number, reached: () => Promise<boolean>): Promise<void> {
    try {
      const look = async () => (await reached()) || undefined;
      await waitFor({ what: `the gateway of ${this.name} ${what}`, deadline, interval: 50, look });
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
      const { gatewayLog } = this.folders;
      throw new RefusedError(
        "internal",
        `${error.message}; the end of ${gatewayLog}:\n${logTail(gatewayLog).join("\n")}`,
      );
    }
  }

  /** Goes on also when what happens cannot be recorded, on a full disk for example. */
  private async persist(): Promise<void> {
    const { signal } = this.life;
    while (!signal.aborted) {
      try {
        await this.keep();
      } catch (error) {
        this.journal(`gateway of ${this.name}: cannot be looked after: ${reasonOf(error)}`);
        await pause(backOff(3), AbortSignal.any([signal, this.changes.next]));
      }
    }
  }

  private async keep(): Promise<void> {
    const { signal } = this.life;
    let failures = 0;
    while (!signal.aborted) {
      const change = this.changes.next;
      if (this.running !== null && this.runningPort !== this.port) {
        await stopProcess(this.running, this.mark, "SIGTERM");
        this.running = null;
        failures = 0;
      }
      const started = performance.now();
      const end = await this.runUntil(AbortSignal.any([signal, change]));
      if (end === null || signal.aborted) continue;
      this.running = null;
      failures = performance.now() - started >= longRun ? 1 : failures + 1;
      this.journal(`gateway of ${this.name}: ${end}; it is started again in ${formatDuration(backOff(failures))}`);
      await pause(backOff(failures), AbortSignal.any([signal, this.changes.next]));
      this.save({ restarts: this.record.restarts + 1 });
    }
  }

  /** Why it ended, or null when the signal came first. */
  private async runUntil(signal: AbortSignal): Promise<string | null> {
    try {
      this.running ??= await this.launch();
    } catch (error) {
      // Its start may have come so far that it holds the port.
      killMarked(this.mark);
      return `it could not be started: ${reasonOf(error)}`;
    }
    const exit = await Promise.race([this.running.exited, untilAborted(signal)]);
    return exit === undefined ? null : describeExit(exit);
  }

  private async launch(): Promise<RunningProcess> {
    const program = join(packageRoot(), "dist", "bundles", "gateway.js");
    if (!existsSync(program)) throw new Error(`${program} is missing: run "npm run build" in ${packageRoot()}`);
    const { port } = this;
    this.save({ process: null, port });
    const running = await startProcess({
      command: process.execPath,
      arguments: [program, "--folder", this.folders.gateway, "--port", String(port)],
      environment: inheritedEnvironment(),
      folder: this.folders.gateway,
      log: this.folders.gatewayLog,
      mark: this.mark,
    });
    this.runningPort = port;
    this.save({ process: running.identity });
    this.journal(`gateway of ${this.name}: process ${running.identity.pid} starts at ${urlOf(port)}`);
    return running;
  }

  private get mark(): string {
    return this.folders.gateway;
  }

  private save(change: Partial<ProcessRecord>): void {
    const record = { ...this.record, ...change };
    writeJson(this.folders.gatewayProcess, record);
    this.record = record;
  }
}

/** Writes what a gateway is set to; a running one reads it again. */
export function writeGatewaySettings(folders: ServiceFolders, declaration: GatewayDeclaration, token: string): void {
  const { apiKeyHashes, maximumBodySize, resultRetention, maximumSpoolSize } = declaration;
  writeJson(folders.gatewaySettings, {
    apiKeyHashes,
    deployerTokenHash: createHash("sha256").update(token).digest("hex"),
    maximumBodySize,
    resultRetention,
    maximumSpoolSize,
  } satisfies GatewaySettings);
}
