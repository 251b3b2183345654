import { hash } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";
import { z } from "zod";
import { ObjectNotFoundError, type ObjectStore } from "../store";
import {
  type FileRecord,
  type FrameRecord,
  headSchema,
  isSafePath,
  type ManifestEntry,
  type PackRecord,
  packSchema,
  recordSchema,
} from "./manifest-records";
import { compareBytes, parentOf } from "./paths";
import { formatReference } from "./reference";
import { DamagedSnapshotError, type ManifestHead, SnapshotNotFoundError } from "./types";

export interface Manifest {
  readonly head: ManifestHead;
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly entries: readonly ManifestEntry[];
  /** Set where entries were left out on purpose. */
  readonly partial?: true;
}

/** A manifest whose entries are made while they are written. */
export interface ManifestToWrite extends Omit<Manifest, "entries"> {
  readonly entries: Iterable<ManifestEntry>;
}

/** Bytes. A line holds one entry; the head may list very many models. Longer ones are no manifest. */
const longestLine = 64 * 1024 * 1024;
/** Records and parts of files that are kept in memory; a terabyte in frames of 1 MiB has a million of either. */
const mostRecords = 5_000_000;
/** All that tells records apart. */
const typeSchema = z.object({ type: z.string() });
/** Characters that are compressed at a time. */
const batchSize = 1024 * 1024;

export const manifestKey = (digest: string) => `snapshots/${digest}`;
export const packKey = (sha256: string) => `packs/${sha256.slice(0, 2)}/${sha256}`;

/** The bytes of a manifest as they are stored. Equal manifests give equal bytes. */
export async function encodeManifest(manifest: ManifestToWrite): Promise<readonly Buffer[]> {
  const pieces: Buffer[] = [];
  const compress = createZstdCompress({
    params: { [constants.ZSTD_c_compressionLevel]: 9, [constants.ZSTD_c_checksumFlag]: 1 },
  });
  await pipeline(Readable.from(batches(recordsOf(manifest))), compress, async (compressed) => {
    for await (const piece of compressed) pieces.push(piece as Buffer);
  });
  return pieces;
}

/** Only the first record; the digest of the whole is verified. */
export async function readManifestHead(store: ObjectStore, digest: string): Promise<ManifestHead> {
  const bytes = await fetch(store, digest);
  for await (const line of linesOf(bytes, nameOfManifest(store, digest))) {
    return parseRecord(line, headSchema, nameOfManifest(store, digest), 1);
  }
  throw new DamagedSnapshotError(`${nameOfManifest(store, digest)} is empty`);
}

/** The packs that a manifest names; the digest of the whole and the form of these records are verified. */
export async function readManifestPacks(store: ObjectStore, digest: string): Promise<readonly PackRecord[]> {
  const name = nameOfManifest(store, digest);
  const packs: PackRecord[] = [];
  let number = 0;
  for await (const line of linesOf(await fetch(store, digest), name)) {
    number += 1;
    if (number === 1) parseRecord(line, headSchema, name, number);
    else if (parseRecord(line, typeSchema, name, number).type === "pack") {
      packs.push(parseRecord(line, packSchema, name, number));
    }
  }
  if (number === 0) throw new DamagedSnapshotError(`${name} is empty`);
  return packs;
}

/**
 * The whole manifest, verified: its digest, the form of each record, and that no path can lead out of the target. `entries` is how
 * many are expected at most; one with very many more is refused before it fills the memory.
 */
export async function readManifest(store: ObjectStore, digest: string, entries = mostRecords / 5): Promise<Manifest> {
  const name = nameOfManifest(store, digest);
  const bytes = await fetch(store, digest);
  const builder = new ManifestBuilder(name, Math.max(mostRecords, 5 * entries));
  for await (const line of linesOf(bytes, name)) builder.add(line);
  return builder.build();
}

class ManifestBuilder {
  #head: ManifestHead | undefined;
  readonly #packs: PackRecord[] = [];
  readonly #frames: FrameRecord[] = [];
  readonly #entries: ManifestEntry[] = [];
  readonly #folders = new Set([""]);
  readonly #name: string;
  readonly #most: number;
  #line = 0;
  #parts = 0;
  #bytes = 0;

  constructor(name: string, most: number) {
    this.#name = name;
    this.#most = most;
  }

