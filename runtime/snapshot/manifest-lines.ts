import { hash } from "node:crypto";
import { finished } from "node:stream/promises";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";
import { ObjectNotFoundError, type ObjectStore } from "../store";
import { manifestKey, nameOfManifest } from "./manifest-keys";
import { formatReference } from "./reference";
import { DamagedSnapshotError, SnapshotNotFoundError } from "./types";

/** Bytes. A line holds one entry; the head may list very many models. Longer ones are no manifest. */
const longestLine = 64 * 1024 * 1024;
/** Bytes that are compressed at a time. */
const batchSize = 256 * 1024;
/** Bytes that are decompressed at a time. */
const pieceSize = 256 * 1024;
const newline = 10;

/** The bytes of a manifest as they are stored. Equal lines give equal bytes. */
export async function encodeLines(lines: Iterable<string>): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  const compress = createZstdCompress({
    params: {
      // Hashes do not get smaller with a higher level, and the rest hardly does.
      [constants.ZSTD_c_compressionLevel]: 1,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
  });
  compress.on("data", (piece: Buffer) => pieces.push(piece));
  const ended = finished(compress);
  // Whoever waits for a batch meets the error first.
  ended.catch(() => undefined);
  for (const batch of batches(lines)) {
    await new Promise<void>((resolve, reject) => compress.write(batch, (error) => (error ? reject(error) : resolve())));
  }
  compress.end();
  await ended;
  return pieces;
}

/** What is in the store under the digest, if it is what the digest says. */
export async function fetchManifest(store: ObjectStore, digest: string): Promise<Buffer> {
  const bytes = await store.get(manifestKey(digest)).catch((error) => {
    if (!(error instanceof ObjectNotFoundError)) throw error;
    throw new SnapshotNotFoundError(
      `there is no snapshot ${formatReference({ store: store.location, digest })}; \`pulumi-comfyui list\` shows those that there are`,
    );
  });
  if (hash("sha256", bytes) === digest) return bytes;
  throw new DamagedSnapshotError(
    `${nameOfManifest(store, digest)} is damaged: its content is not what its digest says`,
  );
}

/** The plain text of a manifest in pieces of whole lines, of which no more is decompressed than is asked for. `name` is for errors. */
export async function* piecesOf(compressed: Buffer, name: string): AsyncGenerator<Buffer> {
  const plain = createZstdDecompress({ chunkSize: pieceSize });
  plain.end(compressed);
  let pending: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of plain as AsyncIterable<Buffer>) {
      const end = piece.lastIndexOf(newline) + 1;
      if (end > 0) {
        const whole = piece.subarray(0, end);
        yield pending.length === 0 ? whole : Buffer.concat([...pending, whole]);
        pending = [];
        length = 0;
      }
      if (end === piece.length) continue;
      pending.push(piece.subarray(end));
      length += piece.length - end;
      if (length > longestLine) {
        throw new DamagedSnapshotError(`${name} has a record of more than ${longestLine} bytes`);
      }
    }
  } catch (cause) {
    if (!isZstdError(cause)) throw cause;
    throw new DamagedSnapshotError(`${name} is not valid zstd`, { cause });
  }
  if (length > 0) throw new DamagedSnapshotError(`${name} ends within a record`);
}

/**
 * Lines as bytes, in memory that is used again once the next ones are asked for. Each is written at once: a text that is put together line by
 * line lives long enough to be kept by the collector, which then holds all of the manifest several times.
 */
function* batches(lines: Iterable<string>): Generator<Buffer> {
  let batch = Buffer.allocUnsafeSlow(batchSize);
  let filled = 0;
  for (const line of lines) {
    // Three bytes at most for each unit of a text.
    const most = line.length * 3 + 1;
    if (filled + most > batch.length) {
      if (filled > 0) yield batch.subarray(0, filled);
      if (most > batch.length) batch = Buffer.allocUnsafeSlow(most);
      filled = 0;
    }
    filled += batch.write(line, filled);
    batch[filled++] = newline;
  }
  yield batch.subarray(0, filled);
}

function isZstdError(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return code.startsWith("ZSTD_") || code.startsWith("Z_");
}
