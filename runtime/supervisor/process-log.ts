import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { endOfFile, lastLines, longestRead, tailBytes } from "../instance";
import { isMissing } from "./files";

/** Bytes after which a log is moved aside; with the one kept beside it a process takes at most twice as much. */
const largestLog = 16 * 2 ** 20;
/**
 * Opens a fresh log for a process and keeps the previous start's as `<path>.1`. Processes write to the file itself, in append
 * mode, so that their output goes on when the supervisor is killed.
 */
export function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(path)) renameSync(path, `${path}.1`);
  return openSync(path, "a", 0o600);
}

/** What was printed since the start, or since the log was last moved aside; of a long one the end. Empty when there is no log. */
export function readLog(path: string): string {
  return endOf(path, longestRead).toString("utf8");
}

/** The last lines of a log. */
export function logTail(path: string): readonly string[] {
  return lastLines(endOf(path, tailBytes).toString("utf8"));
}

/**
 * Keeps a log small by copying its end aside and emptying it, as its writer holds it open. Emptied also when there is no room
 * for the copy: the log itself may be what has filled the disk.
 */
export function capLog(path: string): void {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= largestLog) return;
  const aside = `${path}.1`;
  try {
    writeFileSync(aside, endOf(path, largestLog), { mode: 0o600 });
  } catch (error) {
    rmSync(aside, { force: true, recursive: true });
    throw error;
  } finally {
    truncateSync(path);
  }
}

/** The last bytes of a file; none when there is no such file. */
function endOf(path: string, bytes: number): Buffer {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if (isMissing(error)) return Buffer.alloc(0);
    throw error;
  }
  try {
    return endOfFile(file, bytes);
  } finally {
    closeSync(file);
  }
}
