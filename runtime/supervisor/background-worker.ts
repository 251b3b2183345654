import { parentPort } from "node:worker_threads";
import { demandModels } from "../instance/models";
import { readHead, restore, scan } from "../snapshot";
import type { Watch } from "../waiting";
import type { BackgroundTask, FromBackground, ToBackground } from "./background";
import { reasonOf } from "./journal";
import type { RestoredEnvironment } from "./restored";
import { Serial } from "./serial";

if (parentPort === null) throw new Error(`${__filename} runs as a worker thread only`);
const port = parentPort;
const running = new Map<number, AbortController>();
/** One task after the other: they are bound by the disk, and the second of two equal restores finds the first one's cache. */
const tasks = new Serial();
/** Milliseconds between two reports of progress. */
const reportInterval = 200;

port.on("message", (message: ToBackground) => {
  if ("abort" in message) {
    running.get(message.id)?.abort(new Error("it is not wanted any more"));
    return;
  }
  const { id, task } = message;
  const abort = new AbortController();
  running.set(id, abort);
  void tasks
    .run(async () => {
      abort.signal.throwIfAborted();
      return perform(task, { progress: progressOf(id), signal: abort.signal });
    })
    .then(
      (result) => send({ id, result }),
      (error) => send({ id, error: reasonOf(error) }),
    )
    .finally(() => running.delete(id));
});

function send(message: FromBackground): void {
  port.postMessage(message);
}

function progressOf(id: number): (progress: string) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (progress) => {
    if (performance.now() - last < reportInterval) return;
    last = performance.now();
    send({ id, progress });
  };
}

async function perform(task: BackgroundTask, watch: Watch): Promise<unknown> {
  if (task.kind === "hash-plugins") {
    return (await scan({ environment: task.environment, models: "referenced", ...watch })).pluginHashes;
  }
  const { reference, settings, cache, target, models } = task;
  watch.progress("looking at the snapshot");
  demandModels((await readHead(reference, settings)).models, models);
  const { head, location, python, remarks } = await restore({ reference, settings, cache, target, ...watch });
  return { location, python, plugins: head.plugins, models: head.models, remarks } satisfies RestoredEnvironment;
}
