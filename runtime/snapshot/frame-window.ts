import type { ObjectStore } from "../store";
import { readFrames } from "./frame-reader";
import type { Manifest } from "./manifest-file";

/** Bytes of plain content that are kept for what comes soon. */
const windowSize = 64 * 1024 * 1024;

/**
 * Gives the frames of a manifest in an order that is known beforehand, in which a frame may come several times. Reads ahead, and
 * keeps the frames that were used last, so that few are read twice. Frames are verified.
 */
export class FrameWindow {
  readonly #reading: ReturnType<typeof readFrames>;
  readonly #order: Recent<null>;
  readonly #contents: Recent<Buffer>;

  /** `numbers`: every frame that will be asked for, in that order. */
  constructor(store: ObjectStore, manifest: Manifest, numbers: Iterable<number>) {
    this.#order = new Recent(manifest);
    this.#contents = new Recent(manifest);
    const reads: number[] = [];
    for (const number of numbers) if (this.#order.use(number, () => null).isNew) reads.push(number);
    this.#reading = readFrames(store, manifest, reads);
  }

  /** The next frame of the order. Throws `DamagedSnapshotError`. */
  async take(number: number): Promise<Buffer> {
    const known = this.#contents.find(number);
    const content = known ?? (await this.#next(number));
    this.#contents.use(number, () => content);
    return content;
  }

  /** Ends what is read ahead. */
  async close(): Promise<void> {
    await this.#reading.return(undefined);
  }

  async #next(number: number): Promise<Buffer> {
    const { value } = await this.#reading.next();
    if (value?.number !== number) throw new Error(`frame ${number} was not announced`);
    return value.content;
  }
}

/** The frames that were used last, as many as fit. Decides by the manifest's sizes alone. */
class Recent<T> {
  readonly #manifest: Manifest;
  readonly #kept = new Map<number, T>();
  #bytes = 0;

  constructor(manifest: Manifest) {
    this.#manifest = manifest;
  }

  find(number: number): T | undefined {
    return this.#kept.get(number);
  }

  use(number: number, make: () => T): { readonly isNew: boolean } {
    const isNew = !this.#kept.has(number);
    const value = isNew ? make() : (this.#kept.get(number) as T);
    this.#kept.delete(number);
    this.#kept.set(number, value);
    if (isNew) this.#bytes += this.#sizeOf(number);
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= windowSize || this.#kept.size === 1) break;
      this.#kept.delete(oldest);
      this.#bytes -= this.#sizeOf(oldest);
    }
    return { isNew };
  }

  #sizeOf(number: number): number {
    return this.#manifest.frames[number]?.size ?? 0;
  }
}
