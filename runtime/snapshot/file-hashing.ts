import { type ContentPlace, chunkSize, FileChangedError, type FileContent, FileReading } from "./content";
import type { Contents } from "./contents";
import type { Pace } from "./pace";
import type { PackUnit } from "./pack-units";
import { readInUnits } from "./read-in-units";
import { filesRequest, filesWith } from "./small-files";
import type { StatIndex } from "./stat-index";
import type { InOrder } from "./threads/in-order";
import type { Slot } from "./threads/pack-memory";
import type { PackWorkers } from "./threads/pack-workers";
import type { TreeEntry } from "./tree-entry";

/** Bytes of a file that a thread reads before it tells of it. */
const atOnce = 64 * 1024 * 1024;

/** Finds out what files hold that are not packed. */
export class FileHashing {
  /** Bytes that were read. */
  bytesRead = 0;
  readonly #place: ContentPlace;
  readonly #index: StatIndex;
  readonly #contents: Contents;
  readonly #workers: PackWorkers;
  readonly #pace: Pace;
  readonly #describe: () => string;

  constructor(tools: {
    place: ContentPlace;
    index: StatIndex;
    contents: Contents;
    workers: PackWorkers;
    pace: Pace;
    describe: () => string;
  }) {
    this.#place = tools.place;
    this.#index = tools.index;
    this.#contents = tools.contents;
    this.#workers = tools.workers;
    this.#pace = tools.pace;
    this.#describe = tools.describe;
  }

  /** Returns false when the file is no longer as the walk found it. */
  async hash(entry: TreeEntry): Promise<boolean> {
    return this.#isKnown(entry) || this.#note(entry, Date.now(), await this.#hashHere(entry));
  }

  /**
   * Hashes files, several at the same time where they are many or large. Returns the paths of those that are no longer as the walk
   * found them.
   */
  async hashAll(entries: Iterable<TreeEntry>): Promise<ReadonlySet<string>> {
    const changed = new Set<string>();
    await readInUnits(entries, {
      workers: this.#workers,
      pace: this.#pace,
      describe: this.#describe,
      isDone: (entry) => this.#isKnown(entry),
      begin: (unit, results) => this.#begin(unit, results, changed),
    });
    return changed;
  }

  /** True where nothing has touched a file since it was read; what it holds is then noted. */
  #isKnown(entry: TreeEntry): boolean {
    const row = this.#index.find(entry);
    if (row !== undefined) this.#contents.set(entry.path, row);
    return row !== undefined;
  }

  async #begin(unit: PackUnit, results: InOrder, changed: Set<string>): Promise<void> {
    const slot = await this.#workers.slots.take();
    if (this.#pace.due) await this.#pace.rest(this.#describe);
    const readAt = Date.now();
    const note = (entry: TreeEntry, content: FileContent | null) => {
      if (!this.#note(entry, readAt, content)) changed.add(entry.path);
    };
    // At once, whatever is to be noted before: a very large file does not keep the others waiting.
    const give = () => this.#workers.slots.give(slot);
    if ("large" in unit) {
      const { large } = unit;
      results.add(this.#hashLarge(large, slot).finally(give), (content) => note(large, content));
      return;
    }
    const { files } = unit;
    results.add(this.#workers.run("packFiles", filesRequest(files, slot)).finally(give), (read) => {
      for (const { entry, content } of filesWith(files, read)) {
        if (content !== null) this.bytesRead += entry.stamp.size;
        note(entry, content);
      }
    });
  }

  async #hashHere(entry: TreeEntry): Promise<FileContent | null> {
    try {
      const reading = new FileReading(entry, this.#place);
      try {
        const buffer = Buffer.allocUnsafeSlow(Math.min(chunkSize, entry.stamp.size));
        for (let chunk = reading.next(buffer); chunk !== null; chunk = reading.next(buffer)) {
          this.bytesRead += chunk.length;
          if (this.#pace.due) await this.#pace.rest(this.#describe);
        }
        return reading.content;
      } finally {
        reading.close();
      }
    } catch (error) {
      if (!(error instanceof FileChangedError)) throw error;
      return null;
    }
  }

  async #hashLarge({ path, followed, stamp }: TreeEntry, slot: Slot): Promise<FileContent | null> {
    const number = this.#workers.number();
    for (let left = stamp.size; ; ) {
      const bytes = Math.min(left, atOnce);
      left -= bytes;
      const at = Array.from({ length: Math.ceil(bytes / chunkSize) }, () => slot.at);
      const file = { path, followed, stamp };
      const request = { number, file, at, last: left === 0 };
      const { isUnchanged, sha256 } = await this.#workers.run("packChunks", request, number);
      this.bytesRead += bytes;
      if (this.#pace.due) await this.#pace.rest(this.#describe);
      if (sha256 !== null) return { sha256, identity: sha256, fact: null };
      if (!isUnchanged && left === 0) return null;
    }
  }

  #note(entry: TreeEntry, readAt: number, content: FileContent | null): boolean {
    if (content === null) this.#contents.delete(entry.path);
    else this.#contents.set(entry.path, this.#index.note(entry, content, readAt));
    return content !== null;
  }
}
