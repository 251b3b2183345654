import type { ContentPlace, FoundFile } from "../content";
import type { ThreadTask } from "./tasks";

/** What threads do to pack. The bytes stay in memory that all threads share; requests say where. */
export interface PackTasks {
  /** Precedes everything else in each thread. */
  readonly packSetup: ThreadTask<PackSetup, null>;
  readonly packFiles: ThreadTask<FilesToRead, FilesRead>;
  /** The requests of one file go to one thread, in order. */
  readonly packChunks: ThreadTask<ChunksToRead, ChunksRead>;
  readonly packFrame: ThreadTask<FrameToCompress, FrameCompressed>;
}

export interface PackSetup {
  readonly memory: SharedArrayBuffer;
  readonly place: ContentPlace;
}

/** Small files that are to be read whole, to lie one after the other. */
export interface FilesToRead {
  /** Where the first one goes, in bytes of the memory. */
  readonly at: number;
  readonly paths: readonly string[];
  /** Bytes, by file. */
  readonly sizes: Float64Array;
  /** Milliseconds since 1970, by file. */
  readonly ctimes: Float64Array;
  /** 1 where links are followed to the file. */
  readonly followed: Uint8Array;
}

export interface FilesRead {
  /** By file: the SHA-256 of what it holds, or null where it is no longer as it was found. */
  readonly sha256: readonly (string | null)[];
  /** Of the few files of which more is known than their hash. */
  readonly extras: readonly (readonly [file: number, identity: string, fact: string | null])[];
}

/** The next chunks of a large file. */
export interface ChunksToRead {
  /** Tells files apart, which may be read at the same time. */
  readonly number: number;
  readonly file: FoundFile;
  /** Where each chunk goes, in bytes of the memory. All may go to the same place where only the file's hash is wanted. */
  readonly at: readonly number[];
  /** True when the file ends with these chunks. */
  readonly last: boolean;
}

export interface ChunksRead {
  /** False where the file is no longer as it was found, also for what is read of it later. */
  readonly isUnchanged: boolean;
  /** SHA-256 of the whole file, with its last chunks. */
  readonly sha256: string | null;
}

/** Plain content to be replaced by the frame that it makes. */
export interface FrameToCompress {
  readonly at: number;
  /** Bytes of plain content. */
  readonly size: number;
}

export interface FrameCompressed {
  /** Bytes of the frame, from where the content began. */
  readonly length: number;
  /** Of these bytes. */
  readonly sha256: string;
}
