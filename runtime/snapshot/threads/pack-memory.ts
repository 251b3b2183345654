import { chunkSize } from "../content";

/** Bytes that a frame can take when its content cannot be compressed. */
export const frameRoom = chunkSize + 16 * 1024;

/** A place for up to {@link chunkSize} bytes of content, or for the frame that they make. */
export interface Slot {
  /** Where it begins, in bytes of the memory. */
  readonly at: number;
  readonly bytes: Buffer;
}

/**
 * Places of a memory that threads share. Whoever takes one waits, in the order of asking, until one is free: that bounds the memory
 * of a pack, whatever it packs.
 */
export class Slots {
  readonly count: number;
  readonly #free: Slot[];
  readonly #waiting: { readonly resolve: (slot: Slot) => void; readonly reject: (error: unknown) => void }[] = [];
  #failure: { readonly error: unknown } | null = null;

  /** The memory must have {@link frameRoom} bytes for each place. */
  constructor(memory: SharedArrayBuffer, count: number) {
    this.count = count;
    this.#free = Array.from({ length: count }, (_, index) => {
      const at = index * frameRoom;
      return { at, bytes: Buffer.from(memory, at, frameRoom) };
    });
  }

  /** Places that are taken. */
  get taken(): number {
    return this.count - this.#free.length;
  }

  /** A place now, or undefined when none is free. */
  takeFree(): Slot | undefined {
    // The one that was given last: it may still be in the processor's cache.
    return this.#failure === null ? this.#free.pop() : undefined;
  }

  /** Waits for a place. Throws what the work failed with. */
  async take(): Promise<Slot> {
    if (this.#failure !== null) throw this.#failure.error;
    return this.#free.pop() ?? new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  give(slot: Slot): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slot);
    else next.resolve(slot);
  }

  /** Has everybody who waits, and who will, fail. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
