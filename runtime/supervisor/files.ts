import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { readdir, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { z } from "zod";

export { removeTree } from "../remove-tree";

/**
 * Replaces a JSON file as a whole: a reader, and a start after a crash, finds the old or the new content. Whoever is killed on the
 * way leaves {@link temporaryOf} the path, which the next write takes: one process at a time writes to a path.
 */
export function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = temporaryOf(path);
  try {
    const file = openSync(temporary, "w", 0o600);
    try {
      writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
      fsyncSync(file);
    } catch (error) {
      // On a full disk it would take the room that the next attempt needs.
      rmSync(temporary, { force: true });
      throw error;
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    throw new Error(`${path} could not be written`, { cause: error });
  }
}

/** Where a JSON file is written before it gets its name. */
export const temporaryOf = (path: string) => `${path}.tmp`;

/**
 * The content of a JSON file that this package wrote, or null when there is none.
 * @throws when it is no JSON, or not of the given form: something else has written to it, or another version of this package.
 */
export function readJson<T>(path: string, form?: z.ZodType<T>): T | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  let content: T;
  try {
    content = JSON.parse(text) as T;
  } catch (error) {
    throw new Error(`${path} is not readable JSON; it is replaced as a whole, so something else has written to it`, {
      cause: error,
    });
  }
  const issues = form?.safeParse(content).error?.issues ?? [];
  if (issues.length === 0) return content;
  const problems = issues.slice(0, mostIssues).map(({ path: at, message }) => `${at.join(".") || "it"}: ${message}`);
  throw new Error(`${path} is not as this version of pulumi-comfyui writes it: ${problems.join("; ")}`);
}

/** How many of a file's problems a message names. */
const mostIssues = 5;

/** Names of the folders in a folder, sorted; none when there is no such folder. */
export function foldersIn(path: string): readonly string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
      .sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Removes a folder if it is there and empty. */
export async function removeIfEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
}

/** Names in a folder, sorted; none when there is no such folder. */
export async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
