import { hash } from "node:crypto";
import { type ContentPlace, chunkSize, FileChangedError, type FileContent, FileReading } from "./content";
import type { KnownContent } from "./known-content";
import type { Pace } from "./pace";
import type { Frame, PackWriter, Part, PendingPart } from "./pack-writer";
import type { StatIndex } from "./stat-index";
import type { TreeEntry } from "./tree-entry";

/** Brings files into the store as far as it lacks them, and notes what each holds and where that is. */
export class Packer {
  readonly contents = new Map<string, FileContent>();
  /** Bytes of the files that were dealt with, read or not. */
  bytesDone = 0;
  readonly #place: ContentPlace;
  readonly #index: StatIndex;
  readonly #known: KnownContent;
  readonly #writer: PackWriter;
  readonly #pace: Pace;
  readonly #describe: () => string;
  readonly #buffer = Buffer.allocUnsafe(chunkSize);
  readonly #files = new Map<string, readonly (Part | PendingPart)[]>();
  readonly #chunks = new Map<string, PendingPart>();

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
  }

  /** Packs a file. Returns false when it is no longer as the walk found it. */
  async add(entry: TreeEntry): Promise<boolean> {
    return this.#reading(
      entry,
      (sha256) => this.#where(sha256) !== undefined,
      (reading) => (reading.size <= chunkSize ? this.#addSmall(reading) : this.#addLarge(reading)),
    );
  }

  /** Finds out a file's content without packing it. Returns false when it is no longer as the walk found it. */
  async hash(entry: TreeEntry): Promise<boolean> {
    return this.#reading(
      entry,
      () => true,
      async (reading) => {
        while (reading.next(this.#buffer) !== null) await this.#breathe();
      },
    );
  }

  /** Where a packed file's content is. Only after the writer has finished. */
  partsOf(path: string): readonly Part[] {
    const content = this.contents.get(path);
    const parts = content === undefined ? undefined : this.#where(content.sha256);
    if (parts === undefined) throw new Error(`${path} was not packed`);
    return parts.map(settled);
  }

  #where(sha256: string): readonly (Part | PendingPart)[] | undefined {
    return this.#files.get(sha256) ?? this.#known.file(sha256);
  }

  async #reading(
    entry: TreeEntry,
    suffices: (sha256: string) => boolean,
    read: (reading: FileReading) => Promise<void>,
  ): Promise<boolean> {
    await this.#breathe();
    const remembered = this.#index.find(entry);
    if (remembered !== undefined && suffices(remembered.sha256)) {
      this.contents.set(entry.path, remembered);
      this.bytesDone += Number(entry.stamp.size);
      return true;
    }
    const readAt = Date.now();
    try {
      const reading = new FileReading(entry, this.#place);
      try {
        await read(reading);
        this.contents.set(entry.path, reading.content);
        this.#index.note(entry, reading.content, readAt);
      } finally {
        reading.close();
      }
    } catch (error) {
      if (!(error instanceof FileChangedError)) throw error;
      this.contents.delete(entry.path);
      return false;
    }
    this.bytesDone += Number(entry.stamp.size);
    return true;
  }

  async #addSmall(reading: FileReading): Promise<void> {
    const bytes = reading.next(this.#buffer) ?? Buffer.alloc(0);
    if (reading.next(this.#buffer.subarray(0, 0)) !== null) throw new Error("a small file has one piece only");
    const { sha256 } = reading.content;
    if (this.#where(sha256) !== undefined) return;
    this.#files.set(sha256, bytes.length === 0 ? [] : [await this.#writer.addShared(bytes)]);
  }

  async #addLarge(reading: FileReading): Promise<void> {
    const parts: (Part | PendingPart)[] = [];
    for (;;) {
      // A frame is compressed while the next is read: each needs a buffer of its own.
      const chunk = reading.next(Buffer.allocUnsafe(chunkSize));
      if (chunk === null) break;
      parts.push(await this.#addChunk(chunk));
      await this.#breathe();
    }
    const { sha256 } = reading.content;
    if (this.#where(sha256) === undefined) this.#files.set(sha256, parts);
  }

  async #addChunk(chunk: Buffer): Promise<Part | PendingPart> {
    const sha256 = hash("sha256", chunk);
    const known = this.#known.chunk(sha256);
    if (known !== undefined) return { frame: known, offset: 0, length: chunk.length };
    const packed = this.#chunks.get(sha256) ?? (await this.#writer.addChunk(chunk, sha256));
    this.#chunks.set(sha256, packed);
    return packed;
  }

  async #breathe(): Promise<void> {
    if (this.#pace.due) await this.#pace.rest(this.#describe);
  }
}

function settled({ frame, offset, length }: Part | PendingPart): Part {
  if (frame === null) throw new Error("a frame is still open");
  return { frame: frame satisfies Frame, offset, length };
}
