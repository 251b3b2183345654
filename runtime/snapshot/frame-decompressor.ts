import { constants, createZstdDecompress, type ZstdDecompress } from "node:zlib";
import { chunkSize } from "./content";

/** Room for the content of a frame, and for one byte by which a longer one is told. */
const outputSize = chunkSize + 64;

/** Node.js's own name for how much of the output's memory is used; where it has none, memory is allocated as it goes. */
interface WithOutput {
  _outOffset?: number;
}

/**
 * Decompresses one frame after the other, each of at most {@link chunkSize} bytes of content, in the thread pool. Keeps its context
 * and the memory of its output. Of no use any more once a frame was damaged.
 */
export class FrameDecompressor {
  readonly #stream: ZstdDecompress;
  #received = 0;

  constructor() {
    const options = {
      flush: constants.ZSTD_e_flush,
      chunkSize: outputSize,
      readableHighWaterMark: 2 * outputSize,
    };
    const stream = createZstdDecompress(options);
    const push = stream.push.bind(stream);
    stream.push = (piece: Buffer | null) => {
      this.#received += piece?.length ?? 0;
      // A stream that nobody reads from stops by itself, and never says so.
      if (this.#received > outputSize)
        process.nextTick(() => stream.destroy(new Error("it holds more than a frame may")));
      return push(piece);
    };
    this.#stream = stream;
  }

  /** The content of a frame, overwritten by the next. */
  decompress(frame: Buffer): Promise<Buffer> {
    const stream = this.#stream;
    (stream as WithOutput)._outOffset = 0;
    this.#received = 0;
    return new Promise((resolve, reject) => {
      stream.once("error", reject);
      stream.write(frame, () => {
        stream.removeListener("error", reject);
        resolve((stream.read() as Buffer | null) ?? Buffer.alloc(0));
      });
    });
  }

  close(): void {
    this.#stream.destroy();
  }
}
