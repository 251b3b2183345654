import type { Manifest } from "./manifest-file";
import { packKey } from "./manifest-file";
import type { SnapshotFile } from "./manifest-table";
import { type FrameToWrite, isPiece, sliceFields } from "./threads/write-frames";

/** Bytes of a pack that are read at a time: frames that lie side by side are one request to a bucket. */
const longestRange = 4 * 1024 * 1024;
/** Bytes of content that come of one task, unless a single frame has more. */
const mostContent = 32 * 1024 * 1024;
/** Files without content that are one task. */
const emptyFiles = 2000;

/** Frames that lie side by side in a pack, and what is to be written of each; or files without content. */
export interface PlannedWrite {
  /** Key of the pack, and the bytes of it that hold the frames. */
  readonly range: { readonly key: string; readonly offset: number; readonly length: number } | null;
  readonly frames: readonly FrameToWrite[];
  /** As `WriteFrames` has them. */
  readonly paths: string;
  readonly slices: Float64Array;
  /** Bytes that come of it. */
  readonly bytes: number;
  /** Files that get a part of their content, once for each part, and its bytes. */
  readonly pieces: readonly (readonly [file: SnapshotFile, bytes: number])[];
}

/**
 * Which slices of which frames make up some files, in the order of the frames: each pack is read from its beginning to its end. Kept in
 * columns, since there are as many slices as files and more.
 */
export class WritePlan {
  /** Bytes of all files. */
  readonly bytes: number;
  /** Slices, and files without content. */
  readonly slices: number;
  /** Bytes of the content of all frames that are needed. */
  readonly frameBytes: number;
  /** Files that are made of more than one slice. */
  readonly inPieces: readonly SnapshotFile[];
  readonly #manifest: Manifest;
  readonly #files: readonly SnapshotFile[];
  readonly #empty: readonly SnapshotFile[];
  /** For each frame, the number of its first slice; at the end the number of slices. */
  readonly #first: Uint32Array;
  /** For each slice, in the order of frames. */
  readonly #file: Uint32Array;
  readonly #offset: Uint32Array;
  readonly #length: Uint32Array;
  readonly #position: Float64Array;

  constructor(manifest: Manifest, files: readonly SnapshotFile[]) {
    this.#manifest = manifest;
    this.#files = files;
    this.#empty = files.filter(({ size }) => size === 0);
    this.inPieces = files.filter(({ partCount }) => partCount > 1);
    const first = new Uint32Array(manifest.frames.length + 1);
    let bytes = 0;
    for (const file of files) {
      bytes += file.size;
      file.eachPart((frame) => {
        first[frame + 1] = (first[frame + 1] ?? 0) + 1;
      });
    }
    for (let frame = 1; frame < first.length; frame++) first[frame] = (first[frame] ?? 0) + (first[frame - 1] ?? 0);
    const count = first.at(-1) ?? 0;
    this.#first = first;
    this.#file = new Uint32Array(count);
    this.#offset = new Uint32Array(count);
    this.#length = new Uint32Array(count);
    this.#position = new Float64Array(count);
    this.#fill();
    this.bytes = bytes;
    this.slices = count + this.#empty.length;
    this.frameBytes = manifest.frames.reduce(
      (sum, { size }, frame) => (first[frame] === first[frame + 1] ? sum : sum + size),
      0,
    );
  }

  *writes(): Generator<PlannedWrite> {
    for (let from = 0; from < this.#empty.length; from += emptyFiles) {
      yield this.#withoutContent(this.#empty.slice(from, from + emptyFiles));
    }
    const { frames } = this.#manifest;
    let from = -1;
    let to = -1;
    let [length, size] = [0, 0];
    for (let number = 0; number < frames.length; number++) {
      if (this.#first[number] === this.#first[number + 1]) continue;
      const [frame, before] = [frames[number], frames[to]];
      if (frame === undefined) continue;
      const follows =
        before !== undefined && before.pack === frame.pack && before.offset + before.length === frame.offset;
      if (follows && to === number - 1 && length + frame.length <= longestRange && size + frame.size <= mostContent) {
        length += frame.length;
        size += frame.size;
      } else {
        if (from >= 0) yield this.#write(from, to);
        from = number;
        [length, size] = [frame.length, frame.size];
      }
      to = number;
    }
    if (from >= 0) yield this.#write(from, to);
  }

  #fill(): void {
    const next = this.#first.slice();
    for (const [number, file] of this.#files.entries()) {
      let position = 0;
      file.eachPart((frame, offset, length) => {
        const slice = next[frame] ?? 0;
        next[frame] = slice + 1;
        this.#file[slice] = number;
        this.#offset[slice] = offset;
        this.#length[slice] = length;
        this.#position[slice] = position;
        position += length;
      });
    }
  }

  /** The write of the frames from one to another, which lie side by side. */
  #write(from: number, to: number): PlannedWrite {
    const firstSlice = this.#first[from] ?? 0;
    const frames = this.#manifest.frames.slice(from, to + 1).map(({ offset, length, size, sha256 }, index) => {
      const number = from + index;
      const count = (this.#first[number + 1] ?? 0) - (this.#first[number] ?? 0);
      return { offset, length, size, sha256, slices: count } satisfies FrameToWrite;
    });
    const count = (this.#first[to + 1] ?? 0) - firstSlice;
    const paths: string[] = [];
    const slices = new Float64Array(count * sliceFields);
    const pieces: [SnapshotFile, number][] = [];
    let bytes = 0;
    for (let index = 0; index < count; index++) {
      const slice = firstSlice + index;
      const file = this.#files[this.#file[slice] ?? 0];
      if (file === undefined) continue;
      const length = this.#length[slice] ?? 0;
      const isWhole = file.partCount === 1;
      paths.push(file.path);
      const at = index * sliceFields;
      slices[at] = this.#offset[slice] ?? 0;
      slices[at + 1] = length;
      slices[at + 2] = this.#position[slice] ?? 0;
      slices[at + 3] = isWhole ? file.permissions : isPiece;
      slices[at + 4] = isWhole ? timeOf(file.mtime) : 0;
      if (!isWhole) pieces.push([file, length]);
      bytes += length;
    }
    const [one, last] = [frames[0], frames.at(-1)];
    const pack = this.#manifest.packs[this.#manifest.frames[from]?.pack ?? -1];
    if (one === undefined || last === undefined || pack === undefined)
      throw new Error(`the manifest has no frame ${from}`);
    const range = { key: packKey(pack.sha256), offset: one.offset, length: last.offset + last.length - one.offset };
    return { range, frames, paths: paths.join("\0"), slices, bytes, pieces };
  }

  #withoutContent(files: readonly SnapshotFile[]): PlannedWrite {
    const slices = new Float64Array(files.length * sliceFields);
    for (const [index, { permissions, mtime }] of files.entries()) {
      slices[index * sliceFields + 3] = permissions;
      slices[index * sliceFields + 4] = timeOf(mtime);
    }
    return { range: null, frames: [], paths: files.map(({ path }) => path).join("\0"), slices, bytes: 0, pieces: [] };
  }
}

/** A manifest's time in seconds, as close as a double gets and never in another second: byte code names whole seconds. */
export function timeOf(mtime: string): number {
  // Node.js takes a negative time for the present.
  if (mtime.startsWith("-")) return 0;
  const time = Number(mtime);
  const isRoundedUp = Number.isInteger(time) && !mtime.endsWith(".000000000");
  return isRoundedUp && time > Number(mtime.slice(0, mtime.indexOf("."))) ? time - 1e-6 : time;
}
