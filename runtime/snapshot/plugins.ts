import { statSync } from "node:fs";
import { isAbsolute, join, relative, resolve } from "node:path";
import type { EntryTable } from "./entry-table";
import { headCommit } from "./git-commit";
import { identityOf } from "./identity";
import type { Parts } from "./parts";
import { below, isWithin, joinPath, parentOf } from "./paths";
import type { TreeEntry } from "./tree-entry";
import type { CountedEntry } from "./types";

export interface FoundPlugins {
  /** Plugin name → hash of its counted content, sorted by name. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly remarks: readonly string[];
  /** False where a plugin is a link, so that what it leads to had a say. */
  readonly lasting: boolean;
}

/** Finds what ComfyUI will import from the plugins' folder, and what each of it is. */
export function findPlugins(
  root: string,
  parts: Parts,
  entries: EntryTable,
  counted: readonly CountedEntry[],
): FoundPlugins {
  const remarks: string[] = [];
  const contents = new Map<string, CountedEntry[]>();
  let lasting = true;
  const first = entries.lowerBound(`${parts.plugins}/`);
  for (let row = first; row < entries.length && isWithin(entries.path(row), parts.plugins); row++) {
    const entry = entries.entry(row);
    if (entry.type === "link" && parentOf(entry.path) === parts.plugins) lasting = false;
    const name = pluginName(entry, root, parts);
    if (name === null) continue;
    contents.set(name, []);
    remarks.push(...remarksOn(name, entry, root, entries));
  }
  for (const entry of counted) {
    if (!isWithin(entry.path, parts.plugins) || entry.path === parts.plugins) continue;
    const path = below(entry.path, parts.plugins);
    contents.get(path.split("/", 1)[0] ?? "")?.push({ ...entry, path });
  }
  const hashes = Object.fromEntries([...contents].map(([name, content]) => [name, identityOf(content)]));
  return { hashes: sortedByKey(hashes), remarks, lasting };
}

/** What tells a person a plugin's version; the end of it changes with any edit. */
export function pluginVersion(root: string, parts: Parts, name: string, project: string | null, hash: string): string {
  const content = hash.slice(0, 8);
  const version = project ?? headCommit(join(root, parts.plugins, name))?.slice(0, 7);
  return version === undefined ? content : `${version} (${content})`;
}

export function sortedByKey<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** As ComfyUI decides it: everything in the folder but byte code, what was switched off, and files other than `.py`. */
function pluginName({ path, type }: TreeEntry, root: string, parts: Parts): string | null {
  if (!isWithin(path, parts.plugins) || path === parts.plugins) return null;
  const name = below(path, parts.plugins);
  if (name.includes("/") || name === "__pycache__" || name.endsWith(".disabled")) return null;
  const isFile = type === "file" || (type === "link" && leadsToFile(join(root, path)));
  return isFile && !name.endsWith(".py") ? null : name;
}

function leadsToFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function remarksOn(name: string, entry: TreeEntry, root: string, entries: EntryTable): string[] {
  if (entry.type === "link") {
    const target = resolve(root, entry.path, "..", entry.target);
    const inside = relative(root, target);
    const travels = !isAbsolute(inside) && entries.rowOf(inside) >= 0;
    if (travels) return [];
    return [`the plugin ${name} is a link to ${entry.target}, which does not travel; copy the plugin into its folder`];
  }
  if (!name.startsWith(".")) return [];
  const path = joinPath(entry.path, "");
  return [`${path} is a hidden ${entry.type}, which ComfyUI takes for a plugin that fails; move it elsewhere`];
}
