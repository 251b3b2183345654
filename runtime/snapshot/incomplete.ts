import { closeSync, openSync, readFileSync, rmSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { stateOfProcess, uniqueToken } from "../store/process-token";
import { replaceFile } from "./cache-files";

/** Lies in the root of a restored environment while a restore over it is under way, or was killed. Never part of a snapshot. */
export const incompleteMarker = ".comfyui-incomplete";

interface Marked {
  /** The process that restores. */
  readonly token: string;
  /** What it restores. */
  readonly reference: string;
}

/** Why an environment must not be used, or null: a restore over it has not been completed. */
export function incompleteReason(root: string): string | null {
  const marked = read(join(root, incompleteMarker));
  if (marked === null) return null;
  const what = marked.reference === "" ? "a snapshot" : marked.reference;
  return `${root} is incomplete: a restore of ${what} over it ${isAlive(marked) ? "is under way" : "was cut short; restore over it again"}`;
}

/** What an incomplete environment was to become, empty where that is not known; null for one that is not marked as incomplete. */
export function incompleteReference(root: string): string | null {
  return read(join(root, incompleteMarker))?.reference ?? null;
}

/**
 * Marks an environment as incomplete. Throws where another process that still runs has done so: with `alone`, one that is known
 * to run; without, also one of another machine or container, of which nothing can be known. Returns the token that ends it, and
 * whether it was complete until then.
 */
export function markIncomplete(
  root: string,
  reference: string,
  alone: boolean,
): { readonly token: string; readonly wasComplete: boolean } {
  const marker = join(root, incompleteMarker);
  const token = uniqueToken();
  const text = JSON.stringify({ token, reference } satisfies Marked);
  if (create(marker, text)) return { token, wasComplete: true };
  const other = read(marker);
  if (other !== null && (alone ? stateOfProcess(other.token) === "alive" : isAlive(other))) {
    throw new Error(`another process restores ${other.reference} over ${root}; wait until it has ended`);
  }
  replaceFile(marker, text);
  return { token, wasComplete: false };
}

/** Throws where another process has taken over what this one had marked. */
export function requireOwnMark(root: string, token: string): void {
  if (read(join(root, incompleteMarker))?.token === token) return;
  throw new Error(`another process has begun to restore over ${root} as well; run this again when it has ended`);
}

/** Lets this and any other process restore over it, after a failure: this one does not any more. Takes no room on the disk. */
export function giveUpMark(root: string, token: string): void {
  if (read(join(root, incompleteMarker))?.token === token) truncateSync(join(root, incompleteMarker));
}

/** Throws where a snapshot has an entry in the marker's place. */
export function requireNoMarker({ entries }: { readonly entries: readonly { readonly path: string }[] }): void {
  if (!entries.some(({ path }) => path === incompleteMarker)) return;
  throw new Error(`the snapshot holds ${incompleteMarker}, which marks restores that are under way`);
}

export function removeMark(root: string): void {
  rmSync(join(root, incompleteMarker));
}

function create(marker: string, text: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(marker, "wx", 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
  try {
    writeSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
  return true;
}

function read(marker: string): Marked | null {
  let text: string;
  try {
    text = readFileSync(marker, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw error;
  }
  try {
    const { token, reference } = JSON.parse(text) as Marked;
    return { token: String(token), reference: String(reference) };
  } catch {
    return { token: "", reference: "" }; // Its process was killed while it wrote this, or gave up.
  }
}

/** One of another machine may run. */
function isAlive({ token }: Marked): boolean {
  return token !== "" && stateOfProcess(token) !== "dead";
}
