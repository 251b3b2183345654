import { type ContentPlace, chunkSize, type FileContent } from "./content";
import { Contents } from "./contents";
import { DigestTable } from "./digest-table";
import type { EntryTable } from "./entry-table";
import { FileHashing } from "./file-hashing";
import type { KnownContent } from "./known-content";
import type { Pace } from "./pace";
import type { PackUnit } from "./pack-units";
import type { PackWriter, Part } from "./pack-writer";
import { readInUnits } from "./read-in-units";
import { filesRequest, filesWith } from "./small-files";
import type { StatIndex } from "./stat-index";
import type { InOrder } from "./threads/in-order";
import type { Slot } from "./threads/pack-memory";
import type { ChunksRead, FilesRead } from "./threads/pack-tasks";
import type { PackWorkers } from "./threads/pack-workers";
import type { TreeEntry } from "./tree-entry";

/** Chunks of a large file that are read at once. */
const chunksAtOnce = 4;

/** A large file that is being read. */
interface Reading {
  readonly entry: TreeEntry;
  readonly readAt: number;
  /** Chunks that were read. */
  chunks: number;
  /** Where those are that were compressed. */
  readonly parts: Part[];
}

/**
 * Brings files into the store as far as it lacks them, and notes what each holds and where that is. Files are read and compressed by
 * workers, ahead of what is decided here in the files' order.
 */
export class Packer {
  readonly contents: Contents;
  #bytesPacked = 0;
  /** Paths of files whose bytes are counted already, as read. */
  readonly #hashedAhead = new Set<string>();
  readonly #index: StatIndex;
  readonly #known: KnownContent;
  readonly #writer: PackWriter;
  readonly #workers: PackWorkers;
  readonly #pace: Pace;
  readonly #describe: () => string;
  readonly #signal: AbortSignal | undefined;
  readonly #hashing: FileHashing;
  /** What was packed by this run: the content of a row is in the parts of the same number. */
  readonly #packed = new DigestTable();
  readonly #parts: (Part | readonly Part[])[] = [];

  constructor(tools: {
    place: ContentPlace;
    index: StatIndex;
    known: KnownContent;
    writer: PackWriter;
    workers: PackWorkers;
    pace: Pace;
    describe: () => string;
    /** Ends a wait for the workers; {@link Pace} looks at it otherwise. */
    signal: AbortSignal | undefined;
  }) {
    this.#index = tools.index;
    this.#known = tools.known;
    this.#writer = tools.writer;
    this.#workers = tools.workers;
    this.#pace = tools.pace;
    this.#describe = tools.describe;
    this.#signal = tools.signal;
    this.contents = new Contents(tools.index.table);
    this.#hashing = new FileHashing({ ...tools, contents: this.contents });
  }

  /** Bytes of the files that were dealt with, read or not. */
  get bytesDone(): number {
    return this.#bytesPacked + this.#hashing.bytesRead;
  }

  /** Packs the tree that the index was turned to. Returns the paths of files that could not be read as the walk had found them. */
  async packTree(entries: EntryTable): Promise<ReadonlySet<string>> {
    this.contents.follow(entries);
    // Reading these twice, should they be new, takes less than compressing them, should they be there.
    await this.hashAll(this.#perhapsThere(entries));
    return this.pack(this.#unpacked(entries));
  }

  /** Packs files. Returns the paths of those that could not be read as the walk had found them. */
  async pack(entries: Iterable<TreeEntry>): Promise<ReadonlySet<string>> {
    const missed = new Set<string>();
    const isDone = (entry: TreeEntry) => {
      const packed = this.#isPacked(entry);
      if (packed) this.#countDone(entry.path, entry.stamp.size);
      return packed;
    };
    await this.#workers.until(this.#signal, () =>
      readInUnits(entries, {
        workers: this.#workers,
        pace: this.#pace,
        describe: this.#describe,
        isDone,
        begin: (unit, results) => this.#begin(unit, results, missed),
      }),
    );
    return missed;
  }

  /** Finds out a file's content without packing it. Returns false when it is no longer as the walk found it. */
  hash(entry: TreeEntry): Promise<boolean> {
    return this.#hashing.hash(entry);
  }

  /** The same of many files. Returns the paths of those that are no longer as the walk found them. */
  hashAll(entries: Iterable<TreeEntry>): Promise<ReadonlySet<string>> {
    return this.#workers.until(this.#signal, () => this.#hashing.hashAll(entries));
  }

  /** Where a packed file's content is. Only after the writer has finished. */
  partsOf(path: string): readonly Part[] {
    const row = this.contents.row(path);
    if (row === undefined) throw new Error(`${path} was not packed`);
    const digest = this.contents.table.digest(row);
    const packed = this.#packed.find(digest);
    const parts = packed < 0 ? this.#known.file(digest) : this.#parts[packed];
    if (parts === undefined) throw new Error(`${path} was not packed`);
    return Array.isArray(parts) ? parts : [parts as Part];
  }

  /** The files of which the store does not have what they hold. Of the others it is noted, without making an object of each. */
  *#unpacked(entries: EntryTable): Generator<TreeEntry> {
    for (let row = 0; row < entries.length; row++) {
      if (!entries.isFile(row)) continue;
      const content = this.#index.rowAt(row);
      if (content >= 0 && this.#has(this.contents.table.digest(content))) {
        this.contents.setAt(row, content);
        const size = entries.size(row);
        if (size > chunkSize) this.#countDone(entries.path(row), size);
        else this.#bytesPacked += size;
      } else yield entries.entry(row);
    }
  }

