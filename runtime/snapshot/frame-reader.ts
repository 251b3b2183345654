import { hash } from "node:crypto";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { DamagedObjectError, ObjectNotFoundError, type ObjectStore } from "../store";
import { type Manifest, packKey } from "./manifest-file";
import { DamagedSnapshotError } from "./types";

const decompress = promisify(zstdDecompress);

/** Frames that are fetched and decompressed at the same time. */
const concurrentFrames = 6;

export interface ReadFrame {
  readonly number: number;
  readonly content: Buffer;
}

/** Fetches one frame and verifies it. Throws {@link DamagedSnapshotError}. */
export async function readFrame(store: ObjectStore, { frames, packs }: Manifest, number: number): Promise<Buffer> {
  const frame = frames[number];
  const pack = frame === undefined ? undefined : packs[frame.pack];
  if (frame === undefined || pack === undefined) throw new Error(`the manifest has no frame ${number}`);
  const name = `${store.location}/${packKey(pack.sha256)}`;
  const compressed = await store.getRange(packKey(pack.sha256), frame.offset, frame.length).catch((error) => {
    if (error instanceof ObjectNotFoundError) throw new DamagedSnapshotError(`${name} is missing`);
    throw error instanceof DamagedObjectError ? new DamagedSnapshotError(error.message) : error;
  });
  return checkFrame(compressed, frame, name);
}

/** The plain content of a frame, when it is what the manifest says. */
export async function checkFrame(
  compressed: Buffer,
  { offset, size, sha256 }: { offset: number; size: number; sha256: string },
  name: string,
): Promise<Buffer> {
  const damaged = (what: string, cause?: unknown) =>
    new DamagedSnapshotError(`${name} is damaged: the frame at byte ${offset} ${what}`, { cause });
  // One byte more than declared is allowed for, so that a longer content is told from a damaged one; in one buffer, since
  // Node.js otherwise goes through the thread pool for every 16 KiB.
  const room = size + 1;
  const content = await decompress(compressed, { maxOutputLength: room, chunkSize: Math.max(room, 64) }).catch(
    (cause) => {
      throw damaged("cannot be decompressed", cause);
    },
  );
  if (content.length !== size) throw damaged(`holds other than the ${size} bytes that the manifest says`);
  if (hash("sha256", content) !== sha256) throw damaged("does not have the content that the manifest says");
  return content;
}

/** Reads frames in the given order, some ahead of the one that is used. */
export async function* readFrames(
  store: ObjectStore,
  manifest: Manifest,
  numbers: readonly number[],
): AsyncGenerator<ReadFrame> {
  const ahead: Promise<ReadFrame>[] = [];
  let next = 0;
  try {
    while (next < numbers.length || ahead.length > 0) {
      while (ahead.length < concurrentFrames && next < numbers.length) {
        const number = numbers[next++];
        if (number === undefined) break;
        const reading = readFrame(store, manifest, number).then((content) => ({ number, content }));
        reading.catch(() => undefined); // It is thrown where it is awaited.
        ahead.push(reading);
      }
      const first = ahead.shift();
      if (first !== undefined) yield await first;
    }
  } finally {
    await Promise.allSettled(ahead);
  }
}
