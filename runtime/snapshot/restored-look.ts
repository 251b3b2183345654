import type { ManifestEntry } from "./manifest-records";
import { formatCount, type Pace } from "./pace";
import { RestoreWorkers, type ThreadChoice } from "./restore-workers";
import { type Looks, lookFields } from "./threads/look";

/** Entries of one task. */
const entriesAtOnce = 2048;
/** Milliseconds of one thread for an entry. */
const perEntry = 0.008;

/** Looks at all entries of a folder. Must be closed. */
export class EntryLooks {
  readonly #folder: string;
  readonly #workers: RestoreWorkers;

  /** `expected` is about how many entries there will be: threads start at once, while there is something else to do. */
  constructor(folder: string, expected: number, choice: ThreadChoice) {
    this.#folder = folder;
    this.#workers = new RestoreWorkers(expected * perEntry, choice);
  }

  /** Gives, for the number of an entry, the looks that have it and where it begins there. */
  async at(entries: readonly ManifestEntry[], pace: Pace): Promise<(entry: number) => readonly [Looks, number]> {
    const describe = () => `looked at ${formatCount(looks.length * entriesAtOnce, "files")}`;
    const looks: Looks[] = [];
    const batches: Promise<unknown>[] = [];
    for (let from = 0; from < entries.length; from += entriesAtOnce) {
      const paths = entries.slice(from, from + entriesAtOnce).map(({ path }) => path);
      const number = batches.length;
      const batch = this.#workers.run("look-at-entries", { folder: this.#folder, paths: paths.join("\0") });
      batches.push(batch.then((found) => (looks[number] = found)));
      if (pace.due) await pace.rest(describe);
    }
    for (const batch of batches) {
      await batch;
      pace.check(describe);
    }
    return (entry) => {
      const found = looks[Math.floor(entry / entriesAtOnce)];
      if (found === undefined) throw new Error(`entry ${entry} was not looked at`);
      return [found, (entry % entriesAtOnce) * lookFields];
    };
  }

  close(): Promise<void> {
    return this.#workers.close();
  }
}
