import { type BigIntStats, constants, lstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import type { TableData, TablePlace } from "./entry-record";
import { EntryTableBuilder } from "./entry-table-builder";
import type { Part, Parts } from "./parts";
import { compareBytes, joinPath } from "./paths";
import { ignoreFile, type TravelRules } from "./travel-rules";
import { stampOf, type TreeEntry } from "./tree-entry";
import type { ModelsMode } from "./types";

/** What is walked, and by which rules. */
export interface WalkPlace {
  readonly root: string;
  readonly parts: Parts;
  readonly mode: ModelsMode;
  readonly rules: TravelRules;
}

/** A folder whose content is to be looked through. */
export interface FolderToWalk {
  readonly path: string;
  readonly part: Part;
  readonly counts: boolean;
  /** Identities of the folders above, where links are followed and could lead round in a circle. */
  readonly above: readonly string[];
}

/** What was found below a folder, without the folder itself. */
export interface WalkedFolder {
  readonly table: TableData;
  /** Folders that were not looked through, in order, and where what they hold belongs. */
  readonly rests: readonly { readonly folder: FolderToWalk; readonly place: TablePlace }[];
  readonly remarks: readonly string[];
  /** Left out since they hold credentials. */
  readonly credentials: readonly string[];
  /** Files and folders that were looked at. */
  readonly looked: number;
  readonly trace: FolderTrace;
}

/** What else has to be as it was for a further look to find the same. Of models, which are few, nothing is noted. */
export interface FolderTrace {
  /** Folders that were looked through, joined by NUL, and how many names each holds. */
  readonly folders: string;
  readonly names: Int32Array<ArrayBuffer>;
  /** Names in them that are no entries, and the bits of `st_mode` that say what each is: 0 where that does not matter. */
  readonly leftOut: readonly (readonly [path: string, kind: number])[];
}

/** ComfyUI's repository keeps its empty model folders with such files. */
const placeholder = /^put_.*_here$/;

/** What a folder holds and what is to be looked through in it, in the order of full paths. */
type Item = { readonly key: string } & ({ readonly found: Found } | { readonly folder: FolderToWalk & Named });

interface Named {
  readonly names: readonly string[];
}

interface Found extends Omit<TreeEntry, "stamp"> {
  readonly stats: BigIntStats;
}

/** Looks through what is below a folder, a step at a time. */
export class FolderWalk {
  /** The model files that were found, in the order of full paths. */
  readonly models: TreeEntry[] = [];
  readonly #place: WalkPlace;
  readonly #roots: ReadonlySet<string>;
  readonly #budget: number;
  readonly #table = new EntryTableBuilder();
  readonly #rests: { folder: FolderToWalk; place: TablePlace }[] = [];
  readonly #remarks: string[] = [];
  readonly #credentials: string[] = [];
  readonly #open: Item[][];
  readonly #folders: string[] = [];
  readonly #names: number[] = [];
  readonly #leftOut: [path: string, kind: number][] = [];
  #looked = 0;

  /** Once `budget` files and folders were looked at, further folders are named instead of looked through. */
  constructor(place: WalkPlace, folder: FolderToWalk, budget: number) {
    this.#place = place;
    this.#budget = budget;
    this.#roots = new Set(Object.values(place.parts));
    this.#open = [[{ key: folder.path, folder: { ...folder, names: namesIn(place.root, folder.path) } }]];
  }

  get looked(): number {
    return this.#looked;
  }

  /** Looks at the next folder's content. Returns false when nothing is left. */
  step(): boolean {
    for (let items = this.#open.at(-1); items !== undefined; items = this.#open.at(-1)) {
      const item = items.pop();
      if (item === undefined) this.#open.pop();
      else if ("found" in item) this.#add(item.found);
      else if (this.#looked >= this.#budget) {
        const { names: _, ...folder } = item.folder;
        this.#rests.push({ folder, place: this.#table.place });
      } else {
        this.#open.push(this.#itemsOf(item.folder));
        return true;
      }
    }
    return false;
  }

  result(): WalkedFolder {
    return {
      table: this.#table.data(),
      rests: this.#rests,
      remarks: this.#remarks,
      credentials: this.#credentials,
      looked: this.#looked,
      trace: { folders: this.#folders.join("\0"), names: Int32Array.from(this.#names), leftOut: this.#leftOut },
    };
  }

  /** The last first. */
  #itemsOf({ path, names, ...inherited }: FolderToWalk & Named): Item[] {
    const items: Item[] = [];
    if (inherited.part !== "models") {
      this.#folders.push(path);
      this.#names.push(names.length);
    }
    for (const name of names) this.#take(path, name, inherited, items);
    return items.sort((a, b) => compareBytes(b.key, a.key));
  }

  /** Notes one name of a folder, and what is in it where it is one itself. */
  #take(folder: string, name: string, { part, counts, above }: Omit<FolderToWalk, "path">, items: Item[]): void {
    const path = joinPath(folder, name);
    const followed = part === "models";
    if (this.#roots.has(path)) {
      if (!followed) this.#leftOut.push([path, 0]);
      return;
    }
    const { root, rules, mode } = this.#place;
    const stats = look(root, path, followed);
    if (stats === null) {
      if (followed && look(root, path, false) !== null) this.#remarks.push(`${path} is a link that leads nowhere`);
      return;
    }
    this.#looked += 1;
    const isFolder = stats.isDirectory();
    const verdict = rules.judge(path, name, isFolder, part);
    if (verdict === "credential") this.#credentials.push(path);
    if (verdict === "credential" || verdict === "out") {
      if (!followed) this.#leftOut.push([path, kindOf(stats)]);
      return;
    }
    if (followed && isFolder && above.includes(identityOf(stats))) {
      this.#remarks.push(`${path} leads back to a folder above it and was not followed`);
      return;
    }
    const names = isFolder ? namesIn(root, path) : [];
    // In the cache, folders come and go with what stays out of them.
    const empty = isFolder && names.length === 0 && part !== "cache";
    const found = this.#found(path, stats, {
      counts: counts && verdict === "counts" && path !== ignoreFile,
      followed,
      empty,
    });
    if (found === null) {
      if (!followed) this.#leftOut.push([path, kindOf(stats)]);
      return;
    }
    if (!followed || mode === "included") items.push({ key: name, found });
    if (followed) this.#addModel(found, name);
    if (!isFolder) return;
    const below = followed ? [...above, identityOf(stats)] : above;
    items.push({ key: `${name}/`, folder: { path, names, part, counts: found.counts, above: below } });
  }

  #add({ stats, ...entry }: Found): void {
    this.#table.add({ ...entry, found: entry.type === "file" ? stats : null });
  }

  #addModel({ stats, ...entry }: Found, name: string): void {
    const stamp = stampOf(stats);
    if (entry.type === "file" && !(stamp.size === 0 && placeholder.test(name))) this.models.push({ ...entry, stamp });
  }

  #found(path: string, stats: BigIntStats, kind: Pick<TreeEntry, "counts" | "followed" | "empty">): Found | null {
    const mode = Number(stats.mode) & 0o777;
    if (stats.isFile()) return { path, type: "file", mode, target: "", ...kind, stats };
    if (stats.isDirectory()) return { path, type: "directory", mode, target: "", ...kind, stats };
    if (stats.isSymbolicLink()) {
      const target = targetOf(this.#place.root, path);
      return target === null ? null : { path, type: "link", mode, target, ...kind, stats };
    }
    this.#remarks.push(`${path} is a ${specialKind(stats)} and was left out`);
    return null;
  }
}

