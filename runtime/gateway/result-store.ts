import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { replaceFile } from "./atomic-file";
import { endOf } from "./end-of-record";
import type { FileReference } from "./json-text";
import type { Log } from "./log";
import { type SpoolChanges, unwatched } from "./spool-changes";

const keptFile = z.object({
  filename: z.string(),
  subfolder: z.string(),
  type: z.string(),
  /** Name in the result's folder. */
  name: z.string(),
  bytes: z.number(),
  contentType: z.string(),
});
export type KeptFile = z.infer<typeof keptFile>;

const keptResult = z.object({
  promptId: z.string(),
  instance: z.string(),
  epoch: z.number(),
  /** Affinity keys of the client. */
  clients: z.array(z.string()).readonly(),
  /** Milliseconds since 1970. */
  endedAt: z.number(),
  bytes: z.number(),
  files: z.array(keptFile),
  /** Whether it is the gateway's own, of a prompt that went with its instance. */
  lost: z.boolean().default(false),
});
export type KeptResult = z.infer<typeof keptResult>;

/** What outlives its instance, in age order with others under one limit. */
export interface Kept {
  readonly at: number;
  readonly bytes: number;
  readonly what: string;
  remove(): Promise<void>;
}

/** What a result's history record and files are put into before they get their place. */
export interface StagedResult {
  readonly folder: string;
  readonly files: KeptFile[];
}

/**
 * History records and output files of prompts that ended, each in a folder of its own which appears as a whole. A result
 * is kept while its instance is there, and for the retention after the instance went.
 */
export class ResultStore {
  private readonly results = new Map<string, KeptResult>();
  /** The folder of each result, by its prompt. A result that replaces another is put beside it, so that there is always one. */
  private readonly places = new Map<string, string>();
  /** Files by where a client names them; the newest result that has one counts. */
  private readonly files = new Map<string, { readonly promptId: string; readonly file: KeptFile }>();
  private departures = new Map<string, number>();
  /** Bytes of all records and files. */
  bytes = 0;

  private constructor(
    private readonly folder: string,
    private readonly incoming: string,
    private readonly changes: SpoolChanges,
  ) {}

  static async open(spool: string, log: Log, changes: SpoolChanges = unwatched): Promise<ResultStore> {
    const store = new ResultStore(join(spool, "results"), join(spool, "incoming"), changes);
    await mkdir(store.folder, { recursive: true });
    const found: { readonly place: string; readonly result: KeptResult }[] = [];
    for (const name of await readdir(store.folder)) {
      try {
        const place = join(store.folder, name);
        found.push({ place, result: keptResult.parse(JSON.parse(await readFile(join(place, "meta.json"), "utf8"))) });
      } catch (error) {
        log(`a damaged result is removed from the spool: ${name}: ${(error as Error).message}`);
        await rm(join(store.folder, name), { recursive: true, force: true });
      }
    }
    // Of two for one prompt, a kill came before the earlier one was removed. A loss is the earlier one: with its prompt's next run it goes.
    // Their times are of different clocks.
    const lostFirst = (a: KeptResult, b: KeptResult) => Number(b.lost) - Number(a.lost) || a.endedAt - b.endedAt;
    for (const { place, result } of found.sort((a, b) => lostFirst(a.result, b.result))) {
      await store.replace(place, result);
    }
    store.departures = await readDepartures(join(spool, "departures.json"));
    return store;
  }

  get count(): number {
    return this.results.size;
  }

  has(promptId: string): boolean {
    return this.results.has(promptId);
  }

  get(promptId: string): KeptResult | undefined {
    return this.results.get(promptId);
  }

  /** The oldest first. */
  all(): readonly KeptResult[] {
    return [...this.results.values()].sort((a, b) => a.endedAt - b.endedAt);
  }

  /** The history record as its instance gave it; null when it is not kept. */
  async record(promptId: string): Promise<string | null> {
    for (let place = this.places.get(promptId); place !== undefined; ) {
      try {
        return await readFile(join(place, "record.json"), "utf8");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        // It was replaced, or evicted, between the look and the read.
        const now = this.places.get(promptId);
        if (now === place) return null;
        place = now;
      }
    }
    return null;
  }

  /** Where a file of an instance is kept, or null. */
  file(instance: string, reference: FileReference): { readonly path: string; readonly file: KeptFile } | null {
    const found = this.files.get(fileKey(instance, reference));
    const place = found === undefined ? undefined : this.places.get(found.promptId);
    return found === undefined || place === undefined ? null : { path: join(place, found.file.name), file: found.file };
  }

  /** Whether anything of the instance is kept. */
  knows(instance: string): boolean {
    for (const result of this.results.values()) if (result.instance === instance) return true;
    return false;
  }

  async stage(): Promise<StagedResult> {
    const folder = join(this.incoming, randomUUID());
    await mkdir(folder, { recursive: true });
    return { folder, files: [] };
  }

  async discard({ folder }: StagedResult): Promise<void> {
    await rm(folder, { recursive: true, force: true });
  }

