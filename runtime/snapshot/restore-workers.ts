import { ThreadPool, usualThreads } from "./threads/pool";
import { type RestoreHandlers, RestoreWork } from "./threads/restore-work";
import { type RequestOf, type ResultOf, Transferred } from "./threads/tasks";
import { DamagedSnapshotError } from "./types";

/** Which threads do the work; for tests of what depends on it. */
export interface ThreadChoice {
  /** Worker threads; 0 does everything in the calling one. @default as many as the work pays for, up to the processors */
  readonly threads?: number;
  /** The threads' program. @default the engine's own */
  readonly program?: string;
}

/** Milliseconds of work from which on a thread pays, which takes about 25 to start. */
const worthThread = 80;

/** Does the tasks of a restore: in threads where there is enough to do, which start at once, otherwise in the calling thread. Must be closed. */
export class RestoreWorkers {
  readonly #pool: ThreadPool | null;
  readonly #own: RestoreWork | null;

  /** `expected`: milliseconds that all tasks take one thread, roughly. */
  constructor(expected: number, { threads, program }: ThreadChoice) {
    const worth = expected < 2 * worthThread ? 0 : Math.floor(expected / worthThread);
    const size = threads ?? Math.min(worth, usualThreads());
    this.#pool = size === 0 ? null : new ThreadPool({ size, ...(program === undefined ? {} : { program }) });
    this.#own = size === 0 ? new RestoreWork() : null;
  }

  /** Threads, at least one. */
  get size(): number {
    return this.#pool?.size ?? 1;
  }

  /** True where tasks are done while the calling thread goes on. */
  get inThreads(): boolean {
    return this.#pool !== null;
  }

  /** Has a task done. Throws {@link DamagedSnapshotError} and what files and disks give. `transfer`: buffers that are handed over. */
  async run<Name extends keyof RestoreHandlers>(
    name: Name,
    request: RequestOf<Name>,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<ResultOf<Name>> {
    if (this.#own !== null) {
      const done = this.#own.handlers[name](request);
      return done instanceof Transferred ? done.result : done;
    }
    if (this.#pool === null) throw new Error("there is nothing that does tasks");
    try {
      return await this.#pool.run(name, request, { transfer });
    } catch (error) {
      // Classes are lost between threads.
      const { name: kind, message, cause } = error as Error;
      throw kind === "DamagedSnapshotError" ? new DamagedSnapshotError(message, { cause }) : error;
    }
  }

  /**
   * Does something with each item, with several at a time, and closes this at the end. `items` is an iterator, of which all take: where it is
   * a generator, the first failure ends it for everyone.
   */
  async workThrough<Item>(
    items: IterableIterator<Item>,
    atOnce: number,
    work: (item: Item) => Promise<void>,
  ): Promise<void> {
    const take = async () => {
      for (const item of items) await work(item);
    };
    const takers = Array.from({ length: atOnce }, take);
    try {
      await Promise.all(takers);
    } finally {
      await this.close();
      await Promise.allSettled(takers);
    }
  }

  /** Ends threads, once they have ended what they have begun. */
  async close(): Promise<void> {
    this.#own?.close();
    await this.#pool?.close();
  }
}

/** Those of some arrays' buffers that belong to the array alone: memory of small ones is shared with others. */
export function ownBuffers(...arrays: readonly (ArrayBufferView | string | undefined)[]): readonly ArrayBuffer[] {
  return arrays.flatMap((array) => {
    if (typeof array !== "object" || !(array.buffer instanceof ArrayBuffer)) return [];
    return array.buffer.byteLength === array.byteLength ? [array.buffer] : [];
  });
}
