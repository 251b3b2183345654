import { readFileSync } from "node:fs";
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
export function writeLastPacked(index: string, reference: string, counted: readonly CountedEntry[]): string[] {
  try {
    replaceFile(fileBeside(index), [{ reference }, ...counted].map((line) => JSON.stringify(line)).join("\n"));
    return [];
  } catch (error) {
    return [`what was packed could not be noted for comparisons: ${(error as Error).message}`];
  }
}

function fileBeside(index: string): string {
  return `${index}.packed`;
}
