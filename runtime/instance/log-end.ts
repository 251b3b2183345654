import { fstatSync, readSync } from "node:fs";

/**
 * Bytes that are read of a log to see how a start went, several times a second. ComfyUI prints its table of plugins last, and even
 * hundreds of tracebacks are less.
 */
export const longestRead = 4 * 2 ** 20;
/** Bytes that the last lines are looked for in. */
export const tailBytes = 64 * 2 ** 10;
/** Lines that evidence quotes. */
const tailLines = 40;

/** The last bytes of an open file. */
export function endOfFile(file: number, bytes: number): Buffer {
  const { size } = fstatSync(file);
  const buffer = Buffer.alloc(Math.min(size, bytes));
  const length = readSync(file, buffer, 0, buffer.length, size - buffer.length);
  return buffer.subarray(0, length);
}

/** The last lines of a text. */
export function lastLines(text: string): readonly string[] {
  const trimmed = text.trimEnd();
  return trimmed === "" ? [] : trimmed.split(/\r?\n/).slice(-tailLines);
}
