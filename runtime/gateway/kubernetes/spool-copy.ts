import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Log } from "../log";
import type { Identity } from "./identity";
import { PeerError, type Peers } from "./peer";
import { receiveContent, spoolPath } from "./spool-content";
import { namesIn, type SpoolNews } from "./spool-journal";

/** Milliseconds for which the leader holds an answer while there is no news. */
export const newsHold = 2_000;
/** Milliseconds of silence after which the leader counts as not answering. */
const silence = newsHold + 3_000;
const fetchSilence = 20_000;
const pauseAfterFailure = 250;
/** Contents that are fetched at a time. */
const fetchesAtOnce = 4;
/** Milliseconds after which everything is compared once more: what a former leader had under way may have come since. */
const secondComparison = 60_000;

/** What a leader of another version may have beside is not for this one. */
const paths = z.array(z.string()).transform((all) => all.filter((path) => spoolPath.test(path)));
const newsSchema = z.object({
  journal: z.string(),
  version: z.int().nonnegative(),
  full: z.boolean(),
  present: paths,
  gone: paths,
  /** To be repeated with the next request: the leader's clock when it answered. */
  stamp: z.number(),
});

export interface SpoolCopyOptions {
  readonly spool: string;
  readonly me: string;
  readonly peers: Peers;
  /** Who leads; null while nobody, or this gateway itself does. */
  readonly leader: () => Identity | null;
  /** Called when nothing listens at the leader's address. */
  readonly onRefused: () => void;
  readonly log: Log;
}

/** Keeps a folder the same as the leader's spool, from {@link start} to {@link stop}. */
export class SpoolCopy {
  private readonly stopped = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private journal = "";
  private version = 0;
  private stamp: number | null = null;
  private lastProblem = "";
  private following: Identity | null = null;
  /** On the clock of `performance.now()`: when the leader last answered. */
  private answeredAt = Number.NEGATIVE_INFINITY;
  private comparedAt: number | null = null;
  private compareAgain = true;
  /** Whether all that the leader had at its last answer is here. */
  complete = false;

  constructor(private readonly options: SpoolCopyOptions) {}

  start(): void {
    this.running = this.run();
  }

  /** Milliseconds since a leader last answered this gateway as such. */
  sinceAnswered({ pod, address }: Identity): number {
    const same = this.following?.pod === pod && this.following.address === address;
    return same ? performance.now() - this.answeredAt : Number.POSITIVE_INFINITY;
  }

  /** Resolves when nothing is being written any more. @param leave tells the leader not to wait for this gateway. */
  async stop(leave: boolean): Promise<void> {
    this.stopped.abort();
    await this.running;
    const leader = this.options.leader();
    if (!leave || leader === null) return;
    const { me, peers, log } = this.options;
    const query = new URLSearchParams({ follower: me, leaves: "1" });
    await peers.askJson(leader, `/_gateway/spool?${query}`, 1_000).catch((error: Error) => log(error.message));
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    const { leader, log, onRefused } = this.options;
    while (!signal.aborted) {
      const to = leader();
      try {
        if (to === null) await delay(100, undefined, { signal, ref: false });
        else await this.followOnce(to);
        this.lastProblem = "";
      } catch (error) {
        if (signal.aborted) return;
        this.complete = false;
        if (error instanceof PeerError && error.refused) onRefused();
        const { message } = error as Error;
        if (message !== this.lastProblem) log(`the leader's spool cannot be followed at the moment: ${message}`);
        this.lastProblem = message;
        await delay(pauseAfterFailure, undefined, { signal, ref: false }).catch(() => {});
      }
    }
  }

  private async followOnce(to: Identity): Promise<void> {
    const { me, peers, log } = this.options;
    if (this.following?.pod !== to.pod || this.following.address !== to.address) {
      this.following = to;
      this.answeredAt = Number.NEGATIVE_INFINITY;
      this.stamp = null;
    }
    const again =
      this.compareAgain && this.comparedAt !== null && performance.now() - this.comparedAt > secondComparison;
    const query = new URLSearchParams({
      follower: me,
      journal: again ? "" : this.journal,
      version: String(again ? 0 : this.version),
      ...(this.stamp === null ? {} : { read: String(this.stamp) }),
    });
    const answer = await peers.askJson(to, `/_gateway/spool?${query}`, silence, this.stopped.signal);
    const news = newsSchema.parse(answer);
    this.answeredAt = performance.now();
    this.stamp = news.stamp;
    if (news.full) {
      await this.compare(to, news);
      if (!again) log(`the spool is a copy of the one of ${to.pod}: ${news.present.length} entries`);
      this.compareAgain = !again;
      this.comparedAt = performance.now();
    } else {
      this.complete &&= news.present.length === 0;
      for (const gone of news.gone) await rm(this.place(gone), { recursive: true, force: true });
      await this.fetch(to, news.present);
    }
    this.journal = news.journal;
    this.version = news.version;
    this.complete = true;
  }

  private async compare(to: Identity, { present }: SpoolNews): Promise<void> {
    this.complete = false;
    const wanted = new Set(present);
    const here = new Set<string>();
    for (const folder of ["results", "uploads", "prompts"]) {
      for (const name of await namesIn(this.place(folder))) {
        if (wanted.has(`${folder}/${name}`)) here.add(`${folder}/${name}`);
        else await rm(this.place(`${folder}/${name}`), { recursive: true, force: true });
      }
    }
    // Results and uploads are never changed under their name; a note of a prompt is replaced when its id is used again.
    await this.fetch(
      to,
      present.filter((path) => !here.has(path) || !/^(results|uploads)\//.test(path)),
    );
  }

  private async fetch(from: Identity, paths: readonly string[]): Promise<void> {
    const left = [...paths];
    const worker = async () => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) await this.fetchOne(from, next);
    };
    await Promise.all(Array.from({ length: fetchesAtOnce }, worker));
  }

  private async fetchOne(from: Identity, path: string): Promise<void> {
    const { peers, me, spool } = this.options;
    const query = new URLSearchParams({ follower: me, path });
    try {
      const source = await peers.ask(from, `/_gateway/spool/content?${query}`, fetchSilence, this.stopped.signal);
      await mkdir(dirname(this.place(path)), { recursive: true });
      await receiveContent(source, join(spool, "incoming", randomUUID()), this.place(path));
      this.answeredAt = performance.now();
    } catch (error) {
      // It has gone since; the next news says so.
      if (error instanceof PeerError && error.status === 404) return;
      throw error;
    }
  }

  private place(path: string): string {
    return join(this.options.spool, path);
  }
}
