import { formatCount, type Pace } from "./pace";
import { RestoreWorkers, type ThreadChoice } from "./restore-workers";
import { type LookAtEntries, type Looks, lookFields } from "./threads/look";

/** Entries of one task. */
const entriesAtOnce = 2048;
/** Milliseconds of one thread for an entry. */
const perEntry = 0.008;

/** Gives, for the number of a path, the looks that have it and where it begins there. */
export type LookedAt = (number: number) => readonly [looks: Looks, at: number];

/** Looks at entries of a folder. Must be closed. */
export class EntryLooks {
  readonly #folder: string;
  readonly #workers: RestoreWorkers;
  /** Those that were begun early. */
  readonly #early: Promise<Looks>[] = [];

  /**
   * `expected`: paths that will be there most likely. Threads start at once where they are of use, and look at them while there is something
   * else to do. `sameBefore`: as {@link LookAtEntries} has it.
   */
  constructor(folder: string, expected: readonly string[], sameBefore: number, choice: ThreadChoice) {
    this.#folder = folder;
    this.#workers = new RestoreWorkers(expected.length * perEntry, choice);
    if (this.#workers.inThreads) this.#early = this.#begin(expected, sameBefore);
  }

  /** What was seen of the paths that were expected; null where that was not looked at yet. */
  async early(pace: Pace): Promise<LookedAt | null> {
    return this.#early.length === 0 ? null : this.#ended(this.#early, pace);
  }

  async at(paths: readonly string[], pace: Pace): Promise<LookedAt> {
    if (this.#workers.inThreads) return this.#ended(this.#begin(paths, 0), pace);
    const batches: Promise<Looks>[] = [];
    for (let from = 0; from < paths.length; from += entriesAtOnce) {
      batches.push(...this.#begin(paths.slice(from, from + entriesAtOnce), 0));
      await pace.rest(() => describe(from));
    }
    return this.#ended(batches, pace);
  }

  close(): Promise<void> {
    return this.#workers.close();
  }

  #begin(paths: readonly string[], sameBefore: number): Promise<Looks>[] {
    const batches: Promise<Looks>[] = [];
    for (let from = 0; from < paths.length; from += entriesAtOnce) {
      const some = paths.slice(from, from + entriesAtOnce).join("\0");
      const batch = this.#workers.run("look-at-entries", { folder: this.#folder, paths: some, sameBefore });
      // Whoever needs it meets the error.
      batch.catch(() => undefined);
      batches.push(batch);
    }
    return batches;
  }

  async #ended(batches: readonly Promise<Looks>[], pace: Pace): Promise<LookedAt> {
    const looks: Looks[] = [];
    for (const batch of batches) {
      looks.push(await batch);
      pace.check(() => describe(looks.length * entriesAtOnce));
    }
    return (number) => {
      const found = looks[Math.floor(number / entriesAtOnce)];
      if (found === undefined) throw new Error(`entry ${number} was not looked at`);
      return [found, (number % entriesAtOnce) * lookFields];
    };
  }
}

function describe(count: number): string {
  return `looked at ${formatCount(count, "files")}`;
}
