import { type BigIntStats, constants, lstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { at, doubles, flag, longs, recordSize, shorts, types } from "../entry-record";

/** What a tree was, and what is left to be looked at: several threads share it. */
export interface LookAgain {
  readonly root: string;
  /** As in a table of entries. */
  readonly records: Uint8Array<SharedArrayBuffer>;
  readonly text: Uint8Array<SharedArrayBuffer>;
  readonly targets: readonly string[];
  /** Where every {@link rowsAtOnce} rows begin: row, byte of the text and number of links before it. Ends with the tree's end. */
  readonly starts: readonly (readonly [row: number, text: number, link: number])[];
  /** Entries that are folders whether or not a link leads to them. */
  readonly followed: readonly string[];
  /** Folders, joined by NUL, and how many names each holds; what is in them that is no entry, and what it is, where that matters. */
  readonly folders: string;
  readonly names: Int32Array;
  readonly leftOut: readonly (readonly [path: string, kind: number])[];
  /** The next piece of work, and whether to stop: something is not as it was, or nobody wants to know any more. */
  readonly progress: Int32Array<SharedArrayBuffer>;
}

const nextPiece = 0;
export const stopped = 1;

/** Entries of a piece of work: some milliseconds. */
export const rowsAtOnce = 1_000;
const foldersAtOnce = 500;
const leftOutAtOnce = 1_000;

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = constants;
const kinds: Readonly<Record<(typeof types)[number], number>> = { file: S_IFREG, directory: S_IFDIR, link: S_IFLNK };
const quietly = { bigint: true, throwIfNoEntry: false } as const;

/** Takes pieces of work until there are none. Returns false when something is not as it was. */
export function lookAgain(request: LookAgain): boolean {
  const { starts, names, leftOut, progress } = request;
  const rows = starts.length - 1;
  const restFrom = rows + Math.ceil(names.length / foldersAtOnce);
  const pieces = restFrom + Math.ceil(leftOut.length / leftOutAtOnce);
  const table = new Table(request);
  const folders = request.folders.split("\0").slice(0, names.length);
  while (Atomics.load(progress, stopped) === 0) {
    const piece = Atomics.add(progress, nextPiece, 1);
    if (piece >= pieces) return true;
    if (piece < rows && table.isSame(piece)) continue;
    if (piece >= rows && piece < restFrom && areSameFolders(request, folders, piece - rows)) continue;
    if (piece >= restFrom && isSameRest(request, piece - restFrom)) continue;
    Atomics.store(progress, stopped, 1);
  }
  return false;
}

function areSameFolders({ root, names }: LookAgain, folders: readonly string[], piece: number): boolean {
  const from = piece * foldersAtOnce;
  return unlessFailing(() =>
    folders
      .slice(from, from + foldersAtOnce)
      .every((path, number) => readdirSync(absolute(root, path)).length === names[from + number]),
  );
}

function isSameRest({ root, leftOut }: LookAgain, piece: number): boolean {
  return unlessFailing(() =>
    leftOut.slice(piece * leftOutAtOnce, (piece + 1) * leftOutAtOnce).every(([path, kind]) => {
      const found = lstatSync(absolute(root, path), quietly);
      return found !== undefined && (kind === 0 || (Number(found.mode) & S_IFMT) === kind);
    }),
  );
}

/** Whoever looks for what changed meets the error. */
function unlessFailing(look: () => boolean): boolean {
  try {
    return look();
  } catch {
    return false;
  }
}

class Table {
  readonly #request: LookAgain;
  readonly #followed: ReadonlySet<string>;
  readonly #text: Buffer;
  readonly #doubles: Float64Array;
  readonly #longs: BigInt64Array;
  readonly #shorts: Uint16Array;

  constructor(request: LookAgain) {
    const { records, text, followed } = request;
    const { buffer, byteOffset, length } = records;
    this.#request = request;
    this.#followed = new Set(followed);
    this.#text = Buffer.from(text.buffer, text.byteOffset, text.length);
    this.#doubles = new Float64Array(buffer, byteOffset, length / 8);
    this.#longs = new BigInt64Array(buffer, byteOffset, length / 8);
    this.#shorts = new Uint16Array(buffer, byteOffset, length / 2);
  }

  isSame(piece: number): boolean {
    const { root, starts, targets } = this.#request;
    const [row, text, firstLink] = starts[piece] ?? [0, 0, 0];
    const [end, textEnd] = starts[piece + 1] ?? [0, 0];
    let link = firstLink;
    if (row === end) return true;
    const paths = this.#text.toString("utf8", text, textEnd - 1).split("\0");
    return unlessFailing(() =>
      paths.every((path, number) => {
        const type = this.#type(row + number);
        const find = type === "directory" && this.#followed.has(path) ? statSync : lstatSync;
        const found = find(absolute(root, path), quietly);
        if (found === undefined || !this.#isAs(row + number, type, found)) return false;
        return type !== "link" || readlinkSync(absolute(root, path)) === targets[link++];
      }),
    );
  }

  #type(row: number): (typeof types)[number] {
    return types[(this.#request.records[row * recordSize + at.flags] ?? 0) & flag.type] ?? "file";
  }

  #isAs(row: number, type: (typeof types)[number], found: BigIntStats): boolean {
    const mode = Number(found.mode);
    if ((mode & S_IFMT) !== kinds[type] || (mode & 0o777) !== this.#shorts[row * shorts + at.mode]) return false;
    return (
      type !== "file" ||
      (this.#longs[row * longs + at.ctime] === found.ctimeNs &&
        this.#longs[row * longs + at.mtime] === found.mtimeNs &&
        this.#doubles[row * doubles + at.size] === Number(found.size) &&
        this.#doubles[row * doubles + at.ino] === Number(found.ino))
    );
  }
}

function absolute(root: string, path: string): string {
  return path === "" ? root : `${root}/${path}`;
}
