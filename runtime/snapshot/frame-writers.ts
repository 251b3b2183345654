import { availableParallelism } from "node:os";
import { ThreadPool } from "./threads/pool";
import { FrameWriter, type WriteFrames } from "./threads/write-frames";
import { DamagedSnapshotError } from "./types";

/** Which threads do the work; for tests of what depends on it. */
export interface ThreadChoice {
  /** Worker threads; 0 does everything in the calling one. @default as many as the work pays for, up to the processors */
  readonly threads?: number;
  /** The threads' program. @default the engine's own */
  readonly program?: string;
}

/** Of one thread: milliseconds for a file, and bytes of content in a millisecond. Rough: measured on a machine of 2024. */
const perFile = 0.03;
const perMillisecond = 300_000;
/** Milliseconds of work from which on threads pay, each of which takes about 25 to start. */
const worthThreads = 150;

/** Writes frames' content to files: in threads, which are started where there is enough to do. Must be closed. */
export class FrameWriters {
  readonly #pool: ThreadPool | null;
  readonly #own: FrameWriter | null;

  constructor(
    { files, bytes }: { readonly files: number; readonly bytes: number },
    { threads, program }: ThreadChoice,
  ) {
    const expected = files * perFile + bytes / perMillisecond;
    const worth = expected < worthThreads ? 0 : Math.ceil((2 * expected) / worthThreads);
    const size = threads ?? Math.min(worth, availableParallelism(), mostThreads);
    this.#pool = size === 0 ? null : new ThreadPool({ size, ...(program === undefined ? {} : { program }) });
    this.#own = size === 0 ? new FrameWriter() : null;
  }

  /** Threads, at least one. */
  get size(): number {
    return this.#pool?.size ?? 1;
  }

  /** Throws {@link DamagedSnapshotError} where a frame is not what it should be. Bytes of the request are handed over. */
  async write(request: WriteFrames): Promise<void> {
    if (this.#pool === null) {
      this.#own?.write(request);
      return;
    }
    try {
      await this.#pool.run("write-frames", request, { transfer: buffersOf(request) });
    } catch (error) {
      // Classes are lost between threads.
      const { name, message, cause } = error as Error;
      throw name === "DamagedSnapshotError" ? new DamagedSnapshotError(message, { cause }) : error;
    }
  }

  async close(): Promise<void> {
    this.#own?.close();
    await this.#pool?.close();
  }
}

/** Threads of one restore: more do not write faster. */
const mostThreads = 8;

function buffersOf({ range, slices }: WriteFrames): readonly ArrayBuffer[] {
  const arrays: Uint8Array[] = typeof range?.source === "object" ? [range.source] : [];
  return [...arrays, slices].flatMap(({ buffer, byteLength }) =>
    // Not memory that is shared with others, as that of small buffers is.
    buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [],
  );
}
