import { type BigIntStats, constants, lstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import type { NewEntry, TableData, TablePlace } from "./entry-record";
import { EntryTableBuilder } from "./entry-table-builder";
import type { Part, Parts } from "./parts";
import { compareBytes, joinPath } from "./paths";
import { ignoreFile, type TravelRules } from "./travel-rules";
import { type Stamp, stampOf, type TreeEntry } from "./tree-entry";
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

interface Named extends FolderToWalk {
  readonly names: readonly string[];
}

/** A folder that is being looked through. */
interface Level {
  readonly folder: Named;
  /** Names that were looked at. */
  done: number;
  /**
   * Folders in it that are yet to be looked through, and what their content's paths begin with here. Names that lie before that come
   * first, as `a.py` does before `a/b`. Each lies before those that were found earlier.
   */
  readonly waiting: { readonly key: string; readonly folder: Named }[];
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
  readonly #open: Level[] = [];
  readonly #folders: string[] = [];
  readonly #names: number[] = [];
  readonly #leftOut: [path: string, kind: number][] = [];
  #looked = 0;

  /** Once `budget` files and folders were looked at, further folders are named instead of looked through. */
  constructor(place: WalkPlace, folder: FolderToWalk, budget: number) {
    this.#place = place;
    this.#budget = budget;
    this.#roots = new Set(Object.values(place.parts));
    this.#enter({ ...folder, names: namesIn(place.root, folder.path) });
  }

  get looked(): number {
    return this.#looked;
  }

  /** Looks at what lies in a folder, up to the next one in it. Returns false when nothing is left. */
  step(): boolean {
    for (let level = this.#open.at(-1); level !== undefined; level = this.#open.at(-1)) {
      const below = this.#nextBelow(level);
      if (below === null) this.#open.pop();
      else if (this.#looked >= this.#budget) {
        const { names: _, ...folder } = below;
        this.#rests.push({ folder, place: this.#table.place });
      } else {
        this.#enter(below);
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

  #enter(folder: Named): void {
    if (folder.part !== "models") {
      this.#folders.push(folder.path);
      this.#names.push(folder.names.length);
    }
    this.#open.push({ folder, done: 0, waiting: [] });
  }

  /** Looks at names of a folder until it is the turn of what lies in a folder below it, or null at its end. */
  #nextBelow(level: Level): Named | null {
    const { folder, waiting } = level;
    const { names } = folder;
    while (level.done < names.length) {
      const name = names[level.done] ?? "";
      const next = waiting.at(-1);
      if (next !== undefined && compareBytes(next.key, name) < 0) break;
      level.done += 1;
      const below = this.#take(folder, name);
      if (below !== null) waiting.push({ key: `${name}/`, folder: below });
    }
    return waiting.pop()?.folder ?? null;
  }

  /** Notes one name of a folder. Returns the folder that it is, if so. */
  #take({ path: folder, part, counts: above, ...inherited }: Named, name: string): Named | null {
    const path = joinPath(folder, name);
    const followed = part === "models";
    if (this.#roots.has(path)) {
      if (!followed) this.#leftOut.push([path, 0]);
      return null;
    }
    const { root, rules, mode } = this.#place;
    const found = look(root, path, followed);
    if (found === null) {
      if (followed && look(root, path, false) !== null) this.#remarks.push(`${path} is a link that leads nowhere`);
      return null;
    }
    this.#looked += 1;
    const isFolder = found.isDirectory();
    const verdict = rules.judge(path, name, isFolder, part);
    if (verdict === "credential") this.#credentials.push(path);
    if (verdict === "credential" || verdict === "out") return this.#leaveOut(path, found, followed);
    if (followed && isFolder && inherited.above.includes(identityOf(found))) {
      this.#remarks.push(`${path} leads back to a folder above it and was not followed`);
      return null;
    }
    const type = typeOf(found);
    if (type === null) this.#remarks.push(`${path} is a ${specialKind(found)} and was left out`);
    const target = type === "link" ? targetOf(root, path) : "";
    if (type === null || target === null) return this.#leaveOut(path, found, followed);
    const names = isFolder ? namesIn(root, path) : [];
    const counts = above && verdict === "counts" && path !== ignoreFile;
    // In the cache, folders come and go with what stays out of them.
    const empty = isFolder && names.length === 0 && part !== "cache";
    const permissions = Number(found.mode) & 0o777;
    const stats = type === "file" ? found : null;
    const entry = { path, type, mode: permissions, found: stats, target, counts, followed, empty };
    if (!followed || mode === "included") this.#table.add(entry);
    if (followed && stats !== null) this.#addModel(entry, stampOf(stats), name);
    if (!isFolder) return null;
    return { path, names, part, counts, above: followed ? [...inherited.above, identityOf(found)] : inherited.above };
  }

  #leaveOut(path: string, found: BigIntStats, followed: boolean): null {
    if (!followed) this.#leftOut.push([path, kindOf(found)]);
    return null;
  }

  #addModel({ found: _, ...entry }: NewEntry, stamp: Stamp, name: string): void {
    if (!(stamp.size === 0 && placeholder.test(name))) this.models.push({ ...entry, stamp });
  }
}

function typeOf(found: BigIntStats): TreeEntry["type"] | null {
  if (found.isFile()) return "file";
  if (found.isDirectory()) return "directory";
  return found.isSymbolicLink() ? "link" : null;
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
  let last = "";
  let sorted = true;
  for (const name of names) {
    sorted &&= compareBytes(last, name) < 0;
    last = name;
    // What stands for bytes that are no UTF-8; a name may also hold that very character.
    if (name.includes("\ufffd") && look(root, joinPath(folder, name), false) === null) {
      throw new Error(
        `${absolute(root, joinPath(folder, name))}: its name is not valid UTF-8; rename it, or list its folder in ${ignoreFile}`,
      );
    }
  }
  return sorted ? names : names.sort(compareBytes);
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
