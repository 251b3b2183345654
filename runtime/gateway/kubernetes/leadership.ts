import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { KubernetesApi } from "../../kubernetes/api";
import { type OpenGateway, openGateway } from "../gateway";
import type { Instance } from "../instance";
import type { Log } from "../log";
import { NotLeadingError } from "../not-leading";
import { gatewayStatus } from "../status";
import { AdoptedPrompts } from "./adopted-prompts";
import type { ClusterView } from "./cluster-view";
import type { Followers } from "./followers";
import { PodWords } from "./pod-words";
import { SpoolJournal } from "./spool-journal";
import { StatusObject } from "./status-object";

/** Milliseconds between two looks at what is to be told, and between two writes of the status. */
const dutyInterval = 200;
const statusInterval = 1_000;

/** Milliseconds for which the answer to an upload waits for the upload's copies. */
const longestCopy = 2_000;

export interface LeadershipOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly service: string;
  readonly pod: string;
  readonly folder: string;
  readonly view: ClusterView;
  readonly followers: Followers;
  readonly leads: () => boolean;
  readonly log: Log;
}

/** The time in which this gateway leads: the gateway itself, and what only a leader does. */
export class Leadership {
  private readonly stopped = new AbortController();
  private duties: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: LeadershipOptions,
    readonly gateway: OpenGateway,
    readonly journal: SpoolJournal,
    private readonly adopted: AdoptedPrompts,
  ) {}

  static async begin(options: LeadershipOptions): Promise<Leadership> {
    const { folder, view, leads, log, followers } = options;
    followers.reset();
    const journal = await SpoolJournal.of(join(folder, "spool"));
    // Version of the journal at which an instance needed nothing for the first time.
    const settledAt = new WeakMap<Instance, number>();
    let adopted: AdoptedPrompts | null = null;
    const gateway = await openGateway({
      folder,
      source: view.source(),
      spoolChanges: journal,
      safe: (instance) => {
        if (adopted?.knows(instance) !== true) return false;
        const version = settledAt.get(instance) ?? journal.version;
        settledAt.set(instance, version);
        // What was kept of it is among what there was when it first needed nothing.
        return followers.haveCopied(version);
      },
      afterUpload: async () => {
        const { version } = journal;
        const end = performance.now() + longestCopy;
        while (!followers.haveCopied(version) && performance.now() < end) await delay(5);
      },
      beforePrompt: () => {
        if (!leads()) throw new NotLeadingError();
      },
      log,
    });
    adopted = new AdoptedPrompts(gateway.parts);
    const leadership = new Leadership(options, gateway, journal, adopted);
    leadership.duties = leadership.doDuties();
    return leadership;
  }

  /** Ends what a leader does, and what it keeps; requests under way go on. */
  async end(): Promise<void> {
    this.stopped.abort();
    this.adopted.close();
    await this.duties;
    await this.gateway.stop();
  }

  private async doDuties(): Promise<void> {
    const { api, namespace, service, pod, view, followers, leads, log } = this.options;
    const { fleet, ledger, sessions, safe } = this.gateway.parts;
    const words = new PodWords({ api, namespace, leads, log });
    const object = new StatusObject({ api, namespace, service });
    let statusAt = Number.NEGATIVE_INFINITY;
    let lastProblem = "";
    while (!this.stopped.signal.aborted) {
      if (leads()) {
        followers.forget();
        const status = gatewayStatus(fleet, ledger, sessions.openSockets, safe);
        words.tell(view.instances, status.instances);
        if (performance.now() - statusAt >= statusInterval) {
          statusAt = performance.now();
          try {
            await object.write({ ...status, leader: pod }, leads);
            lastProblem = "";
          } catch (error) {
            const { message } = error as Error;
            if (message !== lastProblem) log(`the status cannot be written at the moment: ${message}`);
            lastProblem = message;
          }
        }
      }
      await delay(dutyInterval, undefined, { signal: this.stopped.signal, ref: false }).catch(() => {});
    }
  }
}