  /**
   * Gives a staged result its place; an earlier one of the same prompt is replaced.
   * @param isCurrent asked when it is written: a prompt may have been sent again meanwhile, and its result must not be replaced by this one.
   */
  async keep(
    { folder, files }: StagedResult,
    result: Pick<KeptResult, "promptId" | "instance" | "epoch" | "clients" | "lost">,
    record: string,
    isCurrent: () => boolean,
  ): Promise<void> {
    const bytes = files.reduce((sum, file) => sum + file.bytes, Buffer.byteLength(record));
    const kept: KeptResult = { ...result, endedAt: endOrNow(record), bytes, files };
    await writeFile(join(folder, "record.json"), record, { mode: 0o600 });
    await writeFile(join(folder, "meta.json"), JSON.stringify(kept), { mode: 0o600 });
    const place = this.newPlace(result.promptId);
    await rename(folder, place);
    if (!isCurrent()) return rm(place, { recursive: true, force: true });
    this.changes.put("results", basename(place));
    await this.replace(place, kept);
  }

  /** Removes a result that says that its prompt was lost: the prompt runs anew. */
  async removeLoss(promptId: string): Promise<void> {
    if (this.get(promptId)?.lost) await this.remove(promptId);
  }

  async remove(promptId: string): Promise<void> {
    const place = this.forget(promptId);
    if (place !== undefined) await this.removeFolder(place);
  }

  kept(): readonly Kept[] {
    return [...this.results.values()].map(({ promptId, endedAt, bytes }) => ({
      at: endedAt,
      bytes,
      what: `the result of prompt ${promptId}`,
      remove: () => this.remove(promptId),
    }));
  }

  /** Removes the oldest beyond a number, and returns how many. */
  async removeBeyond(most: number): Promise<number> {
    const beyond = this.count <= most ? [] : this.all().slice(0, this.count - most);
    for (const { promptId } of beyond) await this.remove(promptId);
    return beyond.length;
  }

  /** Notes which processes are there; the retention of the others' results runs from when they were first missed. */
  async notePresent(present: readonly { readonly id: string; readonly epoch: number }[], now: number): Promise<void> {
    const there = new Set(present.map(({ id, epoch }) => processKey(id, epoch)));
    const departures = new Map<string, number>();
    for (const { instance, epoch } of this.results.values()) {
      const key = processKey(instance, epoch);
      if (!there.has(key)) departures.set(key, this.departures.get(key) ?? now);
    }
    const changed = JSON.stringify([...departures]) !== JSON.stringify([...this.departures]);
    this.departures = departures;
    if (!changed) return;
    await replaceFile(join(this.folder, "..", "departures.json"), JSON.stringify([...departures]));
    this.changes.put("", "departures.json");
  }

  /** Removes results whose process went longer ago than the retention, and returns how many. */
  async expire(retention: number, now: number): Promise<number> {
    const old = [...this.results.values()].filter(({ instance, epoch }) => {
      const departed = this.departures.get(processKey(instance, epoch));
      return departed !== undefined && departed + retention <= now;
    });
    for (const { promptId } of old) await this.remove(promptId);
    return old.length;
  }

  /** Makes a result the one of its prompt, and only then removes the one that was. */
  private async replace(place: string, result: KeptResult): Promise<void> {
    const earlier = this.forget(result.promptId);
    this.index(place, result);
    if (earlier !== undefined) await this.removeFolder(earlier);
  }

  private async removeFolder(place: string): Promise<void> {
    this.changes.remove("results", basename(place));
    await rm(place, { recursive: true, force: true });
  }

  /** Takes a result out of the index, and returns its folder. */
  private forget(promptId: string): string | undefined {
    const result = this.results.get(promptId);
    if (result === undefined) return undefined;
    const place = this.places.get(promptId);
    this.results.delete(promptId);
    this.places.delete(promptId);
    this.bytes -= result.bytes;
    for (const file of result.files) {
      const key = fileKey(result.instance, file);
      if (this.files.get(key)?.promptId === promptId) this.files.delete(key);
    }
    return place;
  }

  private index(place: string, result: KeptResult): void {
    this.results.set(result.promptId, result);
    this.places.set(result.promptId, place);
    this.bytes += result.bytes;
    for (const file of result.files) {
      this.files.set(fileKey(result.instance, file), { promptId: result.promptId, file });
    }
  }

  /** Clients choose prompt ids, so an id is no file name. */
  private newPlace(promptId: string): string {
    const name = createHash("sha256").update(promptId).digest("hex").slice(0, 40);
    return join(this.folder, `${name}-${randomUUID()}`);
  }
}

/** Several results are copied at a time, so their age is not when their copy was complete. One that was lost has no end of its own. */
function endOrNow(record: string): number {
  try {
    return endOf(record) || Date.now();
  } catch (error) {
    if (error instanceof SyntaxError) return Date.now();
    throw error;
  }
}

function fileKey(instance: string, { type, subfolder, filename }: FileReference): string {
  return JSON.stringify([instance, type, subfolder, filename]);
}

function processKey(instance: string, epoch: number): string {
  return `${instance}#${epoch}`;
}

async function readDepartures(path: string): Promise<Map<string, number>> {
  try {
    return new Map(z.array(z.tuple([z.string(), z.number()])).parse(JSON.parse(await readFile(path, "utf8"))));
  } catch (error) {
    // Written as a whole, so it is either not there or somebody else's; the retention then starts anew.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") await rm(path, { force: true });
    return new Map();
  }
}
