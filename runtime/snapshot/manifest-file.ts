import { hash } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";
import type { z } from "zod";
import { ObjectNotFoundError, type ObjectStore } from "../store";
import { type FileRecord, type FrameRecord, isSafePath, type ManifestEntry, type PackRecord } from "./manifest-records";
import { compareBytes, parentOf } from "./paths";
import { isRecord } from "./record-check";
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
/** Characters that are compressed at a time. */
const batchSize = 1024 * 1024;

export const manifestKey = (digest: string) => `snapshots/${digest}`;
export const packKey = (sha256: string) => `packs/${sha256.slice(0, 2)}/${sha256}`;

type Schemas = typeof import("./manifest-schemas.js");

/** With an ending, since Node.js itself resolves it. */
const loadSchemas = (): Promise<Schemas> => import("./manifest-schemas.js");

/** The bytes of a manifest as they are stored. Equal manifests give equal bytes. */
export async function encodeManifest(manifest: ManifestToWrite): Promise<readonly Buffer[]> {
  const pieces: Buffer[] = [];
  const compress = createZstdCompress({
    params: {
      // Hashes do not get smaller with a higher level, and the rest hardly does.
      [constants.ZSTD_c_compressionLevel]: 1,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
  });
  await pipeline(Readable.from(batches(recordsOf(manifest))), compress, async (compressed) => {
    for await (const piece of compressed) pieces.push(piece as Buffer);
  });
  return pieces;
}

/** Only the first record; the digest of the whole is verified. */
export async function readManifestHead(store: ObjectStore, digest: string): Promise<ManifestHead> {
  const [bytes, schemas] = await Promise.all([fetch(store, digest), loadSchemas()]);
  for await (const [line = ""] of linesOf(bytes, nameOfManifest(store, digest))) {
    return parseRecord(line, schemas.headSchema, schemas, nameOfManifest(store, digest), 1);
  }
  throw new DamagedSnapshotError(`${nameOfManifest(store, digest)} is empty`);
}

/** The packs that a manifest names; the digest of the whole and the form of these records are verified. */
export async function readManifestPacks(store: ObjectStore, digest: string): Promise<readonly PackRecord[]> {
  const name = nameOfManifest(store, digest);
  const packs: PackRecord[] = [];
  let number = 0;
  const [bytes, schemas] = await Promise.all([fetch(store, digest), loadSchemas()]);
  for await (const lines of linesOf(bytes, name)) {
    for (const line of lines) {
      number += 1;
      if (number === 1) parseRecord(line, schemas.headSchema, schemas, name, number);
      else if (parseRecord(line, schemas.typeSchema, schemas, name, number).type === "pack") {
        packs.push(parseRecord(line, schemas.packSchema, schemas, name, number));
      }
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
  const [bytes, schemas] = await Promise.all([fetch(store, digest), loadSchemas()]);
  const builder = new ManifestBuilder(name, Math.max(mostRecords, 5 * entries), schemas);
  for await (const lines of linesOf(bytes, name)) for (const line of lines) builder.add(line);
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
  readonly #schemas: Schemas;
  /** Folder of the entry before, which is most often that of the next. */
  #folder = "";
  #line = 0;
  #parts = 0;
  #bytes = 0;

  constructor(name: string, most: number, schemas: Schemas) {
    this.#name = name;
    this.#most = most;
    this.#schemas = schemas;
  }

  add(line: string): void {
    this.#line += 1;
    if (this.#head === undefined) {
      this.#head = parseRecord(line, this.#schemas.headSchema, this.#schemas, this.#name, this.#line);
      return;
    }
    const record = parseRecord(line, this.#schemas.recordSchema, this.#schemas, this.#name, this.#line, isRecord);
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
    const folder = parentOf(path);
    if (folder !== this.#folder && !this.#folders.has(folder))
      throw this.#wrong(`has the path ${JSON.stringify(path)}, but no such folder`);
    this.#folder = folder;
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

function parseRecord<T>(
  line: string,
  schema: z.ZodType<T>,
  schemas: Schemas,
  name: string,
  number: number,
  isPlainly: (value: unknown) => boolean = () => false,
): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new DamagedSnapshotError(`${name}: record ${number} is not JSON`, { cause });
  }
  if (isPlainly(value)) return value as T;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const path = typeof value === "object" && value !== null && "path" in value ? ` (${JSON.stringify(value.path)})` : "";
  throw new DamagedSnapshotError(`${name}: record ${number}${path} is not valid: ${schemas.explain(parsed.error)}`);
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

/** Some lines at a time. */
async function* linesOf(compressed: Buffer, name: string): AsyncGenerator<readonly string[]> {
  const plain = createZstdDecompress({ chunkSize: 256 * 1024 });
  plain.end(compressed);
  let pending: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of plain as AsyncIterable<Buffer>) {
      const end = piece.lastIndexOf(10) + 1;
      if (end > 0) {
        pending.push(piece.subarray(0, end - 1));
        yield Buffer.concat(pending).toString("utf8").split("\n");
        pending = [];
        length = 0;
      }
      pending.push(piece.subarray(end));
      length += piece.length - end;
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
