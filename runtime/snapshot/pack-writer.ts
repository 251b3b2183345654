import { createHash, hash, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import type { ObjectStore } from "../store";
import { chunkSize } from "./content";
import { packKey } from "./manifest-file";

const compress = promisify(zstdCompress);
const compression = {
  // Bytes of output at a time; above what 1 MiB can become, so that a frame takes one turn of the thread pool.
  chunkSize: chunkSize + 16 * 1024,
  params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 },
};

/** Bytes. A pack is stored once it has this many, so that packs are between 8 and 64 MiB except for the last of a run. */
const packSize = 32 * 1024 * 1024;
/** Frames that are compressed at the same time; Node.js gives them to four threads. */
const concurrentFrames = 8;
/** Starts a frame that zstd skips. */
const skippableMagic = 0x184d2a50;

/** A frame; its place is known once its pack is complete. */
export interface Frame {
  pack: string;
  offset: number;
  length: number;
  /** Bytes of its plain content, and their SHA-256. */
  readonly size: number;
  readonly sha256: string;
}

/** A piece of content: bytes of a frame's plain content. */
export interface Part {
  readonly frame: Frame;
  readonly offset: number;
  readonly length: number;
}

/**
 * Puts content into frames and frames into packs, in the order in which it comes, so that equal content gives equal packs.
 * Holds two packs at most in memory.
 */
export class PackWriter {
  /** Plain bytes of the frames that went into packs which the store did not have, and what they took there. */
  bytesAdded = 0;
  bytesStored = 0;
  /** Packs written or found: hash → bytes. */
  readonly sizes = new Map<string, number>();
  readonly #store: ObjectStore;
  readonly #marked: ReadonlySet<string>;
  #open = Buffer.allocUnsafe(chunkSize);
  #filled = 0;
  #openParts: { part: { frame: Frame | null } }[] = [];
  readonly #waiting: { frame: Frame; compressed: Promise<Buffer> }[] = [];
  #pack: { frames: Frame[]; pieces: Buffer[]; size: number } = { frames: [], pieces: [], size: 0 };
  #storing: Promise<void> = Promise.resolve();

  /** Packs in `marked` are about to be removed: the same content is stored under another name. */
  constructor(store: ObjectStore, marked: ReadonlySet<string>) {
    this.#store = store;
    this.#marked = marked;
  }

  /** Adds a small file's content, at most {@link chunkSize} bytes, to a frame shared with others. The bytes are copied. */
  async addShared(content: Buffer): Promise<PendingPart> {
    if (this.#filled + content.length > chunkSize) await this.#closeFrame();
    content.copy(this.#open, this.#filled);
    const part = new PendingPart(this.#filled, content.length);
    this.#filled += content.length;
    this.#openParts.push({ part });
    return part;
  }

  /** Adds a piece of a large file as a frame of its own. The bytes are kept: they must not change any more. */
  async addChunk(content: Buffer, sha256: string): Promise<PendingPart> {
    const part = new PendingPart(0, content.length);
    part.frame = this.#addFrame(content, sha256);
    await this.#drain(concurrentFrames);
    return part;
  }

  /** Stores everything that was added. */
  async finish(): Promise<void> {
    await this.#closeFrame();
    await this.#drain(0);
    await this.#closePack();
    await this.#storing;
  }

  async #closeFrame(): Promise<void> {
    if (this.#filled === 0) return;
    const content = this.#open.subarray(0, this.#filled);
    const frame = this.#addFrame(content, hash("sha256", content));
    for (const { part } of this.#openParts) part.frame = frame;
    this.#open = Buffer.allocUnsafe(chunkSize);
    this.#filled = 0;
    this.#openParts = [];
    await this.#drain(concurrentFrames);
  }

  #addFrame(content: Buffer, sha256: string): Frame {
    const frame: Frame = { pack: "", offset: 0, length: 0, size: content.length, sha256 };
    const compressed = compress(content, compression);
    compressed.catch(() => undefined); // It is thrown where it is awaited.
    this.#waiting.push({ frame, compressed });
    return frame;
  }

  async #drain(left: number): Promise<void> {
    while (this.#waiting.length > left) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const piece = await next.compressed;
      const { frames, pieces, size } = this.#pack;
      next.frame.offset = size;
      next.frame.length = piece.length;
      frames.push(next.frame);
      pieces.push(piece);
      this.#pack.size += piece.length;
      if (this.#pack.size >= packSize) await this.#closePack();
    }
  }

  async #closePack(): Promise<void> {
    const { frames, pieces } = this.#pack;
    if (frames.length === 0) return;
    this.#pack = { frames: [], pieces: [], size: 0 };
    let name = nameOf(pieces);
    while (this.#marked.has(name)) {
      pieces.push(nonce());
      name = nameOf(pieces);
    }
    for (const frame of frames) frame.pack = name;
    await this.#storing;
    this.#storing = this.#storePack(name, frames, pieces);
    this.#storing.catch(() => undefined); // It is thrown where it is awaited.
  }

  async #storePack(name: string, frames: readonly Frame[], pieces: readonly Buffer[]): Promise<void> {
    const size = pieces.reduce((sum, { length }) => sum + length, 0);
    this.sizes.set(name, size);
    if (!(await this.#store.create(packKey(name), pieces))) return;
    this.bytesStored += size;
    this.bytesAdded += frames.reduce((sum, frame) => sum + frame.size, 0);
  }
}

/** A part whose frame may still be open. */
export class PendingPart {
  frame: Frame | null = null;

  constructor(
    readonly offset: number,
    readonly length: number,
  ) {}
}

function nameOf(pieces: readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}

/** A frame without content, which gives a pack of the same content another name. */
function nonce(): Buffer {
  const frame = Buffer.alloc(24);
  frame.writeUInt32LE(skippableMagic, 0);
  frame.writeUInt32LE(16, 4);
  randomBytes(16).copy(frame, 8);
  return frame;
}
