import { join } from "node:path";
import { Affinity } from "./affinity";
import { ClientSessions } from "./client-sessions";
import { Fleet } from "./fleet";
import { ForeignOrigins, type Resolve } from "./foreign-origin";
import { InputFiles } from "./input-files";
import type { Instance } from "./instance";
import { type Handler, Listener, type Shutdown } from "./listener";
import { type Log, printLog } from "./log";
import { LostPrompts } from "./lost-prompts";
import { Metrics } from "./metrics";
import type { GatewayParts } from "./parts";
import { PassThrough } from "./pass-through";
import { PromptLedger } from "./prompt-ledger";
import { QueuePoll } from "./queue-poll";
import { ResultCollector } from "./result-collector";
import { answer, upgrade } from "./router";
import { Spool } from "./spool";
import type { SpoolChanges } from "./spool-changes";
import { FolderTargetSource, type TargetSource } from "./target-source";
import type { GatewaySettings, Targets } from "./targets";
import { defaultTimeouts, type Timeouts } from "./timeouts";

/** Milliseconds between two looks for results past their retention. */
const tidyInterval = 10_000;

export interface GatewayOptions extends PartsOptions {
  /** 0: one that is free. */
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default: 3 s of grace, 30 s in all. */
  readonly shutdown?: Shutdown;
}

/** A gateway but for its listener. */
export interface PartsOptions {
  /** Holds `settings.json` and `targets.json`, and the spool. */
  readonly folder: string;
  /** Default: the two files of the folder. */
  readonly source?: TargetSource;
  /** Milliseconds for which a request is held while no instance is ready for it. Default 10 s. */
  readonly holdTimeout?: number;
  readonly timeouts?: Partial<Timeouts>;
  /** Finds what a host name stands for. Default: the system's. */
  readonly resolve?: Resolve;
  /** Is told of every change in the spool. */
  readonly spoolChanges?: SpoolChanges;
  /** Whether nothing of an instance that needs nothing any more would go with this gateway. Default: always. */
  readonly safe?: (instance: Instance) => boolean;
  /** Waited for before a kept upload is answered. Default: nothing. */
  readonly afterUpload?: () => Promise<void>;
  /** Throws when no prompt may be sent by this gateway any more. Default: never. */
  readonly beforePrompt?: () => void;
  /** Default: standard output. */
  readonly log?: Log;
}

/** A gateway that answers whoever hands it requests. */
export interface OpenGateway {
  readonly parts: GatewayParts;
  readonly handler: Handler;
  /** Closes WebSockets with 1012. */
  closeSockets(): Promise<void>;
  /** Follows its targets no longer, and keeps no more results. What is under way goes on. */
  stop(): Promise<void>;
}

export interface RunningGateway {
  /** For example `http://127.0.0.1:8188`. */
  readonly url: string;
  /** Stops accepting, finishes what is under way within the shutdown's deadline, closes WebSockets with 1012. */
  close(): Promise<void>;
}

/** Starts a gateway; returns once it listens. Fails without usable settings, or when the port is taken. */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { port, host = "127.0.0.1", log = printLog } = options;
  const shutdown = options.shutdown ?? { keepAliveGrace: 3_000, deadline: 30_000 };
  const gateway = await openGateway(options);
  const listener = new Listener(gateway.handler, { headersTimeout: gateway.parts.timeouts.head, log });
  try {
    const actualPort = await listener.listen(port, host);
    const url = urlOf(host, actualPort);
    log(`listening on ${url}`);
    return {
      url,
      close: async () => {
        log("stopping");
        await Promise.all([listener.close(shutdown), gateway.closeSockets()]);
        await gateway.stop();
        log("stopped");
      },
    };
  } catch (error) {
    await gateway.stop();
    await gateway.closeSockets();
    throw error;
  }
}

export function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Opens all of a gateway but its listener. Fails without usable settings. */
export async function openGateway(options: PartsOptions): Promise<OpenGateway> {
  const { folder, log = printLog, spoolChanges } = options;
  const source = options.source ?? new FolderTargetSource(folder);
  let settings: GatewaySettings | null = null;
  const currentSettings = (): GatewaySettings => {
    if (settings === null) throw new Error("the gateway's settings are not read yet");
    return settings;
  };
  const spoolFolder = join(folder, "spool");
  const spool = await Spool.open(spoolFolder, currentSettings, log, spoolChanges);
  const ledger = await PromptLedger.open(spoolFolder, log, spoolChanges);
  const fleet = new Fleet();
  const affinity = new Affinity();
  const metrics: Metrics = new Metrics({ fleet, ledger, spool, openSockets: () => sessions.openSockets });
  const collector: ResultCollector = new ResultCollector({
    fleet,
    ledger,
    spool,
    log,
    onEnded: (entry) => sessions.promptEnded(entry),
    onLost: (entry, reason) => lost.report(entry, reason),
  });
  const lost: LostPrompts = new LostPrompts({
    fleet,
    ledger,
    collector,
    spool,
    log,
    onLost: (entry, messages) => {
      metrics.lostPrompts.inc();
      sessions.tell(entry, messages);
    },
  });
  const sessions: ClientSessions = new ClientSessions({
    fleet,
    affinity,
    ledger,
    results: spool.results,
    onLastMessage: (entry, instance) => void collector.lookFor(entry, instance),
  });
  const poll = new QueuePoll(fleet, (instance) => void collector.look(instance));
  const parts: GatewayParts = {
    settings: currentSettings,
    origins: new ForeignOrigins(options.resolve),
    fleet,
    affinity,
    ledger,
    spool,
    sessions,
    inputs: new InputFiles(spool, fleet, log),
    passThrough: new PassThrough(() => currentSettings().maximumBodySize),
    metrics,
    log,
    holdTimeout: options.holdTimeout ?? 10_000,
    safe: options.safe ?? (() => true),
    afterUpload: options.afterUpload ?? (async () => {}),
    beforePrompt: options.beforePrompt ?? (() => {}),
    timeouts: { ...defaultTimeouts, ...options.timeouts },
  };

  const tidy = async () => {
    await spool.results.notePresent(fleet.all(), Date.now());
    await spool.tidy();
  };
  const tidyAndReport = () =>
    void tidy().catch((error: Error) => log(`the spool could not be tidied: ${error.message}`));
  const applyTargets = (targets: Targets) => {
    const { departed } = fleet.apply(targets);
    const count = (state: string) => targets.instances.filter((instance) => instance.state === state).length;
    log(
      `generation ${targets.generation}: serving ${targets.serving ?? "nothing"}, ` +
        `${count("ready")} ready and ${count("draining")} draining instances`,
    );
    for (const { id, epoch } of departed) log(`instance ${id} (start ${epoch}) is gone`);
    lost.review();
    sessions.refresh();
    tidyAndReport();
  };
  await source.start({
    settings: (value) => {
      settings = value;
    },
    targets: applyTargets,
    problem: log,
  });
  // What an earlier run left to watch for, also when there are no targets yet.
  lost.review();
  for (const { clients, instance } of ledger.all()) {
    fleet.noteServed(instance.release);
    affinity.remember(clients, instance.id);
  }
  const tidyTimer = setInterval(tidyAndReport, tidyInterval);
  return {
    parts,
    handler: {
      answer: (request, response) => answer(request, response, parts),
      upgrade: (request, socket, head) => upgrade(request, socket, head, parts),
      maximumBodySize: () => currentSettings().maximumBodySize,
    },
    closeSockets: () => sessions.close(),
    stop: async () => {
      source.close();
      clearInterval(tidyTimer);
      poll.close();
      lost.close();
      await collector.close();
    },
  };
}
