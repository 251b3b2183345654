import { closeSync, constants, fchmodSync, fstatSync, futimesSync, openSync, writeSync } from "node:fs";
import { contentOf, type Frame, type PackRange, type RangeReader, release } from "./frames";

/** Frames that follow one another in a pack, and what is to be written of each. */
export interface WriteFrames {
  /** Absolute path of the folder that paths are below. */
  readonly folder: string;
  /** Just the frames. Null where there are only files without content. */
  readonly range: PackRange | null;
  readonly frames: readonly FrameToWrite[];
  /** Path of the file that each slice goes to, joined by NUL; first those of each frame in turn, then files without content. */
  readonly paths: string;
  /** For each slice {@link sliceFields} numbers. */
  readonly slices: Float64Array;
}

export interface FrameToWrite extends Frame {
  /** How many slices come out of it. */
  readonly slices: number;
}

/** Numbers of a slice: where it begins in the frame's content, its bytes, where it begins in the file, the file's mode and time. */
export const sliceFields = 5;
/** Instead of a mode: the file is there already, empty, and gets more slices than this one. */
export const isPiece = -1;

/** Writes what frames hold to new files, each frame verified before anything of it is written. */
export class FrameWriter {
  readonly #reader: RangeReader;
  /** Whether a new file gets these permissions as they are asked for, which the process's mask decides. */
  readonly #given = new Map<number, boolean>();
  /** The file of the piece before, which is most often that of the next. */
  #piecePath = "";
  #piece: number | null = null;

  constructor(reader: RangeReader) {
    this.#reader = reader;
  }

  /** Throws `DamagedSnapshotError` where a frame is not what it should be. */
  write({ folder, range, frames, paths, slices }: WriteFrames): void {
    const names = paths.split("\0");
    let slice = 0;
    try {
      const bytes = range === null ? new Uint8Array() : this.#reader.read(range);
      for (const frame of frames) {
        const start = frame.offset - (range?.offset ?? 0);
        const content = contentOf(bytes.subarray(start, start + frame.length), frame, range?.name ?? "");
        for (const end = slice + frame.slices; slice < end; slice++) {
          this.#write(`${folder}/${names[slice]}`, slices, slice * sliceFields, content);
        }
        release(content);
      }
      const none = Buffer.alloc(0);
      for (; slice * sliceFields < slices.length; slice++) {
        this.#write(`${folder}/${names[slice]}`, slices, slice * sliceFields, none);
      }
    } finally {
      this.#closePiece();
    }
  }

  #write(path: string, slices: Float64Array, at: number, content: Buffer): void {
    const field = (number: number) => slices[at + number] ?? 0;
    const mode = field(3);
    if (mode === isPiece) {
      writeAll(this.#openPiece(path), content, field(0), field(1), field(2));
      return;
    }
    const descriptor = openSync(path, "wx", mode);
    try {
      writeAll(descriptor, content, field(0), field(1), 0);
      if (!this.#isGiven(descriptor, mode)) fchmodSync(descriptor, mode);
      futimesSync(descriptor, field(4), field(4));
    } finally {
      closeSync(descriptor);
    }
  }

  #openPiece(path: string): number {
    if (this.#piece !== null && path === this.#piecePath) return this.#piece;
    this.#closePiece();
    this.#piece = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    this.#piecePath = path;
    return this.#piece;
  }

  #closePiece(): void {
    const descriptor = this.#piece;
    this.#piece = null;
    this.#piecePath = "";
    if (descriptor !== null) closeSync(descriptor);
  }

  #isGiven(descriptor: number, mode: number): boolean {
    let given = this.#given.get(mode);
    if (given === undefined) {
      given = (fstatSync(descriptor).mode & 0o7777) === mode;
      this.#given.set(mode, given);
    }
    return given;
  }
}

function writeAll(descriptor: number, content: Buffer, offset: number, length: number, position: number): void {
  for (let written = 0; written < length; ) {
    written += writeSync(descriptor, content, offset + written, length - written, position + written);
  }
}
