import { hash } from "node:crypto";
import { chmodSync, closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { hashOf, replaceFile, userCacheFolder } from "./cache-files";
import { digestSize } from "./digest-table";
import type { SnapshotEntry, SnapshotFile } from "./manifest-table";
import { compareBytes, parentOf } from "./paths";

/** Grows whenever an older record would be read wrongly. */
const format = 1;
/** Milliseconds. A file that was written less than this before a restore ended may have been written to since without that its time tells. */
const clockStep = 20;
/** Paths that are made one text at a time: all of them would be in memory twice. */
const pathsAtOnce = 4096;
/** Bytes of a record's first line that are read to find out what it is of. */
const longestHead = 64 * 1024;

/** In place of a hash's first byte, of a folder that holds nothing but what was restored. */
const onlyEntries = 1;

interface Head {
  readonly format: number;
  readonly sha256: string;
  readonly target: string;
  /** Where its known places say that it is. */
  readonly location: string;
  /** The folder itself: another one may stand there by now. */
  readonly root: string;
  /** When it was complete, by the clock of its file system: nanoseconds since 1970. */
  readonly completed: string;
  readonly rows: number;
}

/**
 * What a folder got by a restore, kept among the user's caches, so that a restore over it finds out what differs without reading
 * content: a file whose inode has not changed since holds what the record says. Without it a folder is nobody's restore.
 */
export class RestoreRecord {
  readonly location: string;
  /** Milliseconds since 1970: what has changed later may be another thing by now. */
  readonly trustedUntil: number;
  readonly #digests: Buffer;
  /** Of all that was restored, sorted as a manifest's entries are. Earlier versions of this package noted files only. */
  readonly paths: readonly string[];
  readonly #headText: string;

  private constructor({ location, completed }: Head, headText: string, digests: Buffer, paths: readonly string[]) {
    this.location = location;
    this.#headText = headText;
    this.trustedUntil = Number(BigInt(completed) / 1_000_000n) - clockStep;
    this.#digests = digests;
    this.paths = paths;
  }

  /** The record of a folder, or null where it is not known to be a restore. */
  static read(target: string): RestoreRecord | null {
    let bytes: Buffer;
    try {
      bytes = readFileSync(fileOf(target));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
    const end = bytes.indexOf(10);
    const head = headIn(bytes.subarray(0, Math.max(end, 0)));
    const body = bytes.subarray(end + 1);
    if (head === null || head.target !== target || head.root !== identityOf(target)) return null;
    if (head.sha256 !== hash("sha256", body)) return null;
    const digests = Buffer.from(body.subarray(0, head.rows * digestSize));
    const paths = head.rows === 0 ? [] : body.toString("utf8", head.rows * digestSize).split("\0");
    return new RestoreRecord(head, JSON.stringify(head), digests, paths);
  }

  /** Whether it is still the record of a folder: no other restore over it has ended since it was read. */
  isOf(target: string): boolean {
    return JSON.stringify(headOf(fileOf(target))) === this.#headText;
  }

  /** The row of each entry of a snapshot, or -1 where it has none with that path; and the folders that hold what the snapshot lacks. */
  compare(entries: readonly SnapshotEntry[]): { readonly rows: Int32Array; readonly withOthers: ReadonlySet<string> } {
    const rows = new Int32Array(entries.length).fill(-1);
    const withOthers = new Set<string>();
    let row = 0;
    for (const [number, { path }] of entries.entries()) {
      let known = this.paths[row];
      while (known !== undefined && known !== path && compareBytes(known, path) < 0) {
        withOthers.add(parentOf(known));
        known = this.paths[++row];
      }
      if (known === path) rows[number] = row++;
    }
    for (const known of this.paths.slice(row)) withOthers.add(parentOf(known));
    return { rows, withOthers };
  }

  /** Whether the folder of a row held nothing but what the record has, when the restore ended. */
  hadOnlyEntries(row: number): boolean {
    return this.#digests[row * digestSize] === onlyEntries;
  }

  /**
   * Whether the file of a row was restored from the content of one of a snapshot, or null when it may have changed since: `ctime` is in
   * milliseconds.
   */
  has(row: number, file: SnapshotFile, ctime: number): boolean | null {
    return row < 0 || ctime >= this.trustedUntil ? null : file.hasDigest(this.#digests, row * digestSize);
  }
}

/** Digests and paths of what was restored, as a record has them. */
export interface RecordedContents {
  readonly rows: number;
  /** The digests, of folders {@link onlyEntries} or zeros; then the paths, joined by NUL; in pieces. */
  readonly pieces: readonly Buffer[];
  readonly sha256: string;
}

/**
 * What a record says. Takes a moment, so it is made while there is nothing else to do. `hasOnlyEntries`: whether the folder with a path will hold
 * nothing else when the restore ends.
 */
export function recordContents(
  entries: readonly SnapshotEntry[],
  hasOnlyEntries: (folder: string) => boolean,
): RecordedContents {
  const digests = Buffer.allocUnsafeSlow(entries.length * digestSize);
  for (const [row, entry] of entries.entries()) {
    entry.copyDigest(digests, row * digestSize);
    if (entry.type === "directory" && hasOnlyEntries(entry.path)) digests[row * digestSize] = onlyEntries;
  }
  const pieces = [digests];
  for (let row = 0; row < entries.length; row += pathsAtOnce) {
    const paths = entries.slice(row, row + pathsAtOnce).map(({ path }) => path);
    pieces.push(Buffer.from(`${row === 0 ? "" : "\0"}${paths.join("\0")}`));
  }
  return { rows: entries.length, pieces, sha256: hashOf(pieces) };
}

/** Notes a restore that is complete in all but, perhaps, its folder's name. Forgets those whose folders are gone. */
export function writeRecord(
  folder: string,
  { target, location, contents }: { target: string; location: string; contents: RecordedContents },
): void {
  const completed = clockOf(folder);
  const { rows, pieces, sha256 } = contents;
  const head: Head = { format, sha256, target, location, root: identityOf(folder), completed: `${completed}`, rows };
  replaceFile(fileOf(target), [Buffer.from(`${JSON.stringify(head)}\n`), ...pieces]);
  forgetOthers();
}

/** Now, by the clock of the folder's file system: whatever is written to from now on has a later time. */
function clockOf(folder: string): bigint {
  const own = touchable(folder);
  chmodSync(own, Number(lstatSync(own).mode) & 0o7777);
  return lstatSync(own, { bigint: true }).ctimeNs;
}

/** The root of a mounted volume may be another user's; what a restore has written there is its own. */
function touchable(folder: string): string {
  const user = process.geteuid?.();
  const isOwn = (path: string) => lstatSync(path).uid === user;
  if (user === 0 || isOwn(folder)) return folder;
  const inside = readdirSync(folder, { withFileTypes: true }).find(
    (entry) => !entry.isSymbolicLink() && isOwn(join(folder, entry.name)),
  );
  return inside === undefined ? folder : join(folder, inside.name);
}

function recordsFolder(): string {
  return join(userCacheFolder(), "restored");
}

function fileOf(target: string): string {
  return join(recordsFolder(), hash("sha256", target).slice(0, 32));
}

function identityOf(folder: string): string {
  const { dev, ino } = lstatSync(folder, { bigint: true });
  return `${dev}:${ino}`;
}

/** Records of folders that are gone, or were made anew, are of no use. */
function forgetOthers(): void {
  for (const name of readdirSync(recordsFolder())) {
    if (!/^[0-9a-f]{32}$/.test(name)) continue;
    const file = join(recordsFolder(), name);
    const head = headOf(file);
    if (head === null || lstatSync(head.target, { throwIfNoEntry: false }) !== undefined) continue;
    // Not one that is just getting its name.
    if (Date.now() - Number(BigInt(head.completed) / 1_000_000n) > 3_600_000) rmSync(file, { force: true });
  }
}

function headOf(file: string): Head | null {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    const start = Buffer.alloc(longestHead);
    const line = start.subarray(0, readSync(descriptor, start));
    return headIn(line.subarray(0, Math.max(line.indexOf(10), 0)));
  } finally {
    closeSync(descriptor);
  }
}

function headIn(line: Buffer): Head | null {
  try {
    const head = JSON.parse(line.toString("utf8")) as Head;
    return head.format === format ? head : null;
  } catch {
    return null; // Damaged: the restore is then not known.
  }
}
