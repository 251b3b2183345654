import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { replaceFile } from "./atomic-file";
import type { Instance } from "./instance";
import type { Log } from "./log";

const storedEntry = z.object({
  id: z.string(),
  instance: z.object({ id: z.string(), release: z.string(), url: z.string(), epoch: z.number() }),
  /** `client_id` of the request, by which the instance addresses messages; null when it named none. */
  clientId: z.string().nullable(),
  /** Affinity keys of the client. */
  clients: z.array(z.string()).readonly(),
  /** The request as the client sent it: what an error record repeats. */
  request: z.string(),
});

/** A prompt that an instance has or is being given, until its result is kept. */
export interface PromptEntry extends z.infer<typeof storedEntry> {
  state: "submitting" | "outstanding" | "ended";
  /** Its place in the instance's queue, once it was accepted. */
  number: number | null;
  /** Milliseconds since 1970; null before. */
  acceptedAt: number | null;
  /** A client asked for its removal from the queue or the history: when its instance has it no more, that is no loss. */
  removed: boolean;
  /** Its history record, from when it was first seen until the result is kept. */
  record: string | null;
}

const fresh = { state: "submitting", number: null, acceptedAt: null, removed: false, record: null } as const;

/**
 * Which prompt is on which process. Each entry is also a file, so that after the gateway's own restart results are still
 * collected, and prompts of a process that went meanwhile are still reported as failed.
 */
export class PromptLedger {
  private readonly entries = new Map<string, PromptEntry>();
  /** The last write of each prompt's file: writes of one prompt must not overtake each other. */
  private readonly writes = new Map<string, Promise<void>>();

  private constructor(private readonly folder: string) {}

  static async open(spool: string, log: Log): Promise<PromptLedger> {
    const ledger = new PromptLedger(join(spool, "prompts"));
    await mkdir(ledger.folder, { recursive: true });
    for (const name of await readdir(ledger.folder)) {
      try {
        const stored = storedEntry.parse(JSON.parse(await readFile(join(ledger.folder, name), "utf8")));
        // Whether it was accepted, and has ended meanwhile, its instance will say.
        ledger.entries.set(stored.id, { ...stored, ...fresh, state: "outstanding", acceptedAt: 0 });
      } catch (error) {
        if (!name.endsWith(".tmp")) log(`a damaged note of a prompt is removed: ${name}: ${(error as Error).message}`);
        await rm(join(ledger.folder, name), { force: true });
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

  /** Notes that a prompt is about to be sent to an instance; an earlier note of the same prompt is replaced. */
  async submit(
    prompt: Pick<PromptEntry, "id" | "clientId" | "clients" | "request">,
    { id, release, url, epoch }: Instance,
  ): Promise<PromptEntry> {
    const instance = { id, release, url: url.href, epoch };
    const entry: PromptEntry = { ...prompt, ...fresh, instance };
    this.entries.set(entry.id, entry);
    const { clientId, clients, request } = entry;
    const stored: z.infer<typeof storedEntry> = { id: entry.id, instance, clientId, clients, request };
    await this.write(entry.id, () => replaceFile(this.path(entry.id), JSON.stringify(stored)));
    return entry;
  }

  accept(entry: PromptEntry, number: number | null): void {
    entry.state = "outstanding";
    entry.number = number;
    entry.acceptedAt = Date.now();
  }

  /** Forgets a prompt: it was refused, removed from its queue, or its result is kept. */
  async drop(entry: PromptEntry): Promise<void> {
    if (this.entries.get(entry.id) !== entry) return;
    this.entries.delete(entry.id);
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
