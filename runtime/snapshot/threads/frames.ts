import { hash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { type ZstdOptions, zstdDecompressSync } from "node:zlib";
import { freeMemory } from "../free-memory";
import { DamagedSnapshotError } from "../types";

/** A zstd frame, where it is in its pack, the bytes of its plain content, and its own SHA-256; as a manifest's record says. */
export interface Frame {
  readonly offset: number;
  readonly length: number;
  readonly size: number;
  readonly sha256: string;
}

/** Part of a pack: in a local file, or fetched already. */
export interface PackRange {
  /** The pack as messages name it. */
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  /** Path of the file that is the pack, or the bytes of the range. */
  readonly source: string | Uint8Array;
}

/**
 * One byte more than declared is allowed for, so that a longer content is told from a damaged one; in one buffer, since Node.js
 * otherwise goes back and forth for every 16 KiB.
 */
export function roomFor(size: number): { readonly maxOutputLength: number; readonly chunkSize: number } {
  return { maxOutputLength: size + 1, chunkSize: Math.max(size + 1, 64) } satisfies ZstdOptions;
}

export function damagedFrame(name: string, { offset }: Frame, what: string, cause?: unknown): DamagedSnapshotError {
  return new DamagedSnapshotError(`${name} is damaged: the frame at byte ${offset} ${what}`, { cause });
}

export const notDecompressed = "cannot be decompressed";
export const otherBytes = "is not what the manifest says";
export const otherSize = (size: number) => `holds other than the ${size} bytes that the manifest says`;

/**
 * The plain content of a frame, when it is what the manifest says: nothing else is given to the decompressor. Throws
 * {@link DamagedSnapshotError}; `name` is that of the pack.
 */
export function contentOf(compressed: Uint8Array, frame: Frame, name: string): Buffer {
  if (hash("sha256", compressed) !== frame.sha256) throw damagedFrame(name, frame, otherBytes);
  let content: Buffer;
  try {
    content = zstdDecompressSync(compressed, roomFor(frame.size));
  } catch (cause) {
    throw damagedFrame(name, frame, notDecompressed, cause);
  }
  if (content.length !== frame.size) throw damagedFrame(name, frame, otherSize(frame.size));
  return content;
}

/** Gives the memory of a frame's content back at once: the collector would let much of it gather. */
export function release(content: Buffer): void {
  // Small ones lie in memory that they share with others.
  if (content.buffer.byteLength === roomFor(content.length).chunkSize) freeMemory(content);
}

/** Reads ranges of packs one after the other. Keeps the pack that was read last open, and the memory for a range. Must be closed. */
export class RangeReader {
  #path = "";
  #descriptor: number | null = null;
  #memory = Buffer.alloc(0);

  /** The bytes of a range, until the next one is read. Throws {@link DamagedSnapshotError} where it is not there. */
  read({ name, offset, length, source }: PackRange): Uint8Array {
    if (typeof source !== "string") return source;
    const descriptor = this.#open(source, name);
    if (this.#memory.length < length) this.#memory = Buffer.allocUnsafeSlow(length);
    for (let filled = 0; filled < length; ) {
      const count = readSync(descriptor, this.#memory, filled, length - filled, offset + filled);
      if (count === 0) {
        throw new DamagedSnapshotError(`${name} ends before byte ${offset + length}, which a manifest says it has`);
      }
      filled += count;
    }
    return this.#memory.subarray(0, length);
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
    this.#path = "";
  }

  #open(path: string, name: string): number {
    if (this.#descriptor !== null && path === this.#path) return this.#descriptor;
    this.close();
    try {
      this.#descriptor = openSync(path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      throw new DamagedSnapshotError(`${name} is missing`);
    }
    this.#path = path;
    return this.#descriptor;
  }
}
