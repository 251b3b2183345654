import { parentPort, workerData } from "node:worker_threads";
import { type FromThread, type TaskHandlers, type ThreadError, type ToThread, Transferred } from "./tasks";

/** Makes this thread one that does the tasks of the {@link ThreadPool} that started it, one after the other. */
export function serveTasks(handlers: TaskHandlers): void {
  if (parentPort === null) throw new Error(`${__filename} runs as a worker thread only`);
  const port = parentPort;
  const stop = workerData as Int32Array;
  port.on("message", (message: ToThread | null) => {
    if (message === null) {
      port.close();
      return;
    }
    if (Atomics.load(stop, 0) !== 0) return;
    const { id, name, request } = message;
    try {
      const answer = (handlers[name] as (request: unknown) => unknown)(request);
      const [result, buffers] = answer instanceof Transferred ? [answer.result, answer.buffers] : [answer, []];
      port.postMessage({ id, result } satisfies FromThread, [...buffers]);
    } catch (error) {
      port.postMessage({ id, error: describe(error) } satisfies FromThread);
    }
  });
}

function describe(error: unknown): ThreadError {
  if (!(error instanceof Error)) {
    return { name: "Error", message: String(error), code: undefined, stack: undefined, cause: undefined };
  }
  const { name, message, stack, cause } = error;
  const { code } = error as NodeJS.ErrnoException;
  return { name, message, code, stack, cause: cause === undefined ? undefined : describe(cause) };
}
