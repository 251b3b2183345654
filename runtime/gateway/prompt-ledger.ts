import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { replaceFile } from "./atomic-file";
import type { Instance } from "./instance";
import type { Log } from "./log";
import { type SpoolChanges, unwatched } from "./spool-changes";

const notedEntry = z.object({
  id: z.string(),
  instance: z.object({ id: z.string(), release: z.string(), url: z.url({ protocol: /^https?$/ }), epoch: z.number() }),
  /** `client_id` of the request, by which the instance addresses messages; null when it named none. */
  clientId: z.string().nullable(),
  /** Affinity keys of the client. */
  clients: z.array(z.string()).readonly(),
});
/** The request as the client sent it, which an error record repeats. It is large, so it is in the file only. */
const storedEntry = notedEntry.extend({ request: z.string() });

/** A prompt that an instance has or is being given, until its result is kept. */
export interface PromptEntry extends z.infer<typeof notedEntry> {
  state: "submitting" | "outstanding" | "ended";
  /** Its place in the instance's queue, once it was accepted. */
  number: number | null;
  /** Milliseconds since 1970; null before. */
  acceptedAt: number | null;
  /** A client asked for its removal from the queue or the history: when its instance has it no more, that is no loss. */
  removed: boolean;
  /** Its history record, from when it was first seen until the result is kept. */
  record: string | null;
  /** On the clock of `performance.now()`: since when its instance says that it does not know it. */
  absentSince: number | null;
  /** Why its history could not be read when it was last asked for. */
  unreadable: string | null;
  /** How often its result could not be read or copied though the instance answers. */
  failures: number;
}

const fresh = {
  state: "submitting",
  number: null,
  acceptedAt: null,
  removed: false,
  record: null,
  absentSince: null,
  unreadable: null,
  failures: 0,
} as const;

/**
 * Which prompt is on which process. Each entry is also a file, so that after the gateway's own restart results are still
 * collected, and prompts of a process that went meanwhile are still reported as failed.
 */
export class PromptLedger {
  private readonly entries = new Map<string, PromptEntry>();
  /** The last write of each prompt's file: writes of one prompt must not overtake each other. */
  private readonly writes = new Map<string, Promise<void>>();
  /** Requests of prompts that could not be written down. */
  private readonly unwritten = new Map<string, string>();

  private constructor(
    private readonly folder: string,
    private readonly log: Log,
    private readonly changes: SpoolChanges,
  ) {}

  static async open(spool: string, log: Log, changes: SpoolChanges = unwatched): Promise<PromptLedger> {
    const ledger = new PromptLedger(join(spool, "prompts"), log, changes);
    await mkdir(ledger.folder, { recursive: true });
    for (const name of await readdir(ledger.folder)) {
      if (name.endsWith(".tmp")) {
        // Of a note that was never made: its prompt was not sent either. As a note, it would outlive the prompt's own.
        await rm(join(ledger.folder, name), { force: true });
        continue;
      }
      try {
        const { request: _, ...stored } = storedEntry.parse(
          JSON.parse(await readFile(join(ledger.folder, name), "utf8")),
        );
        // Whether it was accepted, and has ended meanwhile, its instance will say.
        ledger.entries.set(stored.id, { ...stored, ...fresh, state: "outstanding", acceptedAt: 0 });
      } catch (error) {
        log(`a damaged note of a prompt is removed: ${name}: ${(error as Error).message}`);
        await rm(join(ledger.folder, name), { recursive: true, force: true });
      }
    }
    return ledger;
  }

  get(id: string): PromptEntry | undefined {
    return this.entries.get(id);
  }

  all(): readonly PromptEntry[] {
    return [...this.entries.values()];
  }

  /** What a process holds: prompts on their way to it, in its queue, and ended ones whose result is not kept yet. */
  heldBy({ id, epoch }: Pick<Instance, "id" | "epoch">): readonly PromptEntry[] {
    return this.all().filter(({ instance }) => instance.id === id && instance.epoch === epoch);
  }

  /** Prompts of a client that have not ended. */
  waitingOf(clients: readonly string[]): readonly PromptEntry[] {
    return this.all().filter((entry) => entry.state !== "ended" && entry.clients.some((key) => clients.includes(key)));
  }

  /**
   * Notes that a prompt is about to be sent to an instance; an earlier note of the same prompt is replaced. A prompt is not
   * refused because its note cannot be written: it is then known until the gateway's restart.
   */
  async submit(
    { request, ...prompt }: Pick<PromptEntry, "id" | "clientId" | "clients"> & { readonly request: string },
    { id, release, url, epoch }: Instance,
  ): Promise<PromptEntry> {
    const noted = { ...prompt, instance: { id, release, url: url.href, epoch } };
    const entry: PromptEntry = { ...noted, ...fresh };
    this.entries.set(entry.id, entry);
    const stored: z.infer<typeof storedEntry> = { ...noted, request };
    try {
      await this.write(entry.id, () => replaceFile(this.path(entry.id), JSON.stringify(stored)));
      this.changes.put("prompts", basename(this.path(entry.id)));
      this.unwritten.delete(entry.id);
    } catch (error) {
      if (this.unwritten.size === 0) this.log(`prompts cannot be noted at the moment: ${(error as Error).message}`);
      this.unwritten.set(entry.id, request);
    }
    return entry;
  }

  /** The request of a prompt as its client sent it; an empty one when it cannot be read any more. */
  async requestOf(entry: PromptEntry): Promise<string> {
    const unwritten = this.unwritten.get(entry.id);
    if (unwritten !== undefined) return unwritten;
    try {
      return storedEntry.parse(JSON.parse(await readFile(this.path(entry.id), "utf8"))).request;
    } catch (error) {
      this.log(`the request of prompt ${entry.id} cannot be read: ${(error as Error).message}`);
      return "{}";
    }
  }

  accept(entry: PromptEntry, number: number | null): void {
    entry.state = "outstanding";
    entry.number = number;
    entry.acceptedAt = Date.now();
  }

  /** Notes a prompt that an instance was found to have. Its request is what the instance says of it. */
  async adopt(
    prompt: Pick<PromptEntry, "id" | "clientId" | "clients"> & { readonly request: string },
    instance: Instance,
    number: number | null,
  ): Promise<void> {
    const entry = await this.submit(prompt, instance);
    entry.state = "outstanding";
    entry.number = number;
    entry.acceptedAt = 0;
  }

  /** Forgets a prompt: it was refused, removed from its queue, or its result is kept. */
  async drop(entry: PromptEntry): Promise<void> {
    if (this.entries.get(entry.id) !== entry) return;
    this.entries.delete(entry.id);
    this.unwritten.delete(entry.id);
    this.changes.remove("prompts", basename(this.path(entry.id)));
    await this.write(entry.id, () => rm(this.path(entry.id), { force: true }));
  }

  private async write(id: string, action: () => Promise<void>): Promise<void> {
    const next = (this.writes.get(id) ?? Promise.resolve()).then(action);
    const settled = next.catch(() => {});
    this.writes.set(id, settled);
    try {
      await next;
    } finally {
      if (this.writes.get(id) === settled) this.writes.delete(id);
    }
  }

  /** Clients choose prompt ids, so an id is no file name. */
  private path(id: string): string {
    return join(this.folder, `${createHash("sha256").update(id).digest("hex").slice(0, 40)}.json`);
  }
}
