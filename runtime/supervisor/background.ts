import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { EnvironmentLocation } from "../environment";
import type { StoreSettings } from "../store";
import { type Watch, waitFor } from "../waiting";
import type { RestoredEnvironment } from "./restored";

export interface RestoreTask {
  /** `<store>#sha256:<manifest digest>`. */
  readonly reference: string;
  /** What its store needs to be told. */
  readonly settings: StoreSettings;
  /** Folder of complete restores. */
  readonly cache: string;
  /** Absolute path of the environment, which does not exist yet. */
  readonly target: string;
  /** Folder that has to hold the recorded models, or null for the one that the manifest recorded. */
  readonly models: string | null;
}

export type BackgroundTask =
  | ({ readonly kind: "restore" } & RestoreTask)
  | { readonly kind: "hash-plugins"; readonly environment: EnvironmentLocation };

export type ToBackground =
  | { readonly id: number; readonly task: BackgroundTask }
  | { readonly id: number; readonly abort: true };

export type FromBackground =
  | { readonly id: number; readonly progress: string }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string };

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly progress: (message: string) => void;
}

/** Milliseconds in which a restore or scan that is given up ends; it looks far more often. */
const closeDeadline = 10_000;

/**
 * Restores and scans on a thread of their own: they read and write gigabytes synchronously, and the supervisor has to answer meanwhile.
 * One thread for all, so that instances which need the same snapshot at once share one restore.
 */
export class Background {
  private worker: Worker | undefined;
  private readonly pending = new Map<number, Pending>();
  private lastId = 0;

  /** Restores a snapshot. Fails before it writes anything when models that the snapshot needs are missing. */
  async restore(task: RestoreTask, watch: Watch): Promise<RestoredEnvironment> {
    return (await this.run({ kind: "restore", ...task }, watch)) as RestoredEnvironment;
  }

  /** Identity of each plugin's content in an environment. Reads only what changed since anybody scanned it. */
  async hashPlugins(environment: EnvironmentLocation, watch: Watch): Promise<Record<string, string>> {
    return (await this.run({ kind: "hash-plugins", environment }, watch)) as Record<string, string>;
  }

  get busy(): boolean {
    return this.pending.size > 0;
  }

  /**
   * Has what is under way given up, and ends the thread. Not in the middle of anything, if it can be helped: Node.js aborts the whole
   * process when a thread, or one that it has started, is terminated at some moments of decompression.
   */
  async close(): Promise<void> {
    const { worker } = this;
    if (worker === undefined) return;
    for (const id of this.pending.keys()) worker.postMessage({ id, abort: true } satisfies ToBackground);
    await waitFor({
      what: "restores and scans to be given up",
      deadline: closeDeadline,
      interval: 20,
      look: () => !this.busy || undefined,
    }).catch(() => undefined);
    await worker.terminate();
  }

  private run(task: BackgroundTask, { progress, signal }: Watch): Promise<unknown> {
    signal.throwIfAborted();
    const id = ++this.lastId;
    const worker = this.thread();
    const abort = () => worker.postMessage({ id, abort: true } satisfies ToBackground);
    signal.addEventListener("abort", abort, { once: true });
    return new Promise<unknown>((resolve, reject) => {
      this.pending.set(id, { resolve, reject, progress });
      worker.postMessage({ id, task } satisfies ToBackground);
    }).finally(() => {
      this.pending.delete(id);
      signal.removeEventListener("abort", abort);
    });
  }

  private thread(): Worker {
    if (this.worker) return this.worker;
    const worker = new Worker(join(__dirname, "background-worker.js"));
    worker.on("message", (message: FromBackground) => {
      const pending = this.pending.get(message.id);
      if (pending === undefined) return;
      if ("progress" in message) pending.progress(message.progress);
      else if ("error" in message) pending.reject(new Error(message.error));
      else pending.resolve(message.result);
    });
    const lost = (error: Error) => {
      // An error is followed by the exit; there may be another thread by then.
      if (this.worker !== worker) return;
      this.worker = undefined;
      for (const { reject } of this.pending.values()) reject(error);
    };
    worker.on("error", lost);
    worker.on("exit", (code) => lost(new Error(`the background thread ended with code ${code}`)));
    this.worker = worker;
    return worker;
  }
}
