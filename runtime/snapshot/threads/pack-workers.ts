import type { ContentPlace } from "../content";
import { frameRoom, Slots } from "./pack-memory";
import type { PackTasks } from "./pack-tasks";
import { PackWork } from "./pack-work";
import type { ThreadPool } from "./pool";
import type { RequestOf, ResultOf } from "./tasks";

/**
 * Places for each thread, so that it finds the next piece of work read, and those that wait for their turn to be put into a pack are
 * no hindrance; and places whatever the number of threads.
 */
const slotsPerThread = 6;
const furtherSlots = 6;

type Work = Exclude<keyof PackTasks, "packSetup">;

/**
 * Does what packing has to do with bytes: at first in this thread, and, once {@link start} was called, in those of a pool. A few
 * files are packed before threads would be up.
 */
export class PackWorkers {
  /** How many there are once they are started. */
  readonly threads: number;
  /** Where content is read to, and compressed. */
  readonly slots: Slots;
  /** Rejects when the work is given up. */
  readonly failure: Promise<never>;
  /** Gives the work up: whoever waits for a place or for {@link failure} gets the error. */
  readonly fail: (error: unknown) => void;
  readonly #memory: SharedArrayBuffer;
  readonly #place: ContentPlace;
  readonly #pool: () => ThreadPool;
  readonly #here: PackWork;
  #started: ThreadPool | null = null;
  #lastNumber = 0;

  /** `pool` is called when there is work for threads. `threads` is how many it will have. Closing it is its owner's. */
  constructor({ place, threads, pool }: { place: ContentPlace; threads: number; pool: () => ThreadPool }) {
    this.threads = threads;
    const count = threads * slotsPerThread + furtherSlots;
    this.#memory = new SharedArrayBuffer(count * frameRoom);
    this.slots = new Slots(this.#memory, count);
    this.#place = place;
    this.#pool = pool;
    this.#here = new PackWork({ memory: this.#memory, place });
    let reject: (error: unknown) => void = () => undefined;
    this.failure = new Promise<never>((_, rejected) => {
      reject = rejected;
    });
    this.failure.catch(() => undefined); // Whoever waits looks at it.
    this.fail = (error) => {
      reject(error);
      this.slots.fail(error);
    };
  }

  get areStarted(): boolean {
    return this.#started !== null;
  }

  /** Has threads do everything from now on. */
  start(): void {
    if (this.#started !== null) return;
    const pool = this.#pool();
    this.#started = pool;
    for (let on = 0; on < pool.size; on++) {
      pool.run("packSetup", { memory: this.#memory, place: this.#place }, { on }).catch(this.fail);
    }
  }

  /** A number for a file, whose requests need to be told from those of others. */
  number(): number {
    this.#lastNumber += 1;
    return this.#lastNumber;
  }

  /** `on`: what is to be done by one thread, the one after the other, has the same number. */
  run<Name extends Work>(name: Name, request: RequestOf<Name>, on?: number): Promise<ResultOf<Name>> {
    const done = this.#started?.run(name, request, on === undefined ? {} : { on }) ?? this.#runHere(name, request);
    done.catch(() => undefined); // Whoever gave the work looks at it, perhaps later.
    return done;
  }

  /** Does some work with the workers, and gives it up when the signal says so or when it fails. */
  async until<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const stop = () => this.fail(signal?.reason);
    signal?.addEventListener("abort", stop);
    try {
      return await work();
    } catch (error) {
      this.fail(error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#here.close();
    }
  }

  async #runHere<Name extends Work>(name: Name, request: RequestOf<Name>): Promise<ResultOf<Name>> {
    return (this.#here[name] as (request: RequestOf<Name>) => ResultOf<Name>).call(this.#here, request);
  }
}
