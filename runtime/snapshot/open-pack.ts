import { createHash, type Hash } from "node:crypto";
import { freeMemory } from "./free-memory";
import { nonce, nonceSize } from "./nonce";
import type { Frame } from "./pack-writer";

/** Bytes at first: small packs are most frequent. */
const smallest = 2 * 1024 * 1024;

/** A pack that is being filled. Its memory is used for one pack after the other. */
export class OpenPack {
  readonly frames: Frame[] = [];
  size = 0;
  #buffer: Buffer = Buffer.allocUnsafeSlow(0);
  #hash: Hash = createHash("sha256");
  readonly #most: number;

  /** `most`: bytes that frames may take together. */
  constructor(most: number) {
    this.#most = most + nonceSize;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.size);
  }

  add(frame: Frame, bytes: Buffer): void {
    frame.offset = this.size;
    frame.length = bytes.length;
    this.frames.push(frame);
    this.#append(bytes);
  }

  /** Adds a frame without content, which gives a pack of the same content another name. */
  addNonce(): void {
    this.#append(nonce());
  }

  name(): string {
    return this.#hash.copy().digest("hex");
  }

  clear(): void {
    this.frames.length = 0;
    this.size = 0;
    this.#hash = createHash("sha256");
  }

  /** Not to be used after it. */
  free(): void {
    freeMemory(this.#buffer);
  }

  #append(bytes: Buffer): void {
    const size = this.size + bytes.length;
    if (size > this.#buffer.length) {
      const wider = Buffer.allocUnsafeSlow(
        Math.max(Math.min(Math.max(this.#buffer.length * 4, smallest), this.#most), size),
      );
      this.bytes.copy(wider);
      freeMemory(this.#buffer);
      this.#buffer = wider;
    }
    bytes.copy(this.#buffer, this.size);
    this.size = size;
    this.#hash.update(bytes);
  }
}
