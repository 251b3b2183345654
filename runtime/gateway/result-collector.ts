import { join } from "node:path";
import { UnansweredError } from "./ask";
import type { Fleet } from "./fleet";
import type { Instance } from "./instance";
import { download, FileRefusedError, FileTooLargeError } from "./kept-file";
import type { Log } from "./log";
import { filesOfRecord } from "./mark";
import type { PromptEntry, PromptLedger } from "./prompt-ledger";
import { lookAtHistory, lookAtQueue, UnusableAnswerError } from "./queue-look";
import type { KeptFile, StagedResult } from "./result-store";
import type { Spool } from "./spool";

/** Results of one instance that are copied at the same time where many have ended. */
const copiesAtOnce = 4;
/** How often a record or a file that an answering instance fails to give is asked for before it is done without. */
const mostAttempts = 4;
/** Milliseconds for which a prompt has to be unknown to its instance: its request may still be being read. */
const longestReading = 1_000;
/** Of this many looks one compares the whole queue, which finds prompts that were removed from it. */
const looksPerFullLook = 10;
/** A full look carries every workflow that waits, hundreds of MB in the worst case: most of the time must be without one. */
const restPerFullLook = 10;

export interface ResultCollectorParts {
  readonly fleet: Fleet;
  readonly ledger: PromptLedger;
  readonly spool: Spool;
  readonly log: Log;
  /** Called once for each prompt that its instance no longer runs or has waiting. */
  readonly onEnded: (entry: PromptEntry) => void;
  /** Called for a prompt of which there will be no result, and why. */
  readonly onLost: (entry: PromptEntry, reason: string) => Promise<void>;
}

/** Notices that prompts have ended, and copies their records and files to the spool, while their instance still runs. */
export class ResultCollector {
  /** What is under way for each process: looks and copies of one process come one after the other. */
  private readonly chains = new Map<Instance, Promise<void>>();
  private readonly looking = new Map<Instance, Promise<void>>();
  /** Results being kept, by prompt: a process that went is looked after by another watcher, which must not do it again. */
  private readonly keeping = new Map<string, Promise<void>>();
  private looks = 0;
  /** On the clock of `performance.now()`: when the next full look at a process may begin. */
  private readonly rests = new WeakMap<Instance, number>();
  private lastProblem = "";
  private closed = false;

  constructor(private readonly parts: ResultCollectorParts) {}

  /** Looks for ended prompts of an instance; joins a look that is under way. */
  look(instance: Instance): Promise<void> {
    const current = this.looking.get(instance) ?? this.lookAnew(instance).finally(() => this.looking.delete(instance));
    this.looking.set(instance, current);
    return current;
  }

  private lookAnew(instance: Instance): Promise<void> {
    return this.enqueue(instance, async () => {
      this.looks += 1;
      const waiting = this.parts.ledger
        .heldBy(instance)
        .filter(({ state }) => state === "outstanding")
        .sort((a, b) => (a.number ?? 0) - (b.number ?? 0));
      for (const entry of this.parts.ledger.heldBy(instance)) {
        if (entry.state === "ended") await this.tryCollect(entry, instance);
      }
      const [next] = await this.collectInOrder(waiting, instance);
      if (next === undefined) return;
      const left = waiting.filter(({ state }) => state === "outstanding").length;
      const missing = instance.queueRemaining !== null && instance.queueRemaining < left;
      const wanted = missing || !instance.present || this.looks % looksPerFullLook === 0;
      const started = performance.now();
      if (!wanted || started < (this.rests.get(instance) ?? 0)) return;
      await this.compare(instance);
      const ended = performance.now();
      this.rests.set(instance, ended + (ended - started) * restPerFullLook);
    });
  }

  /** Looks for one prompt of which a socket has told that it ended. */
  lookFor(entry: PromptEntry, instance: Instance): Promise<void> {
    return this.enqueue(instance, async () => {
      if (entry.state === "outstanding") await this.tryCollect(entry, instance);
    });
  }

  /** Resolves when nothing is being copied any more; nothing new begins. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.chains.values());
  }

  /**
   * Prompts mostly run in the order of their numbers: asks for the first, and for the next ones, several at a time, only when
   * all before had ended. Returns those of which it is not known.
   */
  private async collectInOrder(waiting: readonly PromptEntry[], instance: Instance): Promise<readonly PromptEntry[]> {
    for (let done = 0, batch = 1; done < waiting.length; done += batch, batch = copiesAtOnce) {
      const next = waiting.slice(done, done + batch);
      const ended = await Promise.all(next.map((entry) => this.tryCollect(entry, instance)));
      if (ended.includes(false)) return waiting.slice(done + ended.indexOf(false));
    }
    return [];
  }

  /** Compares the whole queue with what should be in it. */
  private async compare(instance: Instance): Promise<void> {
    const asked = Date.now();
    const queued = new Set((await lookAtQueue(instance)).map(({ id }) => id));
    for (const entry of this.parts.ledger.heldBy(instance)) {
      const accepted = entry.acceptedAt ?? Number.POSITIVE_INFINITY;
      if (entry.state !== "outstanding" || accepted >= asked) continue;
      if (queued.has(entry.id)) {
        entry.absentSince = null;
        continue;
      }
      if (await this.tryCollect(entry, instance)) continue;
      // Neither waiting nor running, and no result of it can be had.
      entry.absentSince ??= performance.now();
      if (performance.now() - entry.absentSince < longestReading) continue;
      if (entry.unreadable !== null) {
        entry.failures += 1;
        if (entry.failures < mostAttempts) continue;
      }
      if (entry.removed) await this.parts.ledger.drop(entry);
      else {
        const reason = entry.unreadable ?? `instance ${instance.id} no longer knows this prompt`;
        await this.parts.onLost(entry, `${reason}; run it again`);
      }
      entry.state = "ended";
      this.parts.onEnded(entry);
    }
  }

