import { constants, createZstdCompress, type ZstdCompress } from "node:zlib";
import { chunkSize } from "./content";

/** Bytes that a frame can take when its content cannot be compressed. */
export const longestFrame = chunkSize + 16 * 1024;

/** Node.js's own name for how much of the output's memory is used; where it has none, memory is allocated as it goes. */
interface WithOutput {
  _outOffset?: number;
}

/**
 * Compresses one piece of content after the other to a zstd frame each, in the thread pool. Keeps its context and the memory of its
 * output: new ones for each frame cost page faults and, above all, make the garbage collector take as long as the compression.
 */
export class FrameCompressor {
  readonly #stream: ZstdCompress;

  constructor(level: number) {
    const options = {
      // What is written at once is a frame.
      flush: constants.ZSTD_e_end,
      // Always room for a whole frame: one that is compressed in several turns comes out slightly different.
      chunkSize: longestFrame,
      readableHighWaterMark: 2 * longestFrame,
      params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
    };
    this.#stream = createZstdCompress(options);
  }

  /** The content as a frame of its own. It must stay as it is meanwhile; the answer is overwritten by the next. */
  compress(content: Buffer): Promise<Buffer> {
    const stream = this.#stream;
    (stream as WithOutput)._outOffset = 0;
    return new Promise((resolve, reject) => {
      stream.once("error", reject);
      stream.write(content, () => {
        stream.removeListener("error", reject);
        const frame = stream.read() as Buffer | null;
        if (frame === null) reject(new Error("zstd gave nothing for a frame"));
        else resolve(frame);
      });
    });
  }

  close(): void {
    this.#stream.destroy();
  }
}
