import { createHash, type Hash, hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { factReader } from "./facts";
import { isKnownPlace, largestKnownPlace, normalize } from "./known-places";
import type { Parts } from "./parts";
import { sameStamp, stampOf, type TreeEntry } from "./tree-entry";

/** Bytes that are read at a time; what a frame holds at most, and below which a file shares one with others. */
export const chunkSize = 1024 * 1024;

export interface FileContent {
  /** SHA-256 of the bytes. */
  readonly sha256: string;
  /** SHA-256 of what counts for the identity: of the same bytes, save for places that name the environment's root. */
  readonly identity: string;
  /** What the file says about the environment, as JSON; null for most. */
  readonly fact: string | null;
}

/** A file is no longer as the walk found it. */
export class FileChangedError extends Error {
  override readonly name = "FileChangedError";
}

export interface ContentPlace {
  readonly root: string;
  readonly parts: Parts;
}

/** A file as a walk found it. */
export type FoundFile = Pick<TreeEntry, "path" | "followed" | "stamp">;

/** The same of a file of at most {@link chunkSize} bytes, as far as it takes to tell whether it changed. */
export interface FoundSmallFile extends Pick<TreeEntry, "path" | "followed"> {
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since 1970, with what a double holds of a fraction. */
  readonly ctime: number;
}

/** Reads a file that a walk found. Throws {@link FileChangedError} when at its end it is not what the walk saw. */
export class FileReading {
  readonly #entry: FoundFile;
  readonly #place: ContentPlace;
  readonly #descriptor: number;
  readonly #whole: Hash | null;
  #at = 0;
  #content: FileContent | undefined;

  constructor(entry: FoundFile, place: ContentPlace) {
    this.#entry = entry;
    this.#place = place;
    this.#descriptor = openFile(entry, place.root);
    this.#whole = this.size > chunkSize ? createHash("sha256") : null;
  }

  get size(): number {
    return this.#entry.stamp.size;
  }

  /** The next bytes, at most {@link chunkSize}, or null at the end. They lie in `buffer`, which must have room for them. */
  next(buffer: Buffer): Buffer | null {
    const wanted = Math.min(chunkSize, this.size - this.#at);
    if (wanted === 0 && (this.#at > 0 || this.#content !== undefined)) {
      this.#finish();
      return null;
    }
    let filled = 0;
    while (filled < wanted) {
      const count = readSync(this.#descriptor, buffer, filled, wanted - filled, this.#at + filled);
      if (count === 0) throw changed(this.#entry);
      filled += count;
    }
    this.#at += filled;
    const chunk = buffer.subarray(0, filled);
    if (this.#whole === null) this.#content = describeContent(this.#entry.path, chunk, this.#place);
    else this.#whole.update(chunk);
    return chunk;
  }

  /** What was read. Only after {@link next} has returned null. */
  get content(): FileContent {
    if (this.#content === undefined) throw new Error(`${this.#entry.path} was not read to its end`);
    return this.#content;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #finish(): void {
    this.#checkUnchanged();
    if (this.#whole === null || this.#content !== undefined) return;
    const sha256 = this.#whole.digest("hex");
    this.#content = { sha256, identity: sha256, fact: null };
  }

  #checkUnchanged(): void {
    const now = stampOf(fstatSync(this.#descriptor, { bigint: true }));
    if (!sameStamp(now, this.#entry.stamp)) throw changed(this.#entry);
  }
}

/**
 * Reads a whole small file into a buffer of its size. Throws {@link FileChangedError} when at its end it is not what the walk saw.
 */
export function readSmall(file: FoundSmallFile, place: ContentPlace, buffer: Buffer): FileContent {
  const descriptor = openFile(file, place.root);
  try {
    let filled = 0;
    while (filled < buffer.length) {
      const count = readSync(descriptor, buffer, filled, buffer.length - filled, filled);
      if (count === 0) throw changed(file);
      filled += count;
    }
    // To the microsecond, which takes half as long as to the nanosecond. Whatever was written after the walk is later by far more:
    // reading began when the clock had left all times that the walk saw.
    const { size, ctimeMs } = fstatSync(descriptor);
    if (size !== file.size || Math.abs(ctimeMs - file.ctime) > 0.001) throw changed(file);
  } finally {
    closeSync(descriptor);
  }
  return describeContent(file.path, buffer, place);
}

function changed({ path }: Pick<TreeEntry, "path">): FileChangedError {
  return new FileChangedError(`${path} changed while it was read`);
}

function openFile({ path, followed }: Pick<TreeEntry, "path" | "followed">, root: string): number {
  // Not waiting for a writer, should a named pipe stand there by now.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (followed ? 0 : constants.O_NOFOLLOW);
  try {
    return openSync(`${root}/${path}`, flags);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP" || code === "ENXIO") {
      throw new FileChangedError(`${path} changed while it was read`);
    }
    throw new Error(`${path} cannot be read; make it readable for this user, or list it in .comfyuiignore`, {
      cause: error,
    });
  }
}

function describeContent(path: string, bytes: Buffer, { root, parts }: ContentPlace): FileContent {
  const sha256 = hash("sha256", bytes);
  const known = bytes.length <= largestKnownPlace && isKnownPlace(path, parts) ? normalize(bytes, path, root) : null;
  const fact = factReader(path, parts)?.(bytes.toString("utf8"));
  return {
    sha256,
    identity: known === null ? sha256 : hash("sha256", known),
    fact: fact === undefined ? null : JSON.stringify(fact),
  };
}