  add(line: string): void {
    this.#line += 1;
    if (this.#head === undefined) {
      this.#head = parseRecord(line, headSchema, this.#name, this.#line);
      return;
    }
    const record = parseRecord(line, recordSchema, this.#name, this.#line);
    if (record.type === "file") this.#parts += record.parts.length;
    if (this.#line + this.#parts > this.#most) throw this.#wrong(`is one of more than ${this.#most}, the limit`);
    if (record.type === "pack") this.#packs.push(record);
    else if (record.type === "frame") this.#addFrame(record);
    else this.#addEntry(record as ManifestEntry);
  }

  build(): Manifest {
    if (this.#head === undefined) throw new DamagedSnapshotError(`${this.#name} is empty`);
    const { files, bytes } = this.#head.summary;
    if (files !== this.#entries.length || bytes !== this.#bytes) {
      throw new DamagedSnapshotError(
        `${this.#name}: its summary says ${files} entries and ${bytes} bytes, but it has ${this.#entries.length} and ${this.#bytes}`,
      );
    }
    return { head: this.#head, packs: this.#packs, frames: this.#frames, entries: this.#entries };
  }

  #addFrame(frame: FrameRecord): void {
    const pack = this.#packs[frame.pack];
    if (pack === undefined) throw this.#wrong(`names pack ${frame.pack}, which is not listed before it`);
    if (frame.offset + frame.length > pack.size) throw this.#wrong("lies outside of its pack");
    this.#frames.push(frame);
  }

  #addEntry(entry: ManifestEntry): void {
    const { path } = entry;
    const before = this.#entries.at(-1);
    if (!isSafePath(path)) throw this.#wrong(`has the path ${JSON.stringify(path)}, which leads out of the snapshot`);
    if (before !== undefined && compareBytes(before.path, path) >= 0) {
      throw this.#wrong(`has the path ${JSON.stringify(path)}, which is not after ${JSON.stringify(before.path)}`);
    }
    // So nothing is ever written through a link, or in place of a file.
    if (!this.#folders.has(parentOf(path)))
      throw this.#wrong(`has the path ${JSON.stringify(path)}, but no such folder`);
    if (entry.type === "directory") this.#folders.add(path);
    if (entry.type === "link" && entry.target.includes("\0")) {
      throw this.#wrong(`(${JSON.stringify(path)}) has a link's target with a NUL`);
    }
    if (entry.type === "file") this.#checkParts(entry);
    this.#entries.push(entry);
  }

  #checkParts({ path, parts, size }: FileRecord): void {
    const name = JSON.stringify(path);
    let sum = 0;
    for (const [number, offset, length] of parts) {
      const frame = this.#frames[number];
      if (frame === undefined) throw this.#wrong(`(${name}) names frame ${number}, which is not listed before it`);
      if (length === 0 || offset + length > frame.size) {
        throw this.#wrong(`(${name}) has a part that lies outside of its frame`);
      }
      sum += length;
    }
    if (sum !== size) throw this.#wrong(`(${name}) has ${size} bytes, but parts of ${sum}`);
    this.#bytes += size;
  }

  #wrong(what: string): DamagedSnapshotError {
    return new DamagedSnapshotError(`${this.#name}: record ${this.#line} ${what}`);
  }
}

/** What is in the store under the digest, if it is what the digest says. */
async function fetch(store: ObjectStore, digest: string): Promise<Buffer> {
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

function nameOfManifest(store: ObjectStore, digest: string): string {
  return `${store.location}/${manifestKey(digest)}`;
}

function parseRecord<T>(line: string, schema: z.ZodType<T>, name: string, number: number): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new DamagedSnapshotError(`${name}: record ${number} is not JSON`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const path = typeof value === "object" && value !== null && "path" in value ? ` (${JSON.stringify(value.path)})` : "";
  throw new DamagedSnapshotError(`${name}: record ${number}${path} is not valid: ${z.prettifyError(parsed.error)}`);
}

function* recordsOf({ head, packs, frames, entries }: ManifestToWrite): Generator<unknown> {
  yield head;
  yield* packs;
  yield* frames;
  yield* entries;
}

function* batches(records: Iterable<unknown>): Generator<Buffer> {
  let text = "";
  for (const record of records) {
    text += `${JSON.stringify(record)}\n`;
    if (text.length < batchSize) continue;
    yield Buffer.from(text);
    text = "";
  }
  yield Buffer.from(text);
}

async function* linesOf(compressed: Buffer, name: string): AsyncGenerator<string> {
  const plain = createZstdDecompress({ chunkSize: 256 * 1024 });
  plain.end(compressed);
  let pending: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of plain as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, start)) {
        pending.push(piece.subarray(start, end));
        yield Buffer.concat(pending).toString("utf8");
        pending = [];
        length = 0;
        start = end + 1;
      }
      pending.push(piece.subarray(start));
      length += piece.length - start;
      if (length > longestLine)
        throw new DamagedSnapshotError(`${name} has a record of more than ${longestLine} bytes`);
    }
  } catch (cause) {
    if (!isZstdError(cause)) throw cause;
    throw new DamagedSnapshotError(`${name} is not valid zstd`, { cause });
  }
  if (length > 0) throw new DamagedSnapshotError(`${name} ends within a record`);
}

function isZstdError(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return code.startsWith("ZSTD_") || code.startsWith("Z_");
}
