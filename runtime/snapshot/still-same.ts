import type { Watch } from "../waiting";
import { look } from "./folder-walk";
import { type LookAgain, lookAgain, rowsAtOnce, stopped } from "./threads/look-again";
import type { ThreadPool } from "./threads/pool";
import { readOwnRules } from "./travel-rules";
import type { ModelsMode } from "./types";
import type { Walked } from "./walk";

/** Entries of a tree that one thread looks at again by itself: starting others takes as long. */
const alone = 5_000;

/**
 * Looks again at everything that a walk looked at, which takes less than a walk, and tells whether another one would
 * find the same entries. False also where that cannot be said: then a walk tells what is different. Models are not looked at, so it is
 * of use only where they do not count.
 *
 * A name is as it was when it is there and is what it was; that there are no others shows in how many names a folder holds.
 */
export async function isStillSame(
  root: string,
  walked: Walked,
  { models, threads, signal }: Pick<Partial<Watch>, "signal"> & { models: ModelsMode; threads: () => ThreadPool },
): Promise<boolean> {
  signal?.throwIfAborted();
  const { entries, trace } = walked;
  if (models !== "referenced" || readOwnRules(root) !== trace.ownRules) return false;
  if (trace.missing.some((path) => look(root, path, true)?.isDirectory() === true)) return false;
  const request = requestOf(root, walked);
  if (entries.length <= alone) return lookAgain(request);
  const stop = () => void Atomics.store(request.progress, stopped, 1);
  signal?.addEventListener("abort", stop);
  try {
    const pool = threads();
    const looks = Array.from({ length: pool.size }, (_, on) => pool.run("look-again", request, { on }));
    const same = (await Promise.all(looks)).every((found) => found);
    signal?.throwIfAborted();
    return same;
  } finally {
    stop();
    signal?.removeEventListener("abort", stop);
  }
}

function requestOf(root: string, { entries, trace }: Walked): LookAgain {
  const folders = trace.folders.filter(({ names }) => names.length > 0);
  const starts: [row: number, text: number, link: number][] = [];
  let link = 0;
  for (let row = 0; row < entries.length; row++) {
    if (row % rowsAtOnce === 0) starts.push([row, entries.textOffset(row), link]);
    if (entries.isLink(row)) link += 1;
  }
  starts.push([entries.length, entries.text.length, link]);
  return {
    root,
    records: shared(entries.records),
    text: shared(entries.text),
    targets: entries.targets,
    starts,
    followed: trace.followed,
    folders: folders.map((each) => each.folders).join("\0"),
    names: Int32Array.from(folders.flatMap(({ names }) => [...names])),
    leftOut: trace.folders.flatMap(({ leftOut }) => leftOut),
    progress: new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)),
  };
}

function shared(bytes: Uint8Array): Uint8Array<SharedArrayBuffer> {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}