/** What is at a path, or null where nothing is, or a link that leads nowhere. */
export function look(root: string, path: string, follow: boolean): BigIntStats | null {
  try {
    return follow
      ? statSync(absolute(root, path), { bigint: true })
      : lstatSync(absolute(root, path), { bigint: true });
  } catch (error) {
    if (vanished(error)) return null;
    throw explained(error, path);
  }
}

/** The bits that say whether something is a file, a folder or anything else. */
export function kindOf({ mode }: BigIntStats): number {
  return Number(mode) & constants.S_IFMT;
}

export function identityOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

function targetOf(root: string, path: string): string | null {
  try {
    return readlinkSync(absolute(root, path));
  } catch (error) {
    if (vanished(error)) return null;
    throw error;
  }
}

function namesIn(root: string, folder: string): readonly string[] {
  let names: string[];
  try {
    names = readdirSync(absolute(root, folder));
  } catch (error) {
    if (vanished(error)) return [];
    throw explained(error, folder);
  }
  for (const name of names) {
    // What stands for bytes that are no UTF-8; a name may also hold that very character.
    if (name.includes("\ufffd") && look(root, joinPath(folder, name), false) === null) {
      throw new Error(
        `${absolute(root, joinPath(folder, name))}: its name is not valid UTF-8; rename it, or list its folder in ${ignoreFile}`,
      );
    }
  }
  return names;
}

function absolute(root: string, path: string): string {
  return path === "" ? root : `${root}/${path}`;
}

function specialKind(found: BigIntStats): string {
  if (found.isSocket()) return "socket";
  return found.isFIFO() ? "named pipe" : "device";
}

/** Gone since its name was read, or a link that leads nowhere or in a circle. */
function vanished(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function explained(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "EACCES" && code !== "EPERM") return error;
  return new Error(`${path} cannot be read; make it readable for this user, or list it in ${ignoreFile}`, {
    cause: error,
  });
}
