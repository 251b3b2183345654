import { hash } from "node:crypto";
import { type ContentPlace, chunkSize, FileChangedError, FileReading, readSmall } from "./content";
import { Contents } from "./contents";
import { DigestTable } from "./digest-table";
import type { KnownContent } from "./known-content";
import type { Pace } from "./pace";
import type { PackWriter, Part } from "./pack-writer";
import type { StatIndex } from "./stat-index";
import type { TreeEntry } from "./tree-entry";

/** Brings files into the store as far as it lacks them, and notes what each holds and where that is. */
export class Packer {
  readonly contents: Contents;
  /** Bytes of the files that were dealt with, read or not. */
  bytesDone = 0;
  readonly #place: ContentPlace;
  readonly #index: StatIndex;
  readonly #known: KnownContent;
  readonly #writer: PackWriter;
  readonly #pace: Pace;
  readonly #describe: () => string;
  readonly #buffer = Buffer.allocUnsafeSlow(chunkSize);
  /** What was packed by this run: the content of a row is in the parts of the same number. */
  readonly #packed = new DigestTable();
  readonly #parts: (Part | readonly Part[])[] = [];
  readonly #chunks = new Map<string, Part>();

  constructor(tools: {
    place: ContentPlace;
    index: StatIndex;
    known: KnownContent;
    writer: PackWriter;
    pace: Pace;
    describe: () => string;
  }) {
    this.#place = tools.place;
    this.#index = tools.index;
    this.#known = tools.known;
    this.#writer = tools.writer;
    this.#pace = tools.pace;
    this.#describe = tools.describe;
    this.contents = new Contents(tools.index.table);
  }

  /** Packs files. Returns the paths of those that could not be read as the walk had found them. */
  async pack(entries: Iterable<TreeEntry>): Promise<ReadonlySet<string>> {
    const missed = new Set<string>();
    for (const entry of entries) {
      if (entry.type !== "file") continue;
      if (this.#writer.isCrowded) await this.#writer.relieve();
      if (this.#pace.due) await this.#pace.rest(this.#describe);
      const packed =
        this.#isPacked(entry) || (entry.stamp.size <= chunkSize ? this.#addSmall(entry) : await this.#addLarge(entry));
      if (packed) this.bytesDone += entry.stamp.size;
      else missed.add(entry.path);
    }
    return missed;
  }

  /** Finds out a file's content without packing it. Returns false when it is no longer as the walk found it. */
  async hash(entry: TreeEntry): Promise<boolean> {
    const row = this.#index.find(entry);
    if (row !== undefined) {
      this.contents.set(entry.path, row);
      return true;
    }
    return this.#reading(entry, async (reading) => {
      while (reading.next(this.#buffer) !== null) await this.#breathe();
    });
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

  /** Reads into the place where the bytes will be compressed. */
  #addSmall(entry: TreeEntry): boolean {
    const readAt = Date.now();
    const into = this.#writer.room(entry.stamp.size) ?? this.#buffer.subarray(0, entry.stamp.size);
    try {
      const row = this.#index.note(entry, readSmall(entry, this.#place, into), readAt);
      this.contents.set(entry.path, row);
      const digest = this.contents.table.digest(row);
      if (!this.#has(digest)) {
        this.#packed.add(digest);
        this.#parts.push(into.length === 0 ? [] : this.#writer.addShared(into));
      }
      return true;
    } catch (error) {
      return this.#unlessChanged(entry, error);
    }
  }

  async #addLarge(entry: TreeEntry): Promise<boolean> {
    return this.#reading(entry, async (reading) => {
      const parts: Part[] = [];
      for (;;) {
        if (this.#writer.isCrowded) await this.#writer.relieve();
        const buffer = this.#writer.take();
        const chunk = reading.next(buffer);
        if (chunk === null) {
          this.#writer.give(buffer);
          break;
        }
        parts.push(this.#addChunk(buffer, chunk));
        await this.#breathe();
      }
      const digest = Buffer.from(reading.content.sha256, "hex");
      if (this.#has(digest)) return;
      this.#packed.add(digest);
      this.#parts.push(parts);
    });
  }

  async #reading(entry: TreeEntry, read: (reading: FileReading) => Promise<void>): Promise<boolean> {
    const readAt = Date.now();
    try {
      const reading = new FileReading(entry, this.#place);
      try {
        await read(reading);
        this.contents.set(entry.path, this.#index.note(entry, reading.content, readAt));
        return true;
      } finally {
        reading.close();
      }
    } catch (error) {
      return this.#unlessChanged(entry, error);
    }
  }

  #unlessChanged({ path }: TreeEntry, error: unknown): false {
    if (!(error instanceof FileChangedError)) throw error;
    this.contents.delete(path);
    return false;
  }

  #addChunk(buffer: Buffer, chunk: Buffer): Part {
    const sha256 = hash("sha256", chunk);
    const frame = this.#known.chunk(sha256);
    const there = frame === undefined ? this.#chunks.get(sha256) : { frame, offset: 0, length: chunk.length };
    if (there !== undefined) {
      this.#writer.give(buffer);
      return there;
    }
    const part = this.#writer.addChunk(buffer, chunk.length, sha256);
    this.#chunks.set(sha256, part);
    return part;
  }

  async #breathe(): Promise<void> {
    if (this.#pace.due) await this.#pace.rest(this.#describe);
  }
}