  /** Keeps the result of a prompt if it has ended, and says whether it has. What fails with one does not hold up the next. */
  private async tryCollect(entry: PromptEntry, instance: Instance): Promise<boolean> {
    try {
      const ended = await this.collect(entry, instance);
      entry.unreadable = null;
      return ended;
    } catch (error) {
      if (error instanceof UnansweredError) throw error;
      const { message } = error as Error;
      if (error instanceof UnusableAnswerError) entry.unreadable = message;
      else this.report(`the result of prompt ${entry.id} on ${instance.id} is not kept yet: ${message}`);
      return entry.state === "ended";
    }
  }

  /** Keeps the result of a prompt if it has ended, and says whether it has. */
  private async collect(entry: PromptEntry, instance: Instance): Promise<boolean> {
    entry.record ??= await lookAtHistory(instance, entry.id);
    if (entry.record === null) return false;
    if (entry.state !== "ended") {
      entry.state = "ended";
      this.parts.onEnded(entry);
    }
    await this.keep(entry, entry.record, instance);
    return true;
  }

  /**
   * Keeps what is left of a result whose process went after the prompt had ended.
   * @param successor the process that now has its id, and with it its folders.
   */
  async salvage(entry: PromptEntry, record: string, successor: Instance | undefined): Promise<void> {
    await this.keeping.get(entry.id);
    entry.failures = mostAttempts;
    await this.keep(entry, record, successor ?? null);
  }

  private keep(entry: PromptEntry, record: string, source: Instance | null): Promise<void> {
    const current =
      this.keeping.get(entry.id) ?? this.keepAnew(entry, record, source).finally(() => this.keeping.delete(entry.id));
    this.keeping.set(entry.id, current);
    return current;
  }

  private async keepAnew(entry: PromptEntry, record: string, source: Instance | null): Promise<void> {
    const { ledger, spool } = this.parts;
    // It may be kept, or removed by its client, since it was seen.
    const isCurrent = () => ledger.get(entry.id) === entry;
    if (!isCurrent()) return;
    const staged = await spool.results.stage();
    try {
      if (!(await this.copyFiles(entry, record, staged, source))) return;
      if (isCurrent()) {
        const { id: promptId, clients, instance } = entry;
        const result = { promptId, clients, instance: instance.id, epoch: instance.epoch, lost: false };
        await spool.results.keep(staged, result, record, isCurrent);
      }
      await ledger.drop(entry);
    } finally {
      await spool.results.discard(staged);
    }
    await spool.tidy();
  }

  /** Copies what a record names; false when it has to be tried again. */
  private async copyFiles(
    entry: PromptEntry,
    record: string,
    staged: StagedResult,
    source: Instance | null,
  ): Promise<boolean> {
    for (const [index, reference] of filesOfRecord(record).entries()) {
      const name = String(index);
      try {
        if (source === null) throw new Error(`${entry.instance.id} went before ${reference.filename} was copied`);
        const room = this.parts.spool.largestFile - staged.files.reduce((sum, { bytes }) => sum + bytes, 0);
        const { bytes, contentType } = await download(source, reference, join(staged.folder, name), room);
        const { filename, subfolder, type } = reference;
        const file: KeptFile = { filename, subfolder, type, name, bytes, contentType };
        staged.files.push(file);
      } catch (error) {
        // A full disk is the gateway's own trouble: the instance has the file until there is room for it.
        if (source !== null && !isOfInstance(error)) throw error;
        entry.failures += 1;
        const refused = error instanceof FileRefusedError && error.status < 500;
        const final = refused || error instanceof FileTooLargeError || entry.failures >= mostAttempts;
        if (!final && source?.present) return false;
        this.parts.log(`the result of prompt ${entry.id} is kept without a file: ${(error as Error).message}`);
      }
    }
    return true;
  }

  /** A trouble that stays, such as a full disk, is told once and not with every look. */
  private report(problem: string): void {
    if (problem !== this.lastProblem) this.parts.log(problem);
    this.lastProblem = problem;
  }

  private enqueue(instance: Instance, action: () => Promise<void>): Promise<void> {
    if (this.closed) return Promise.resolve();
    const next = (this.chains.get(instance) ?? Promise.resolve()).then(async () => {
      try {
        if (!this.closed) await action();
      } catch (error) {
        // The next look asks again; an instance that went is the business of who watches for that.
        if (!(error instanceof UnansweredError)) this.report(`${instance.id}: ${(error as Error).message}`);
      }
    });
    this.chains.set(instance, next);
    void next.then(() => {
      if (this.chains.get(instance) === next) this.chains.delete(instance);
    });
    return next;
  }
}

/** Whether an instance is to blame for a file that could not be copied. */
function isOfInstance(error: unknown): boolean {
  return [UnansweredError, FileRefusedError, FileTooLargeError].some((kind) => error instanceof kind);
}
