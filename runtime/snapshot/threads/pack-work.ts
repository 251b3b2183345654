import { hash } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { chunkSize, FileChangedError, FileReading, readSmall } from "../content";
import { freeMemory } from "../free-memory";
import { frameRoom } from "./pack-memory";
import type {
  ChunksRead,
  ChunksToRead,
  FilesRead,
  FilesToRead,
  FrameCompressed,
  FrameToCompress,
  PackSetup,
} from "./pack-tasks";
import type { TaskHandlers } from "./tasks";

/**
 * The processor is what limits a pack. Of a real tree of 5.3 GB, and in milliseconds for a frame of 1 MiB on one core: level 1 makes
 * 2.36 GB in 1.7, level 2 makes 2.22 GB in 2.2, level 3 makes 2.13 GB in 4. Level 2 with a table that fits into a core's cache beside
 * the content, of 2^15 entries instead of 2^16, makes 2.25 GB in 1.9, and where only what has 7 equal bytes counts as a repetition,
 * 2.29 GB in 1.75. zstd's own checksum is left out: a frame is verified by its SHA-256 before it is decompressed.
 */
const level = 2;
const hashLog = 15;
const minMatch = 7;

const compression = {
  // Bytes of output at a time: a frame is made in one go.
  chunkSize: frameRoom,
  params: {
    [constants.ZSTD_c_compressionLevel]: level,
    [constants.ZSTD_c_hashLog]: hashLog,
    [constants.ZSTD_c_minMatch]: minMatch,
  },
};

/** The handlers of one thread that packs. */
export function packHandlers(): Pick<TaskHandlers, "packSetup" | "packFiles" | "packChunks" | "packFrame"> {
  let work: PackWork | undefined;
  const prepared = () => {
    if (work === undefined) throw new Error("this thread was not told where to put what it reads");
    return work;
  };
  return {
    packSetup: (setup) => {
      work = new PackWork(setup);
      return null;
    },
    packFiles: (files) => prepared().packFiles(files),
    packChunks: (chunks) => prepared().packChunks(chunks),
    packFrame: (frame) => prepared().packFrame(frame),
  };
}

/** What one thread has to do with bytes in order to pack them. */
export class PackWork {
  readonly #place: PackSetup["place"];
  readonly #memory: Buffer;
  /** Large files that are being read; null where one turned out to have changed. */
  readonly #readings = new Map<number, FileReading | null>();

  constructor({ memory, place }: PackSetup) {
    this.#place = place;
    this.#memory = Buffer.from(memory);
  }

  packFiles({ at, paths, sizes, ctimes, followed }: FilesToRead): FilesRead {
    const sha256: (string | null)[] = [];
    const extras: (readonly [number, string, string | null])[] = [];
    let start = at;
    for (const [file, path] of paths.entries()) {
      const [size = 0, ctime = 0] = [sizes[file], ctimes[file]];
      const found = { path, size, ctime, followed: followed[file] === 1 };
      const content = unlessChanged(() => readSmall(found, this.#place, this.#memory.subarray(start, start + size)));
      start += size;
      sha256.push(content?.sha256 ?? null);
      if (content === null || (content.identity === content.sha256 && content.fact === null)) continue;
      extras.push([file, content.identity, content.fact]);
    }
    return { sha256, extras };
  }

  packChunks(request: ChunksToRead): ChunksRead {
    const { number, file, last } = request;
    let reading = this.#readings.get(number);
    this.#readings.delete(number);
    let continued: FileReading | null = null;
    try {
      const read = unlessChanged(() => {
        if (reading === null) return null;
        reading ??= new FileReading(file, this.#place);
        return this.#readChunks(reading, request);
      });
      if (read !== null && !last) continued = reading ?? null;
      return read ?? { isUnchanged: false, sha256: null };
    } finally {
      if (continued === null) reading?.close();
      if (!last) this.#readings.set(number, continued);
    }
  }

  #readChunks(reading: FileReading, { file, at, last }: ChunksToRead): ChunksRead {
    for (const start of at) {
      const chunk = reading.next(this.#memory.subarray(start, start + chunkSize));
      if (chunk === null) throw new Error(`${file.path} has fewer chunks than its size makes`);
    }
    if (!last) return { isUnchanged: true, sha256: null };
    if (reading.next(this.#memory.subarray(0, 0)) !== null) throw new Error(`${file.path} was not read whole`);
    return { isUnchanged: true, sha256: reading.content.sha256 };
  }

  /** Closes what is still being read. */
  close(): void {
    for (const reading of this.#readings.values()) reading?.close();
    this.#readings.clear();
  }

  packFrame({ at, size }: FrameToCompress): FrameCompressed {
    const frame = zstdCompressSync(this.#memory.subarray(at, at + size), compression);
    const { length } = frame;
    if (length > frameRoom) throw new Error(`${size} bytes made a frame of ${length} bytes, more than can be`);
    const sha256 = hash("sha256", frame);
    frame.copy(this.#memory, at);
    if (frame.buffer.byteLength === frameRoom) freeMemory(frame);
    return { length, sha256 };
  }
}

function unlessChanged<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof FileChangedError) return null;
    throw error;
  }
}
