import { randomUUID } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { SpoolChanges, SpoolFolder } from "../spool-changes";

/** Changes that are remembered; who is further behind is given the whole list. */
const mostChanges = 20_000;

/** What of a spool is there after a version, seen from an earlier one. */
export interface SpoolNews {
  /** Of one leader's time; versions of another one mean nothing. */
  readonly journal: string;
  readonly version: number;
  /** Whether `present` is all that there is, so that everything else is to go. */
  readonly full: boolean;
  /** What appeared or was replaced, for example `results/ab12`. */
  readonly present: readonly string[];
  readonly gone: readonly string[];
}

/** What has changed in the leader's spool, so that copies can follow it. */
export class SpoolJournal implements SpoolChanges {
  readonly id = randomUUID();
  version = 0;
  private readonly present = new Set<string>();
  /** The path changed by each version from `version - changes.length + 1` on. */
  private changes: string[] = [];
  private readonly waiting = new Set<() => void>();

  /** Of a spool that nobody changes at the moment. */
  static async of(spool: string): Promise<SpoolJournal> {
    const journal = new SpoolJournal();
    for (const folder of ["results", "uploads", "prompts"] as const) {
      for (const name of await namesIn(join(spool, folder))) journal.put(folder, name);
    }
    if ((await namesIn(spool)).includes("departures.json")) journal.put("", "departures.json");
    return journal;
  }

  put(folder: SpoolFolder, name: string): void {
    this.present.add(pathOf(folder, name));
    this.note(pathOf(folder, name));
  }

  remove(folder: SpoolFolder, name: string): void {
    if (this.present.delete(pathOf(folder, name))) this.note(pathOf(folder, name));
  }

  has(path: string): boolean {
    return this.present.has(path);
  }

  since(journal: string, version: number): SpoolNews {
    const known = this.version - this.changes.length;
    const news = { journal: this.id, version: this.version };
    if (journal !== this.id || version < known || version > this.version) {
      return { ...news, full: true, present: [...this.present], gone: [] };
    }
    const changed = [...new Set(this.changes.slice(version - known))];
    return {
      ...news,
      full: false,
      present: changed.filter((path) => this.present.has(path)),
      gone: changed.filter((path) => !this.present.has(path)),
    };
  }

  /** Resolves at the next change, after some milliseconds, or when the signal is aborted. */
  nextChange(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.waiting.delete(end);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      this.waiting.add(end);
      signal.addEventListener("abort", end);
      if (signal.aborted) end();
    });
  }

  private note(path: string): void {
    this.version += 1;
    this.changes.push(path);
    if (this.changes.length > mostChanges) this.changes = this.changes.slice(mostChanges / 2);
    for (const wake of this.waiting) wake();
  }
}

function pathOf(folder: SpoolFolder, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

/** Without what is being written. */
export async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.endsWith(".tmp"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
