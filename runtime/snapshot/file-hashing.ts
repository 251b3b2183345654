import { type ContentPlace, chunkSize, FileChangedError, type FileContent, FileReading } from "./content";
import type { Contents } from "./contents";
import type { Pace } from "./pace";
import type { StatIndex } from "./stat-index";
import type { PackWorkers } from "./threads/pack-workers";
import type { TreeEntry } from "./tree-entry";

/** Bytes of a file that a thread reads before it tells of it. */
const atOnce = 64 * 1024 * 1024;
/** Bytes of a file below which a thread is not started for it. */
const smallForThreads = 4 * 1024 * 1024;

/** Finds out what files hold that are not packed. */
export class FileHashing {
  readonly #place: ContentPlace;
  readonly #index: StatIndex;
  readonly #contents: Contents;
  readonly #workers: PackWorkers;
  readonly #pace: Pace;
  readonly #describe: () => string;
  readonly #read: (bytes: number) => void;

  constructor(tools: {
    place: ContentPlace;
    index: StatIndex;
    contents: Contents;
    workers: PackWorkers;
    pace: Pace;
    describe: () => string;
    /** Gets to know how many bytes were read. */
    read: (bytes: number) => void;
  }) {
    this.#place = tools.place;
    this.#index = tools.index;
    this.#contents = tools.contents;
    this.#workers = tools.workers;
    this.#pace = tools.pace;
    this.#describe = tools.describe;
    this.#read = tools.read;
  }

  /** Returns false when the file is no longer as the walk found it. */
  async hash(entry: TreeEntry): Promise<boolean> {
    const row = this.#index.find(entry);
    if (row === undefined) return this.#note(entry, Date.now(), await this.#hashHere(entry));
    this.#contents.set(entry.path, row);
    return true;
  }

  /** Hashes files, several at the same time. Returns the paths of those that are no longer as the walk found them. */
  async hashAll(entries: Iterable<TreeEntry>): Promise<ReadonlySet<string>> {
    const changed = new Set<string>();
    const large: TreeEntry[] = [];
    for (const entry of entries) {
      if (this.#index.find(entry) === undefined && entry.stamp.size > smallForThreads) large.push(entry);
      else if (!(await this.hash(entry))) changed.add(entry.path);
    }
    if (large.length === 0) return changed;
    this.#workers.start();
    const next = large.values();
    const hashing = Array.from({ length: Math.min(large.length, this.#workers.threads) }, async () => {
      for (const entry of next) {
        const readAt = Date.now();
        if (!this.#note(entry, readAt, await this.#hashInThread(entry))) changed.add(entry.path);
      }
    });
    await Promise.race([Promise.all(hashing), this.#workers.failure]);
    return changed;
  }

  async #hashHere(entry: TreeEntry): Promise<FileContent | null> {
    try {
      const reading = new FileReading(entry, this.#place);
      try {
        const buffer = Buffer.allocUnsafeSlow(Math.min(chunkSize, entry.stamp.size));
        for (let chunk = reading.next(buffer); chunk !== null; chunk = reading.next(buffer)) {
          this.#read(chunk.length);
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

  async #hashInThread({ path, followed, stamp }: TreeEntry): Promise<FileContent | null> {
    const number = this.#workers.number();
    const slot = await this.#workers.slots.take();
    try {
      for (let left = stamp.size; ; ) {
        const bytes = Math.min(left, atOnce);
        left -= bytes;
        const at = Array.from({ length: Math.ceil(bytes / chunkSize) }, () => slot.at);
        const file = { path, followed, stamp };
        const request = { number, file, at, last: left === 0, chunks: false };
        const { sha256, whole } = await this.#workers.run("packChunks", request, number);
        this.#read(bytes);
        if (this.#pace.due) await this.#pace.rest(this.#describe);
        if (whole !== null) return { sha256: whole, identity: whole, fact: null };
        if (sha256 === null && left === 0) return null;
      }
    } finally {
      this.#workers.slots.give(slot);
    }
  }

  #note(entry: TreeEntry, readAt: number, content: FileContent | null): boolean {
    if (content === null) this.#contents.delete(entry.path);
    else this.#contents.set(entry.path, this.#index.note(entry, content, readAt));
    return content !== null;
  }
}
