import type { ObjectStore } from "../store";
import { chunkSize } from "./content";
import { packKey } from "./manifest-file";
import { OpenPack } from "./open-pack";
import { InOrder } from "./threads/in-order";
import type { Slot } from "./threads/pack-memory";
import type { PackWorkers } from "./threads/pack-workers";

/**
 * Bytes that a pack has at most. What is stored in one request to S3, several at a time, and so is held in memory as often: a large
 * pack would gain nothing.
 */
const packSize = 16 * 1024 * 1024;
/** Packs that are stored at the same time where the store does not say. */
const usualWrites = 2;

/** A frame. Its size is known once it is closed, its hash once it is compressed, its place once its pack is complete. */
export interface Frame {
  pack: string;
  offset: number;
  length: number;
  /** Bytes of its plain content. */
  size: number;
  /** SHA-256 of the frame itself. */
  sha256: string;
}

/** A piece of content: bytes of a frame's plain content. */
export interface Part {
  readonly frame: Frame;
  readonly offset: number;
  readonly length: number;
}

/** A frame that small files share, in the place where the first of them was read to. */
interface OpenFrame {
  readonly frame: Frame;
  readonly slot: Slot;
}

/**
 * Puts content into frames and frames into packs, in the order in which it comes, so that equal content gives equal packs.
 * Frames are compressed by the workers, in any order, and packs are stored while the next ones are filled.
 */
export class PackWriter {
  /** Plain bytes of the frames that went into packs which the store did not have, and what they took there. */
  bytesAdded = 0;
  bytesStored = 0;
  /** Packs written or found: hash → bytes. */
  readonly sizes = new Map<string, number>();
  readonly #store: ObjectStore;
  readonly #marked: ReadonlySet<string>;
  readonly #workers: PackWorkers;
  #open: OpenFrame | null = null;
  readonly #frames: InOrder;
  readonly #known: (sha256: string) => Frame | undefined;
  /** Frames of chunks that this run wrote, by hash. */
  readonly #chunks = new Map<string, Frame>();
  #pack = new OpenPack(packSize);
  readonly #freePacks: OpenPack[] = [];
  readonly #storing = new Set<Promise<void>>();

  /**
   * Packs in `marked` are about to be removed: the same content is stored under another name. `known` finds a frame in the store by its
   * hash.
   */
  constructor(
    store: ObjectStore,
    marked: ReadonlySet<string>,
    workers: PackWorkers,
    known: (sha256: string) => Frame | undefined,
  ) {
    this.#store = store;
    this.#marked = marked;
    this.#workers = workers;
    this.#known = known;
    this.#frames = new InOrder(workers.fail);
  }

  /**
   * Adds a small file's content, which lies in a place that it was read to, to a frame shared with others. What lies behind it there is
   * added next, if at all; a place that {@link keeps} does not name may then be given back.
   */
  addShared(slot: Slot, start: number, size: number): Part {
    if (this.#open !== null && this.#open.frame.size + size > chunkSize) this.#closeFrame();
    // A frame begins where a file was read to, over what is not needed there any more: that is copied at most once.
    this.#open ??= { frame: { pack: "", offset: 0, length: 0, size: 0, sha256: "" }, slot };
    const { frame, slot: into } = this.#open;
    const offset = frame.size;
    if (into !== slot || start !== offset) slot.bytes.copy(into.bytes, offset, start, start + size);
    frame.size += size;
    return { frame, offset, length: size };
  }

  /** True where further content will go to a place, which must not be given back then. */
  keeps(slot: Slot): boolean {
    return this.#open?.slot === slot;
  }

  /**
   * Adds a piece of a large file as a frame of its own, unless the store or this run has that: the first `size` bytes of a place, which
   * is given back later. Whether it is there is known once it is compressed; `placed` is called then, in the order of adding.
   */
  addChunk(slot: Slot, size: number, placed: (part: Part) => void): void {
    const frame: Frame = { pack: "", offset: 0, length: 0, size, sha256: "" };
    this.#compress(frame, slot, (sha256) => {
      const there = this.#known(sha256) ?? this.#chunks.get(sha256);
      if (there === undefined) this.#chunks.set(sha256, frame);
      placed({ frame: there ?? frame, offset: 0, length: size });
      return there === undefined;
    });
  }

  /** Stores everything that was added. */
  async finish(): Promise<void> {
    this.#closeFrame();
    await Promise.race([this.#frames.done(), this.#workers.failure]);
    await this.#closePack();
    await Promise.race([Promise.all(this.#storing), this.#workers.failure]);
    // What follows in a pack needs the memory for other things.
    for (const pack of this.#freePacks.splice(0)) pack.free();
  }

  /** Ends when no pack is being stored any more, whether that went well or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#storing);
  }

  #closeFrame(): void {
    if (this.#open === null) return;
    const { frame, slot } = this.#open;
    this.#open = null;
    this.#compress(frame, slot);
  }

  /** `isNew` says by its hash whether the frame is to be stored. */
  #compress(frame: Frame, slot: Slot, isNew: (sha256: string) => boolean = () => true): void {
    const compressed = this.#workers.run("packFrame", { at: slot.at, size: frame.size });
    this.#frames.add(compressed, async ({ length, sha256 }) => {
      frame.sha256 = sha256;
      if (isNew(sha256)) {
        if (this.#pack.size + length > packSize) await this.#closePack();
        this.#pack.add(frame, slot.bytes.subarray(0, length));
      }
      this.#workers.slots.give(slot);
    });
  }

  async #closePack(): Promise<void> {
    const pack = this.#pack;
    if (pack.size === 0) return;
    let name = pack.name();
    while (this.#marked.has(name)) {
      pack.addNonce();
      name = pack.name();
    }
    for (const frame of pack.frames) frame.pack = name;
    while (this.#storing.size >= (this.#store.parallelWrites ?? usualWrites)) await Promise.race(this.#storing);
    const storing = this.#storePack(name, pack).finally(() => this.#storing.delete(storing));
    storing.catch(this.#workers.fail);
    this.#storing.add(storing);
    this.#pack = this.#freePacks.pop() ?? new OpenPack(packSize);
  }

  async #storePack(name: string, pack: OpenPack): Promise<void> {
    this.sizes.set(name, pack.size);
    if (await this.#store.create(packKey(name), [pack.bytes], name)) {
      this.bytesStored += pack.size;
      this.bytesAdded += pack.frames.reduce((sum, frame) => sum + frame.size, 0);
    }
    pack.clear();
    this.#freePacks.push(pack);
  }
}
