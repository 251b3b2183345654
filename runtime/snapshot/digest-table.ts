import { freeMemory } from "./free-memory";

/** Bytes of a SHA-256. */
export const digestSize = 32;

/**
 * Rows that each have a SHA-256, found by it. Kept outside of the heap, 40 bytes a row: a tree has a hundred thousand of them. A
 * digest may be in several rows.
 */
export class DigestTable {
  #digests: Buffer;
  /** Whether the memory is this table's own, so that it is freed when there is larger one. */
  #isOwn = false;
  #count = 0;
  /** Row + 1 at the place that a digest's first bytes give, or in the next free one; 0 where there is none. */
  #places: Int32Array | null = null;

  /** `digests`: those of the first rows, one after the other. */
  constructor(digests: Buffer = Buffer.alloc(0)) {
    this.#digests = digests;
    this.#count = digests.length / digestSize;
  }

  get count(): number {
    return this.#count;
  }

  /** The digests of all rows, one after the other. */
  get bytes(): Buffer {
    return this.#digests.subarray(0, this.#count * digestSize);
  }

  /** Not to be kept: it moves when the table grows. */
  at(row: number): Buffer {
    return this.#digests.subarray(row * digestSize, (row + 1) * digestSize);
  }

  /** 64 hex digits. */
  hex(row: number): string {
    return this.#digests.toString("hex", row * digestSize, (row + 1) * digestSize);
  }

  /** Frees its memory. It must not be used any more. */
  release(): void {
    if (this.#isOwn) freeMemory(this.#digests);
    if (this.#places !== null) freeMemory(this.#places);
  }

  add(digest: Uint8Array): number {
    const row = this.#count;
    const at = row * digestSize;
    if (at + digestSize > this.#digests.length) {
      const wider = Buffer.allocUnsafeSlow(Math.max(1024 * digestSize, this.#digests.length * 2));
      this.#digests.copy(wider, 0, 0, at);
      if (this.#isOwn) freeMemory(this.#digests);
      this.#digests = wider;
      this.#isOwn = true;
    }
    this.#digests.set(digest, at);
    this.#count += 1;
    if (this.#places !== null) this.#place(row);
    return row;
  }

  /** The first row with this digest that `suits`, or -1. */
  find(digest: Uint8Array, suits?: (row: number) => boolean): number {
    const places = this.#placed();
    const mask = places.length - 1;
    for (let place = startOf(digest, 0) & mask; ; place = (place + 1) & mask) {
      const row = (places[place] ?? 0) - 1;
      if (row < 0) return -1;
      if (this.#has(row, digest) && suits?.(row) !== false) return row;
    }
  }

  #has(row: number, digest: Uint8Array): boolean {
    const at = row * digestSize;
    return this.#digests.compare(digest, 0, digestSize, at, at + digestSize) === 0;
  }

  #placed(): Int32Array {
    if (this.#places === null) {
      this.#places = new Int32Array(4096);
      for (let row = 0; row < this.#count; row++) this.#place(row);
    }
    return this.#places;
  }

  #place(row: number): void {
    if (this.#places === null) return;
    if (row * 2 >= this.#places.length) {
      let size = this.#places.length;
      while (this.#count * 2 >= size) size *= 2;
      freeMemory(this.#places);
      this.#places = new Int32Array(size);
      for (let earlier = 0; earlier < row; earlier++) this.#place(earlier);
    }
    const mask = this.#places.length - 1;
    let place = startOf(this.#digests, row * digestSize) & mask;
    while (this.#places[place] !== 0) place = (place + 1) & mask;
    this.#places[place] = row + 1;
  }
}

function startOf(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    (((bytes[at + 3] ?? 0) & 0x7f) << 24)
  );
}
