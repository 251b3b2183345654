import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Change } from "./base-entries";
import { replaceFile } from "./cache-files";
import type { PackRecord } from "./manifest-records";
import { openEntryText, removedText } from "./manifest-text";
import type { PackedEntries } from "./packed-entries";
import { defaultIndexFile } from "./stat-index";

/** Grows whenever an older file would be read wrongly. */
const format = 2;

/** What an environment was when this machine last packed it. */
export interface LastPacked {
  readonly reference: string;
}

/** What has to be in a store for a snapshot to be there. */
export interface Needs {
  /** The snapshot's manifest and its base, where it has one: digest → bytes. */
  readonly manifests: Readonly<Record<string, number>>;
  readonly packs: readonly Omit<PackRecord, "type">[];
}

/** What a root was last packed to, kept beside its index. */
export interface PackedNote extends LastPacked, Needs {
  readonly store: string;
  readonly digest: string;
  /** Of the manifest that the fingerprint compares with. */
  readonly base: string;
  /** {@link fingerprintOf} what was packed. */
  readonly fingerprint: string;
}

/**
 * What was last packed from a root on this machine, or null when nothing was or it is not known any more. `index`: the index
 * file of the pack request, where it named one.
 */
export async function readLastPacked(root: string, index?: string): Promise<LastPacked | null> {
  const note = readNote(index ?? defaultIndexFile(resolve(root)));
  return note === null ? null : { reference: note.reference };
}

/** What is kept beside an index. It only saves time. */
export function readNote(index: string): PackedNote | null {
  try {
    const kept = JSON.parse(readFileSync(noteFile(index), "utf8")) as PackedNote & { sha256: string; format: number };
    const { sha256, format: found, ...note } = kept;
    return found === format && sha256 === hashOf(note) ? note : null;
  } catch {
    return null; // Missing or damaged.
  }
}

/** Keeps a note beside an index. Throws where that cannot be written. */
export function keepNote(index: string, note: PackedNote): void {
  replaceFile(noteFile(index), JSON.stringify({ format, sha256: hashOf(note), ...note }));
}

/**
 * What a manifest would say, save where content is: equal ones with the same base are of equal heads and entries. It covers what is
 * not as the base says; the rest is the base's.
 */
export function fingerprintOf(
  headText: string,
  base: string,
  entries: PackedEntries,
  changes: readonly Change[],
): string {
  const lines = [headText, base];
  for (const change of changes) {
    lines.push(typeof change === "string" ? removedText(change) : openEntryText(entries.at(change)));
  }
  return hash("sha256", lines.join("\n"));
}

/** Where the entries of the base are kept that a root's packs are compared with. */
export function baseFile(index: string): string {
  return `${index}.base`;
}

function noteFile(index: string): string {
  return `${index}.packed`;
}

function hashOf(note: PackedNote): string {
  return hash("sha256", JSON.stringify(note));
}
