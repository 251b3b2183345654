import { ThreadPool } from "./pool";

/** Threads that are started when they are first wanted, and must be closed in any case. */
export class LazyThreads {
  #pool: ThreadPool | undefined;

  /** Bound, so that it can be handed on. */
  readonly get = (): ThreadPool => {
    this.#pool ??= new ThreadPool();
    return this.#pool;
  };

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}
