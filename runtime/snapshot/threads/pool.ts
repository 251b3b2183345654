import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../package-root";
import type { FromThread, RequestOf, ResultOf, TaskName, ThreadError, ToThread } from "./tasks";

/** Threads that are of use: with more, what one thread has to do for all of them is the limit. */
const mostThreads = 8;
/** Milliseconds that a thread has to end what it does, which is far less, before it is terminated. */
const usualPatience = 10_000;
/** Tasks that a thread has at a time: the next one is there when it has done the one before. */
const tasksAhead = 2;

/**
 * Megabytes for what a thread has just allocated. Nearly nothing of it is used for long, and three times V8's usual 16 in each
 * thread would be most of what a scan takes.
 */
const youngGeneration = 12;
/** Threads that a pool has unless it is told otherwise: one for each processor. */
export const usualThreads = () => Math.min(availableParallelism(), mostThreads);

/**
 * Compiled in any case: a thread does not go through what may translate the sources of the one that starts it. One file, which loads
 * quickly. A bundled program, which may be far from any package, has it beside itself.
 */
function usualProgram(): string {
  const beside = join(__dirname, "snapshot-threads.js");
  return existsSync(beside) ? beside : join(packageRoot(), "dist", "bundles", "snapshot-threads.js");
}

interface Task {
  readonly message: ToThread;
  readonly transfer: readonly ArrayBuffer[];
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly ended: Promise<void>;
  /** Tasks that only this thread may do. */
  readonly own: Task[];
  readonly underWay: Map<number, Task>;
}

/**
 * Worker threads that take tasks in the order in which they were given, as many threads as there are processors. An error in a task
 * rejects that task; a thread that dies rejects all tasks, those that come later as well. Must be closed.
 */
export class ThreadPool {
  readonly #threads: Thread[];
  readonly #waiting: Task[] = [];
  readonly #patience: number;
  /** Not zero once threads are to begin no further task. */
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  #failure: Error | null = null;
  #lastId = 0;

  constructor({
    size = usualThreads(),
    program = usualProgram(),
    patience = usualPatience,
  }: { readonly size?: number; readonly program?: string; readonly patience?: number } = {}) {
    this.#patience = patience;
    this.#threads = Array.from({ length: size }, () => this.#start(program));
  }

  /** Threads of the pool. */
  get size(): number {
    return this.#threads.length;
  }

  /** Tasks that have not been done. */
  get pending(): number {
    const own = this.#threads.reduce((sum, thread) => sum + thread.own.length + thread.underWay.size, 0);
    return own + this.#waiting.length;
  }

  /**
   * Has a task done: by any thread, or by the one with the number `on`, which does its own tasks in their order, before others. `transfer`:
   * buffers of the request that are handed over instead of copied.
   */
  run<Name extends TaskName>(
    name: Name,
    request: RequestOf<Name>,
    { on, transfer = [] }: { readonly on?: number; readonly transfer?: readonly ArrayBuffer[] } = {},
  ): Promise<ResultOf<Name>> {
    const done = new Promise<unknown>((resolve, reject) => {
      this.#lastId += 1;
      const task: Task = { message: { id: this.#lastId, name, request }, transfer, resolve, reject };
      if (this.#failure !== null) return reject(this.#failure);
      const thread = on === undefined ? undefined : this.#threads[on % this.#threads.length];
      (thread?.own ?? this.#waiting).push(task);
      this.#assign();
    });
    // Whoever gave the task may look at it later.
    done.catch(() => undefined);
    return done as Promise<ResultOf<Name>>;
  }

  /**
   * Ends the threads and waits until they have. Tasks are rejected; those that were begun are done first, since Node.js aborts the whole
   * process when a thread is terminated at some moments of compression (an assertion in `CompressionStream::Close`). Only a
   * thread that hangs is terminated, after `patience` milliseconds.
   */
  async close(): Promise<void> {
    this.#fail(new Error("the threads were ended"));
    Atomics.store(this.#stop, 0, 1);
    await Promise.all(this.#threads.map((thread) => this.#end(thread)));
  }

  async #end({ worker, ended }: Thread): Promise<void> {
    worker.postMessage(null);
    const hangs = setTimeout(() => void worker.terminate(), this.#patience);
    await ended;
    clearTimeout(hangs);
  }

  #start(program: string): Thread {
    const worker = new Worker(program, {
      workerData: this.#stop,
      resourceLimits: { maxYoungGenerationSizeMb: youngGeneration },
    });
    const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    const thread: Thread = { worker, ended, own: [], underWay: new Map() };
    worker.on("message", (message: FromThread) => {
      const task = thread.underWay.get(message.id);
      if (task === undefined) return;
      thread.underWay.delete(message.id);
      this.#assign();
      if ("error" in message) task.reject(revived(message.error));
      else task.resolve(message.result);
    });
    worker.on("messageerror", (error) => this.#fail(error));
    worker.on("error", (error) => this.#fail(new Error("a thread of the snapshot engine failed", { cause: error })));
    worker.on("exit", (code) => this.#fail(new Error(`a thread of the snapshot engine ended with code ${code}`)));
    return thread;
  }

  /** Gives tasks to the threads that have the fewest. */
  #assign(): void {
    for (let ahead = 1; ahead <= tasksAhead; ahead++) {
      for (const thread of this.#threads) {
        if (thread.underWay.size >= ahead) continue;
        const task = thread.own.shift() ?? this.#waiting.shift();
        if (task === undefined) continue;
        thread.underWay.set(task.message.id, task);
        thread.worker.postMessage(task.message, [...task.transfer]);
      }
    }
  }

  #fail(error: Error): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    const tasks = this.#threads.flatMap(({ own, underWay }) => [...underWay.values(), ...own.splice(0)]);
    for (const { underWay } of this.#threads) underWay.clear();
    for (const { reject } of [...tasks, ...this.#waiting.splice(0)]) reject(error);
  }
}

/** A pool that is started when it is needed, and again when it is needed after it was closed. Must be closed. */
export class LazyThreadPool {
  #pool: ThreadPool | null = null;

  constructor(private readonly size: number = usualThreads()) {}

  start(): ThreadPool {
    this.#pool ??= new ThreadPool({ size: this.size });
    return this.#pool;
  }

  /** Ends the threads, which gives their memory back. */
  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = null;
    await pool?.close();
  }
}

function revived({ name, message, code, stack, cause }: ThreadError): Error {
  const error: NodeJS.ErrnoException = new Error(message, cause === undefined ? {} : { cause: revived(cause) });
  error.name = name;
  if (code !== undefined) error.code = code;
  if (stack !== undefined) error.stack = stack;
  return error;
}
