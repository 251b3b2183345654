import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { plainHead, sha256, writeManifest } from "./hostile-manifest";

/** Bytes that no compression makes smaller, the same for the same seed. */
export function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed + 1;
  for (let position = 0; position + 4 <= size; position += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 15)) >>> 0, position);
  }
  return bytes;
}

export interface FramedSnapshot {
  readonly reference: string;
  readonly packFile: string;
  /** Key of the pack. */
  readonly key: string;
  readonly frames: readonly {
    readonly offset: number;
    readonly length: number;
    readonly sha256: string;
    readonly content: Buffer;
  }[];
  /** Path of the file that is the content of one frame. */
  readonly fileOf: (frame: number) => string;
  /** Path of the file that is made of all frames. */
  readonly whole: string;
}

/** A snapshot of one pack, written by hand: one file for each frame, and one made of all of them. `root` is where it was packed. */
export function writeFramedSnapshot(
  store: string,
  frames: number,
  size: number,
  root = plainHead.root,
): FramedSnapshot {
  const contents = Array.from({ length: frames }, (_, number) => noise(size, number));
  const stored = contents.map((content) => zstdCompressSync(content));
  const bytes = Buffer.concat(stored);
  const key = `packs/${sha256(bytes).slice(0, 2)}/${sha256(bytes)}`;
  mkdirSync(join(store, "packs", sha256(bytes).slice(0, 2)), { recursive: true });
  writeFileSync(join(store, key), bytes);
  let offset = 0;
  const places = stored.map((frame, number) => {
    const { length } = frame;
    const place = { offset, length, sha256: sha256(frame), content: contents[number] ?? Buffer.alloc(0) };
    offset += length;
    return place;
  });
  const fileOf = (frame: number) => `file-${String(frame).padStart(3, "0")}`;
  const file = (path: string, content: Buffer, parts: readonly (readonly number[])[]) => ({
    type: "file",
    path,
    mode: "640",
    mtime: "1600000000.250000000",
    size: content.length,
    sha256: sha256(content),
    parts,
  });
  const reference = writeManifest(store, [
    { ...plainHead, root },
    { type: "pack", sha256: sha256(bytes), size: bytes.length },
    ...places.map(({ offset: at, length, sha256: hash }) => ({
      type: "frame",
      pack: 0,
      offset: at,
      length,
      size,
      sha256: hash,
    })),
    ...contents.map((content, number) => file(fileOf(number), content, [[number, 0, size]])),
    file(
      "whole",
      Buffer.concat(contents),
      contents.map((_, number) => [number, 0, size]),
    ),
  ]);
  return { reference, packFile: join(store, key), key, frames: places, fileOf, whole: "whole" };
}