  /** Large files of which it is not known what they hold, while the store has one of the same size. */
  *#perhapsThere(entries: EntryTable): Generator<TreeEntry> {
    for (let row = 0; row < entries.length; row++) {
      if (!entries.isFile(row) || entries.size(row) <= chunkSize || this.#index.rowAt(row) >= 0) continue;
      if (!this.#known.hasLarge(entries.size(row))) continue;
      const entry = entries.entry(row);
      this.#hashedAhead.add(entry.path);
      yield entry;
    }
  }

  /** True where it is known what the file holds, and the store has that. */
  #isPacked(entry: TreeEntry): boolean {
    const row = this.#index.find(entry);
    if (row === undefined || !this.#has(this.contents.table.digest(row))) return false;
    this.contents.set(entry.path, row);
    return true;
  }

  #has(digest: Uint8Array): boolean {
    return this.#packed.find(digest) >= 0 || this.#known.has(digest);
  }

  /** Has a unit read. Waits for the places that it takes, so that what is under way is bounded. */
  async #begin(unit: PackUnit, results: InOrder, missed: Set<string>): Promise<void> {
    if ("large" in unit) return this.#beginLarge(unit.large, results, missed);
    const { files } = unit;
    const slot = await this.#slot();
    const readAt = Date.now();
    const read = this.#workers.run("packFiles", filesRequest(files, slot));
    results.add(read, (content) => this.#addFiles(files, content, slot, readAt, missed));
  }

  async #beginLarge(entry: TreeEntry, results: InOrder, missed: Set<string>): Promise<void> {
    const number = this.#workers.number();
    const { path, followed, stamp } = entry;
    const file = { path, followed, stamp };
    const reading: Reading = { entry, readAt: Date.now(), chunks: 0, parts: [] };
    for (let left = Math.ceil(stamp.size / chunkSize); left > 0; ) {
      const slots = [await this.#slot()];
      while (slots.length < Math.min(left, chunksAtOnce)) {
        const further = this.#workers.slots.takeFree();
        if (further === undefined) break;
        slots.push(further);
      }
      left -= slots.length;
      const read = this.#workers.run(
        "packChunks",
        { number, file, at: slots.map(({ at }) => at), last: left === 0 },
        number,
      );
      results.add(read, (chunks) => this.#addChunks(reading, chunks, slots, missed));
    }
  }

  async #slot(): Promise<Slot> {
    const slot = await this.#workers.slots.take();
    if (this.#pace.due) await this.#pace.rest(this.#describe);
    return slot;
  }

  #addFiles(files: readonly TreeEntry[], read: FilesRead, slot: Slot, readAt: number, missed: Set<string>): void {
    for (const { entry, content, start } of filesWith(files, read)) {
      if (content === null) {
        this.#miss(entry, missed);
        continue;
      }
      const digest = this.#note(entry, content, readAt);
      if (this.#has(digest)) continue;
      const { size } = entry.stamp;
      this.#packed.add(digest);
      this.#parts.push(size === 0 ? [] : this.#writer.addShared(slot, start, size));
    }
    if (!this.#writer.keeps(slot)) this.#workers.slots.give(slot);
  }

  #addChunks(reading: Reading, { isUnchanged, sha256 }: ChunksRead, slots: readonly Slot[], missed: Set<string>): void {
    const { entry, readAt, parts } = reading;
    for (const slot of slots) {
      const size = Math.min(chunkSize, entry.stamp.size - reading.chunks * chunkSize);
      reading.chunks += 1;
      if (isUnchanged) this.#writer.addChunk(slot, size, (part) => parts.push(part));
      else this.#workers.slots.give(slot);
    }
    if (!isUnchanged) this.#miss(entry, missed);
    if (sha256 === null) return;
    const digest = this.#note(entry, { sha256, identity: sha256, fact: null }, readAt);
    if (this.#has(digest)) return;
    this.#packed.add(digest);
    this.#parts.push(parts);
  }

  #note(entry: TreeEntry, content: FileContent, readAt: number): Uint8Array {
    const row = this.#index.note(entry, content, readAt);
    this.contents.set(entry.path, row);
    this.#countDone(entry.path, entry.stamp.size);
    return this.contents.table.digest(row);
  }

  #countDone(path: string, size: number): void {
    if (!this.#hashedAhead.delete(path)) this.#bytesPacked += size;
  }

  #miss({ path }: TreeEntry, missed: Set<string>): void {
    this.contents.delete(path);
    missed.add(path);
  }
}
