import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import type { ObjectStore } from "../store";
import { chunkSize } from "./content";
import { sha256Of } from "./digest";
import { packKey } from "./manifest-file";
import { nonce } from "./nonce";

const compress = promisify(zstdCompress);
/** Bytes that a frame can take when its content cannot be compressed. */
const longestFrame = chunkSize + 16 * 1024;
const compression = {
  // Bytes of output at a time: a frame takes one turn of the thread pool.
  chunkSize: longestFrame,
  // The processor is what limits a pack. A real tree of 5.3 GB took 2.38 GB with 1, 2.24 with 2, 2.13 with 3, and twice as long with 3.
  params: { [constants.ZSTD_c_compressionLevel]: 2, [constants.ZSTD_c_checksumFlag]: 1 },
};

/** Bytes. A pack is stored once it has this many, so that packs are between 8 and 64 MiB except for the last of a run. */
const packSize = 32 * 1024 * 1024;
/** Frames that are compressed at the same time; Node.js gives them to four threads. */
const concurrentFrames = 8;
/** A frame. Its size and hash are known once it is closed, its place once its pack is complete. */
export interface Frame {
  pack: string;
  offset: number;
  length: number;
  /** Bytes of its plain content, and their SHA-256. */
  size: number;
  sha256: string;
}

/** A piece of content: bytes of a frame's plain content. */
export interface Part {
  readonly frame: Frame;
  readonly offset: number;
  readonly length: number;
}

interface Waiting {
  readonly frame: Frame;
  /** A buffer of {@link chunkSize}, which is used again. */
  readonly buffer: Buffer;
  readonly compressed: Promise<Buffer>;
}

/**
 * Puts content into frames and frames into packs, in the order in which it comes, so that equal content gives equal packs.
 * Compression is the thread pool's, and so is the storing of one pack while the next is filled. Holds two packs at most in memory.
 */
export class PackWriter {
  /** Plain bytes of the frames that went into packs which the store did not have, and what they took there. */
  bytesAdded = 0;
  bytesStored = 0;
  /** Packs written or found: hash → bytes. */
  readonly sizes = new Map<string, number>();
  readonly #store: ObjectStore;
  readonly #marked: ReadonlySet<string>;
  readonly #free: Buffer[] = [];
  #open: { frame: Frame; buffer: Buffer } | null = null;
  readonly #waiting: Waiting[] = [];
  #pack: OpenPack = new OpenPack();
  readonly #freePacks: OpenPack[] = [];
  #storing: Promise<void> = Promise.resolve();

  /** Packs in `marked` are about to be removed: the same content is stored under another name. */
  constructor(store: ObjectStore, marked: ReadonlySet<string>) {
    this.#store = store;
    this.#marked = marked;
  }

  /** True when {@link relieve} should be awaited before anything is added. */
  get isCrowded(): boolean {
    return this.#waiting.length >= concurrentFrames;
  }

  /** Waits until there is room for further frames. */
  async relieve(): Promise<void> {
    await this.#drain(concurrentFrames - 1);
  }

  /** Where the next `size` bytes of the frame that small files share go, or null when that has no room for them. */
  room(size: number): Buffer | null {
    const { frame, buffer } = this.#opened();
    return frame.size + size > chunkSize ? null : buffer.subarray(frame.size, frame.size + size);
  }

