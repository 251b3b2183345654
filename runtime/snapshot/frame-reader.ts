import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { DamagedObjectError, ObjectNotFoundError, type ObjectStore } from "../store";
import { sha256Of } from "./digest";
import { type Manifest, packKey } from "./manifest-file";
import { damagedFrame, type Frame, notDecompressed, otherBytes, otherSize, roomFor } from "./threads/frames";
import { DamagedSnapshotError } from "./types";

const decompress = promisify(zstdDecompress);

/** Frames that are decompressed at the same time. */
const concurrentFrames = 6;
/** Bytes of a pack that are fetched at once: frames that lie side by side are one request to a bucket. */
const longestRange = 4 * 1024 * 1024;
/** Ranges that are fetched ahead of the one that is used. */
const concurrentRanges = 8;

export interface ReadFrame {
  readonly number: number;
  readonly content: Buffer;
}

/** Frames that lie side by side in a pack. */
interface Range {
  /** Key of the pack. */
  readonly key: string;
  readonly offset: number;
  length: number;
  readonly numbers: number[];
}

/** Frames that follow one another in a pack and are wanted one after the other are fetched together. */
function* rangesOf({ frames, packs }: Manifest, numbers: readonly number[]): Generator<Range> {
  let range: Range | undefined;
  let end = -1;
  for (const number of numbers) {
    const frame = frames[number];
    const pack = frame === undefined ? undefined : packs[frame.pack];
    if (frame === undefined || pack === undefined) throw new Error(`the manifest has no frame ${number}`);
    const key = packKey(pack.sha256);
    if (range?.key === key && frame.offset === end && range.length + frame.length <= longestRange) {
      range.numbers.push(number);
      range.length += frame.length;
    } else {
      if (range !== undefined) yield range;
      range = { key, offset: frame.offset, length: frame.length, numbers: [number] };
    }
    end = frame.offset + frame.length;
  }
  if (range !== undefined) yield range;
}

/** Bytes of a pack. Throws {@link DamagedSnapshotError} where it does not have them. */
export async function fetchRange(
  store: ObjectStore,
  { key, offset, length }: { readonly key: string; readonly offset: number; readonly length: number },
): Promise<Buffer> {
  try {
    return await store.getRange(key, offset, length);
  } catch (error) {
    if (error instanceof ObjectNotFoundError) throw new DamagedSnapshotError(`${store.location}/${key} is missing`);
    throw error instanceof DamagedObjectError ? new DamagedSnapshotError(error.message) : error;
  }
}

/** The plain content of a frame, when it is what the manifest says; as {@link contentOf}, in the pool of Node.js. */
async function checkFrame(compressed: Buffer, frame: Frame, name: string): Promise<Buffer> {
  if ((await sha256Of(compressed)) !== frame.sha256) throw damagedFrame(name, frame, otherBytes);
  const content = await decompress(compressed, roomFor(frame.size)).catch((cause) => {
    throw damagedFrame(name, frame, notDecompressed, cause);
  });
  if (content.length !== frame.size) throw damagedFrame(name, frame, otherSize(frame.size));
  return content;
}

/** Reads frames in the given order, some ahead of the one that is used. Throws {@link DamagedSnapshotError}. */
export async function* readFrames(
  store: ObjectStore,
  manifest: Manifest,
  numbers: readonly number[],
): AsyncGenerator<ReadFrame> {
  const ranges = rangesOf(manifest, numbers);
  const fetching: { range: Range; bytes: Promise<Buffer> }[] = [];
  const frames: Promise<ReadFrame>[] = [];
  const fetchAhead = () => {
    while (fetching.length < concurrentRanges) {
      const { done, value: range } = ranges.next();
      if (done) return;
      fetching.push({ range, bytes: handled(fetchRange(store, range)) });
    }
  };
  try {
    fetchAhead();
    for (let next = fetching.shift(); next !== undefined; next = fetching.shift()) {
      const bytes = await next.bytes;
      fetchAhead();
      let at = 0;
      for (const number of next.range.numbers) {
        const frame = manifest.frames[number];
        if (frame === undefined) throw new Error(`the manifest has no frame ${number}`);
        const compressed = bytes.subarray(at, at + frame.length);
        at += frame.length;
        const checked = checkFrame(compressed, frame, `${store.location}/${next.range.key}`);
        frames.push(handled(checked.then((content) => ({ number, content }))));
        if (frames.length < concurrentFrames) continue;
        const first = frames.shift();
        if (first !== undefined) yield await first;
      }
    }
    for (let first = frames.shift(); first !== undefined; first = frames.shift()) yield await first;
  } finally {
    await Promise.allSettled([...frames, ...fetching.map(({ bytes }) => bytes)]);
  }
}

/** A promise that is awaited later: should it fail before that, it does not count as unhandled. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
