import { createHash, hash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fstatSync,
  futimesSync,
  openSync,
  readSync,
  rmSync,
  utimesSync,
  writeSync,
} from "node:fs";

/** Files that get into a folder from a complete restore that others may have damaged: as copies, each compared with its hash. */
export interface CopyFiles {
  /** Absolute paths of the folders that paths are below. */
  readonly from: string;
  readonly to: string;
  /** Joined by NUL. */
  readonly paths: string;
  /** For each path {@link copyFields} numbers: bytes, mode and time as they must become. */
  readonly files: Float64Array;
  /** For each path the 32 bytes of its content's SHA-256. */
  readonly digests: Uint8Array;
  /** Whether the file systems can share the blocks of a copy, as far as is known. */
  readonly reflinks: boolean;
}

export interface CopiedFiles {
  /** Numbers of the paths that are missing, or hold something else than they should: nothing is in their place. */
  readonly unusable: readonly number[];
  readonly reflinks: boolean;
}

export const copyFields = 3;

const digestSize = 32;
/** Bytes that are read at a time. */
const pieceSize = 1024 * 1024;
/** What is answered where two files cannot share blocks. */
const withoutReflinks = new Set(["EXDEV", "ENOTSUP", "EOPNOTSUPP", "ENOTTY", "EINVAL", "ENOSYS", "EPERM", "ETXTBSY"]);

interface Wanted {
  readonly size: number;
  readonly mode: number;
  readonly time: number;
  readonly digest: Uint8Array;
}

/** Throws what the folder that is written to gives; what is wrong with the other is told for each file. */
export function copyFiles({ from, to, paths, files, digests, reflinks: mayShare }: CopyFiles): CopiedFiles {
  const unusable: number[] = [];
  const buffer = Buffer.allocUnsafeSlow(pieceSize);
  let reflinks = mayShare;
  for (const [index, path] of paths.split("\0").entries()) {
    const at = index * copyFields;
    const [size = 0, mode = 0, time = 0] = [files[at], files[at + 1], files[at + 2]];
    const wanted = { size, mode, time, digest: digests.subarray(index * digestSize, (index + 1) * digestSize) };
    const source = openFile(`${from}/${path}`, size);
    if (source === null) {
      unusable.push(index);
      continue;
    }
    try {
      const target = `${to}/${path}`;
      // Small files are often not in blocks of their own, and are read and written at once.
      if (reflinks && size > pieceSize) reflinks = reflink(`${from}/${path}`, target);
      const shares = reflinks && size > pieceSize;
      const isIntact = shares ? finishReflink(target, wanted, buffer) : copy(source, target, wanted, buffer);
      if (!isIntact) unusable.push(index);
    } finally {
      closeSync(source);
    }
  }
  return { unusable, reflinks };
}

/** A regular file of the right size, or null. It is not waited for a pipe in its place. */
function openFile(path: string, size: number): number | null {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  const found = fstatSync(file);
  if (found.isFile() && found.size === size) return file;
  closeSync(file);
  return null;
}

/** A copy that has the blocks of the original until one of them is written to; false where that cannot be. */
function reflink(source: string, target: string): boolean {
  try {
    copyFileSync(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || !withoutReflinks.has(code)) throw error;
    return false;
  }
}

/** The copy itself is compared: whatever becomes of the original, it stays as it is. */
function finishReflink(target: string, { mode, time, digest, size }: Wanted, buffer: Buffer): boolean {
  chmodSync(target, 0o600);
  const file = openSync(target, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const found = hashWhile(file, size, buffer, () => undefined);
    if (found === null || found.compare(digest) !== 0) {
      rmSync(target);
      return false;
    }
  } finally {
    closeSync(file);
  }
  chmodSync(target, mode);
  utimesSync(target, time, time);
  return true;
}

/** What is compared is what is written: the same bytes in memory. */
function copy(source: number, target: string, { size, mode, time, digest }: Wanted, buffer: Buffer): boolean {
  if (size <= buffer.length) {
    const content = readWhole(source, size, buffer);
    if (content === null || hash("sha256", content, "buffer").compare(digest) !== 0) return false;
    const file = openSync(target, "wx", mode);
    try {
      writeAll(file, content);
      fchmodSync(file, mode);
      futimesSync(file, time, time);
    } finally {
      closeSync(file);
    }
    return true;
  }
  const file = openSync(target, "wx", 0o600);
  try {
    const found = hashWhile(source, size, buffer, (piece) => writeAll(file, piece));
    if (found === null || found.compare(digest) !== 0) {
      rmSync(target);
      return false;
    }
    fchmodSync(file, mode);
    futimesSync(file, time, time);
  } finally {
    closeSync(file);
  }
  return true;
}

/** All bytes of a file; null where it has fewer, more, or cannot be read. */
function readWhole(file: number, size: number, buffer: Buffer): Buffer | null {
  for (let filled = 0; filled < size; ) {
    const count = readPiece(file, buffer, filled, size - filled);
    if (count === null || count === 0) return null;
    filled += count;
  }
  return buffer.subarray(0, size);
}

/** The hash of a file, each piece of which is given away; null where it has fewer bytes, more, or cannot be read. */
function hashWhile(file: number, size: number, buffer: Buffer, take: (piece: Buffer) => void): Buffer | null {
  const sum = createHash("sha256");
  let done = 0;
  for (;;) {
    const count = readPiece(file, buffer, 0, buffer.length);
    if (count === null || done + count > size) return null;
    if (count === 0) return done === size ? sum.digest() : null;
    const piece = buffer.subarray(0, count);
    sum.update(piece);
    take(piece);
    done += count;
  }
}

/** Null for what a failing disk does not give. */
function readPiece(file: number, buffer: Buffer, offset: number, length: number): number | null {
  try {
    return readSync(file, buffer, offset, length, null);
  } catch {
    return null;
  }
}

function writeAll(file: number, content: Buffer): void {
  for (let written = 0; written < content.length; ) written += writeSync(file, content, written);
}