  /** Adds a small file's content, at most {@link chunkSize} bytes, to a frame shared with others. What is not where {@link room} said is copied. */
  addShared(content: Buffer): Part {
    if (this.#opened().frame.size + content.length > chunkSize) this.#closeFrame();
    const { frame, buffer } = this.#opened();
    const offset = frame.size;
    if (content.buffer !== buffer.buffer || content.byteOffset !== buffer.byteOffset + offset)
      content.copy(buffer, offset);
    frame.size += content.length;
    return { frame, offset, length: content.length };
  }

  /** A buffer of {@link chunkSize} bytes for {@link addChunk}, or to be given back by {@link give}. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(chunkSize);
  }

  give(buffer: Buffer): void {
    this.#free.push(buffer);
  }

  /** Adds a piece of a large file as a frame of its own: the first `size` bytes of a buffer that was taken here. */
  addChunk(buffer: Buffer, size: number, sha256: string): Part {
    const frame: Frame = { pack: "", offset: 0, length: 0, size, sha256 };
    this.#compress(frame, buffer);
    return { frame, offset: 0, length: size };
  }

  /** Stores everything that was added. */
  async finish(): Promise<void> {
    this.#closeFrame();
    await this.#drain(0);
    await this.#closePack();
    await this.#storing;
  }

  #opened(): { frame: Frame; buffer: Buffer } {
    this.#open ??= { frame: { pack: "", offset: 0, length: 0, size: 0, sha256: "" }, buffer: this.take() };
    return this.#open;
  }

  #closeFrame(): void {
    if (this.#open === null || this.#open.frame.size === 0) return;
    this.#compress(this.#open.frame, this.#open.buffer);
    this.#open = null;
  }

  #compress(frame: Frame, buffer: Buffer): void {
    const content = buffer.subarray(0, frame.size);
    const compressed = Promise.all([compress(content, compression), frame.sha256 || sha256Of(content)]).then(
      ([piece, sha256]) => {
        frame.sha256 = sha256;
        return piece;
      },
    );
    compressed.catch(() => undefined); // It is thrown where it is awaited.
    this.#waiting.push({ frame, buffer, compressed });
  }

  async #drain(left: number): Promise<void> {
    while (this.#waiting.length > left) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#pack.add(next.frame, await next.compressed);
      this.give(next.buffer);
      if (this.#pack.size >= packSize) await this.#closePack();
    }
  }

  async #closePack(): Promise<void> {
    const pack = this.#pack;
    if (pack.size === 0) return;
    let name = pack.name();
    while (this.#marked.has(name)) {
      pack.append(nonce());
      name = pack.name();
    }
    for (const frame of pack.frames) frame.pack = name;
    await this.#storing;
    this.#storing = this.#storePack(name, pack);
    this.#storing.catch(() => undefined); // It is thrown where it is awaited.
    this.#pack = this.#freePacks.pop() ?? new OpenPack();
  }

  async #storePack(name: string, pack: OpenPack): Promise<void> {
    this.sizes.set(name, pack.size);
    if (await this.#store.create(packKey(name), [pack.bytes])) {
      this.bytesStored += pack.size;
      this.bytesAdded += pack.frames.reduce((sum, frame) => sum + frame.size, 0);
    }
    pack.clear();
    this.#freePacks.push(pack);
  }
}

/** A pack that is being filled. Its memory is used for one pack after the other. */
class OpenPack {
  readonly frames: Frame[] = [];
  size = 0;
  // Small ones are most frequent.
  #buffer: Buffer = Buffer.allocUnsafeSlow(2 * longestFrame);

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.size);
  }

  /** Adds a compressed frame. Its memory is freed at once: waiting for the collector would hold many times as much. */
  add(frame: Frame, piece: Buffer): void {
    frame.offset = this.size;
    frame.length = piece.length;
    this.frames.push(frame);
    this.append(piece);
    const memory = piece.buffer as ArrayBuffer & { transfer?: (length: number) => ArrayBuffer };
    if (memory.byteLength === longestFrame) memory.transfer?.(0);
  }

  append(piece: Buffer): void {
    if (this.size + piece.length > this.#buffer.length) {
      const wider = Buffer.allocUnsafeSlow(
        Math.min(Math.max(this.#buffer.length * 4, this.size + piece.length), packSize + 2 * longestFrame),
      );
      this.bytes.copy(wider);
      this.#buffer = wider;
    }
    piece.copy(this.#buffer, this.size);
    this.size += piece.length;
  }

  name(): string {
    return createHash("sha256").update(this.bytes).digest("hex");
  }

  clear(): void {
    this.frames.length = 0;
    this.size = 0;
  }
}
