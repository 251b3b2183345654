import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
} from "node:fs";
import { dirname } from "node:path";
import { isMissing } from "./files";

/** Bytes after which a log is moved aside; with the one kept beside it a process takes at most twice as much. */
const largestLog = 16 * 2 ** 20;
/** Lines and bytes that evidence quotes. */
const tailLines = 40;
const tailBytes = 64 * 2 ** 10;

/**
 * Opens a fresh log for a process and keeps the previous start's as `<path>.1`. Processes write to the file itself, in append
 * mode, so that their output goes on when the supervisor is killed.
 */
export function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(path)) renameSync(path, `${path}.1`);
  return openSync(path, "a", 0o600);
}

/** All that was printed since the start, or since the log was last moved aside; empty when there is no log. */
export function readLog(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return "";
    throw error;
  }
}

/** The last lines of a log. */
export function logTail(path: string): readonly string[] {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  try {
    const { size } = statSync(path);
    const buffer = Buffer.alloc(Math.min(size, tailBytes));
    const length = readSync(file, buffer, 0, buffer.length, size - buffer.length);
    return buffer.subarray(0, length).toString("utf8").trimEnd().split(/\r?\n/).slice(-tailLines);
  } finally {
    closeSync(file);
  }
}

/** Keeps a log small by copying it aside and emptying it, as its writer holds it open. */
export function capLog(path: string): void {
  if (!existsSync(path) || statSync(path).size <= largestLog) return;
  copyFileSync(path, `${path}.1`);
  truncateSync(path);
}
