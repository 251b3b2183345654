import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { z } from "zod";
import { endOfFile } from "../instance";

/** Bytes of a JSON file that are read; what the launcher writes is far less. */
const longestJson = 4 * 2 ** 20;

/*
 * The agent shares folders with ComfyUI, whose plugins are strangers' code and may put anything there. What is read here can end up in
 * evidence that they can ask for, so a link must not make the agent read what only its own container has: a token, say. And a pipe must
 * not hold it up. All files lie right in a mount point, which cannot be replaced itself.
 */

/** The last bytes of a regular file in a folder; null where there is none. */
export function readEnd(folder: string, name: string, bytes: number): Buffer | null {
  let file: number;
  try {
    file = openSync(join(folder, name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    if (!fstatSync(file).isFile()) return null;
    return endOfFile(file, bytes);
  } finally {
    closeSync(file);
  }
}

/** What a JSON file holds; null where there is none of this form. */
export function readShared<T>(path: string, form: z.ZodType<T>): T | null {
  const text = readEnd(dirname(path), basename(path), longestJson)?.toString("utf8");
  if (text === undefined) return null;
  try {
    return form.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** Replaces a file as a whole. Not through a link that somebody has put in its place. */
export function writeShared(path: string, content: string, mode = 0o644): void {
  const temporary = temporaryOf(path);
  try {
    const file = openSync(temporary, "wx", mode);
    try {
      writeFileSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Makes a link, or replaces what is in its place. */
export function linkShared(path: string, target: string): void {
  const temporary = temporaryOf(path);
  symlinkSync(target, temporary);
  renameSync(temporary, path);
}

function temporaryOf(path: string): string {
  return `${path}.${randomBytes(6).toString("hex")}.tmp`;
}
