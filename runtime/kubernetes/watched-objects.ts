import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";

/** Hears of what goes wrong meanwhile. */
type Log = (line: string) => void;

import { ApiError, type KubernetesApi } from "./api";

const identified = z.object({
  metadata: z.object({ name: z.string(), uid: z.string().default(""), resourceVersion: z.string().default("") }),
});
const listed = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()),
});
const bookmark = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/** Milliseconds between attempts after failures, doubled from the first to the last. */
const pauses = { first: 250, last: 10_000 };
/** Objects of one page of a list. */
const pageSize = "500";

export interface WatchPace {
  /** Seconds after which the API server is to end a watch, so that the next one shows that it is still there. Default 30. */
  readonly watchSeconds: number;
  /** Milliseconds of silence beyond that after which a watch's connection counts as dead. Default 5 s. */
  readonly silence: number;
}

const defaultPace: WatchPace = { watchSeconds: 30, silence: 5_000 };

export interface WatchedObjectsOptions {
  readonly api: KubernetesApi;
  /** For example `/api/v1/namespaces/studio/pods`. */
  readonly path: string;
  /** `labelSelector` or `fieldSelector`. */
  readonly selector: Readonly<Record<string, string>>;
  /** Called after the first look and after every change with all objects by name. What it gets stays in force while there is no news. */
  readonly onChange: (objects: ReadonlyMap<string, unknown>) => void;
  readonly log: Log;
  readonly pace?: WatchPace;
}

/** A list of objects, kept up to date: listed once, then watched, and listed again when the watch's past is forgotten. */
export class WatchedObjects {
  private objects = new Map<string, unknown>();
  private readonly stopped = new AbortController();
  private readonly pace: WatchPace;
  private lastProblem = "";

  constructor(private readonly options: WatchedObjectsOptions) {
    this.pace = options.pace ?? defaultPace;
  }

  /** Returns after the first look; fails when the deadline comes before it, with the last failure. */
  async start(deadline: number): Promise<void> {
    const end = performance.now() + deadline;
    let version: string | null = null;
    for (let pause = pauses.first; version === null; pause *= 2) {
      try {
        version = await this.list();
      } catch (error) {
        if (performance.now() + pause > end) throw error;
        this.report(error as Error);
        await this.rest(Math.min(pause, pauses.last));
      }
    }
    void this.follow(version);
  }

  close(): void {
    this.stopped.abort();
  }

  /** What went wrong last, until a look or a watch has ended well again; empty when nothing is wrong. */
  get problem(): string {
    return this.lastProblem;
  }

  private get closed(): boolean {
    return this.stopped.signal.aborted;
  }

  private async follow(first: string): Promise<void> {
    let version: string | null = first;
    let pause = pauses.first;
    while (!this.closed) {
      try {
        if (version === null) version = await this.list();
        const started = performance.now();
        version = await this.watch(version);
        pause = pauses.first;
        // A server that ends every watch at once must not be asked without a rest.
        if (performance.now() - started < pauses.first) await this.rest(pauses.first);
      } catch (error) {
        if (this.closed) return;
        if (error instanceof ResumableError) version = error.version;
        const cause = error instanceof ResumableError ? error.cause : error;
        // 410: what came since is forgotten. Whatever else is refused may be understood after a new look.
        if (cause instanceof ApiError) version = null;
        if (cause instanceof ApiError && cause.status === 410) {
          this.options.log(`${this.options.path} is listed anew: what changed since the last look is forgotten`);
        } else {
          this.report(cause as Error);
          await this.rest(pause * (0.75 + Math.random() / 2));
          pause = Math.min(pause * 2, pauses.last);
        }
      }
    }
  }

  private async list(): Promise<string> {
    const { api, path, selector } = this.options;
    const found = new Map<string, unknown>();
    for (let next: string | undefined, version = ""; ; ) {
      const query = { ...selector, limit: pageSize, ...(next ? { continue: next } : {}) };
      const { metadata, items } = listed.parse(await api.request({ path, query }));
      for (const item of items) found.set(identified.parse(item).metadata.name, item);
      version = metadata.resourceVersion;
      next = metadata.continue || undefined;
      if (next !== undefined) continue;
      this.objects = found;
      this.lastProblem = "";
      this.options.onChange(found);
      return version;
    }
  }

  /** Returns the version from which to go on when the server has ended the watch. */
  private async watch(from: string): Promise<string> {
    const { api, path, selector, onChange } = this.options;
    const { watchSeconds, silence } = this.pace;
    let version = from;
    const query = {
      ...selector,
      resourceVersion: from,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(watchSeconds),
    };
    try {
      for await (const { type, object } of api.watch(
        path,
        query,
        watchSeconds * 1_000 + silence,
        this.stopped.signal,
      )) {
        if (this.closed) break;
        version = bookmark.parse(object).metadata.resourceVersion;
        if (type === "BOOKMARK") continue;
        const { name } = identified.parse(object).metadata;
        if (type === "DELETED") this.objects.delete(name);
        else this.objects.set(name, object);
        onChange(this.objects);
      }
      this.lastProblem = "";
      return version;
    } catch (error) {
      throw new ResumableError(version, error as Error);
    }
  }

  private report(error: Error): void {
    if (error.message !== this.lastProblem) this.options.log(`${error.message}; what is known stays in force`);
    this.lastProblem = error.message;
  }

  private async rest(milliseconds: number): Promise<void> {
    await delay(milliseconds, undefined, { signal: this.stopped.signal, ref: false }).catch(() => {});
  }
}

/** A watch ended early, and can go on after the version that it came to. */
class ResumableError extends Error {
  constructor(
    readonly version: string,
    override readonly cause: Error,
  ) {
    super(cause.message);
  }
}
