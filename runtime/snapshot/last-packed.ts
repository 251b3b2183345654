import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { replaceFile } from "./cache-files";
import { defaultIndexFile } from "./stat-index";
import type { CountedEntry } from "./types";

/** What an environment was when this machine last packed it. */
export interface LastPacked {
  readonly reference: string;
  readonly counted: readonly CountedEntry[];
}

/**
 * What was last packed from a root on this machine, or null when nothing was or it is not known any more. `index`: the index
 * file of the pack request, where it named one.
 */
export async function readLastPacked(root: string, index?: string): Promise<LastPacked | null> {
  let text: string;
  try {
    text = readFileSync(fileBeside(index ?? defaultIndexFile(resolve(root))), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  const [first = "", ...lines] = text.split("\n");
  try {
    const { reference } = JSON.parse(first) as { reference: string };
    return { reference, counted: lines.map((line) => JSON.parse(line) as CountedEntry) };
  } catch {
    return null; // Damaged. It only saves reading the manifest.
  }
}

/** Keeps it beside the index; a failure is a remark. */
export function writeLastPacked(index: string, reference: string, counted: Iterable<CountedEntry>): string[] {
  const first = JSON.stringify({ reference });
  try {
    if (firstLineIs(fileBeside(index), first)) return [];
    let text = first;
    for (const entry of counted) text += `\n${JSON.stringify(entry)}`;
    replaceFile(fileBeside(index), text);
    return [];
  } catch (error) {
    return [`what was packed could not be noted for comparisons: ${(error as Error).message}`];
  }
}

function fileBeside(index: string): string {
  return `${index}.packed`;
}

/** True where the file is of the snapshot that the line names: its content then follows from that. */
function firstLineIs(file: string, line: string): boolean {
  const expected = Buffer.from(`${line}\n`);
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  try {
    const found = Buffer.alloc(expected.length);
    return readSync(descriptor, found) === found.length && found.equals(expected);
  } finally {
    closeSync(descriptor);
  }
}
