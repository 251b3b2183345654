import { type BigIntStats, lstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import type { Watch } from "../waiting";
import { formatCount, Pace } from "./pace";
import { type Part, type Parts, partNames } from "./parts";
import { compareBytes, foldersAbove, joinPath } from "./paths";
import { ignoreFile, TravelRules } from "./travel-rules";
import { stampOf, type TreeEntry } from "./tree-entry";
import type { ModelsMode } from "./types";

export interface WalkRequest extends Partial<Watch> {
  readonly root: string;
  readonly parts: Parts;
  readonly models: ModelsMode;
}

/** What an environment holds, without having read any content. */
export interface Tree {
  /** Everything that travels, sorted by path. */
  readonly entries: readonly TreeEntry[];
  /** The files in the models' folder, links followed, sorted by path; among `entries` as well in mode `included`. */
  readonly models: readonly TreeEntry[];
  readonly remarks: readonly string[];
}

/** ComfyUI's repository keeps its empty model folders with such files. */
const placeholder = /^put_.*_here$/;

/** Looks at every file of an environment's parts that travels. */
export async function walk(request: WalkRequest): Promise<Tree> {
  return new Walk(request).run();
}

interface Folder {
  readonly path: string;
  readonly part: Part;
  readonly counts: boolean;
  /** Identities of the folders above, where links are followed and could lead round in a circle. */
  readonly above: readonly string[];
}

/** What a folder holds and what is to be looked through in it, in the order of full paths. */
type Item = { readonly key: string } & ({ readonly entry: TreeEntry } | { readonly folder: Folder & Named });

interface Named {
  readonly names: readonly string[];
}

type Kind = Pick<TreeEntry, "counts" | "followed">;

class Walk {
  readonly #root: string;
  readonly #parts: Parts;
  readonly #mode: ModelsMode;
  readonly #rules: TravelRules;
  readonly #roots: ReadonlyMap<string, Part>;
  readonly #pace: Pace;
  readonly #entries: TreeEntry[] = [];
  /** Folder → its place among the entries. */
  readonly #folders = new Map<string, number>();
  readonly #models: TreeEntry[] = [];
  readonly #remarks: string[] = [];
  readonly #credentials: string[] = [];
  #looked = 0;

  constructor({ root, parts, models, ...watch }: WalkRequest) {
    this.#root = root;
    this.#parts = parts;
    this.#mode = models;
    this.#rules = TravelRules.of(root, parts);
    this.#roots = new Map(partNames.map((part) => [parts[part], part]));
    this.#pace = new Pace(watch);
  }

  async run(): Promise<Tree> {
    this.#pace.check(() => "scanning");
    // A part inside a folder that stays out, or inside another part, is a start of its own: it travels in any case.
    for (const part of partNames) await this.#start(part);
    this.#addFile(ignoreFile, false);
    // Quick: what one part holds is in order already.
    const entries = this.#entries.sort((a, b) => compareBytes(a.path, b.path));
    const models = this.#models.sort((a, b) => compareBytes(a.path, b.path));
    if (this.#credentials.length > 0) {
      this.#remarks.push(`left out because they hold credentials: ${shorten(this.#credentials)}`);
    }
    return { entries, models, remarks: this.#remarks };
  }

  async #start(part: Part): Promise<void> {
    const path = this.#parts[part];
    const found = this.#look(path, true);
    if (found === null || !found.isDirectory()) return;
    if (part !== "models" || this.#mode === "included") {
      for (const folder of [path, ...foldersAbove(path)]) {
        if (folder !== "" && !this.#folders.has(folder)) this.#addFolder(folder);
      }
    }
    const first = { path, names: this.#names(path), part, counts: true, above: [identity(found)] };
    const open: Item[][] = [[{ key: path, folder: first }]];
    for (let items = open.at(-1); items !== undefined; items = open.at(-1)) {
      const item = items.pop();
      if (item === undefined) open.pop();
      else if ("entry" in item) this.#add(item.entry);
      else open.push(await this.#itemsOf(item.folder));
    }
  }

  /** The last first. */
  async #itemsOf({ path, names, ...inherited }: Folder & Named): Promise<Item[]> {
    const items: Item[] = [];
    for (const name of names) {
      if (this.#pace.due) await this.#pace.rest(() => `scanned ${formatCount(this.#looked, "files")}`);
      this.#take(path, name, inherited, items);
    }
    return items.sort((a, b) => compareBytes(b.key, a.key));
  }

  /** Notes one name of a folder, and what is in it where it is one itself. */
  #take(folder: string, name: string, { part, counts, above }: Omit<Folder, "path">, items: Item[]): void {
    const path = joinPath(folder, name);
    if (this.#roots.has(path)) return;
    const followed = part === "models";
    const found = this.#look(path, followed);
    if (found === null) {
      if (followed && this.#look(path, false) !== null) this.#remarks.push(`${path} is a link that leads nowhere`);
      return;
    }
    this.#looked += 1;
    const isFolder = found.isDirectory();
    const verdict = this.#rules.judge(path, name, isFolder, part);
    if (verdict === "credential") this.#credentials.push(path);
    if (verdict === "credential" || verdict === "out") return;
    if (followed && isFolder && above.includes(identity(found))) {
      this.#remarks.push(`${path} leads back to a folder above it and was not followed`);
      return;
    }
    const kind = { counts: counts && verdict === "counts" && path !== ignoreFile, followed };
    const names = isFolder ? this.#names(path) : [];
    // In the cache, folders come and go with what stays out of them.
    const entry = this.#entryOf(path, found, { ...kind, empty: names.length === 0 && part !== "cache" });
    if (entry === null) return;
    if (!followed) items.push({ key: name, entry });
    else {
      if (this.#mode === "included") items.push({ key: name, entry });
      this.#addModel(entry, name);
    }
    if (entry.type !== "directory") return;
    const below = followed ? [...above, identity(found)] : above;
    items.push({ key: `${name}/`, folder: { path, names, part, counts: entry.counts, above: below } });
  }

  #add(entry: TreeEntry): void {
    if (entry.type === "directory") {
      const place = this.#folders.get(entry.path);
      if (place !== undefined) {
        this.#entries[place] = entry;
        return;
      }
      this.#folders.set(entry.path, this.#entries.length);
    }
    this.#entries.push(entry);
  }

  #addModel(entry: TreeEntry, name: string): void {
    if (entry.type === "file" && !(entry.stamp.size === 0 && placeholder.test(name))) this.#models.push(entry);
  }

  #addFolder(path: string): void {
    const found = this.#look(path, true);
    if (found === null) return;
    // Whether a part's own folder is there says nothing that its content does not say.
    this.#add(made(path, "directory", found, "", { counts: true, followed: false, empty: false }));
  }

  #addFile(path: string, counts: boolean): void {
    const found = this.#look(path, false);
    if (!found?.isFile() || this.#entries.some((entry) => entry.path === path)) return;
    this.#add(made(path, "file", found, "", { counts, followed: false, empty: false }));
  }

  #entryOf(path: string, found: BigIntStats, kind: Kind & { empty: boolean }): TreeEntry | null {
    if (found.isFile()) return made(path, "file", found, "", { ...kind, empty: false });
    if (found.isDirectory()) return made(path, "directory", found, "", kind);
    if (found.isSymbolicLink()) return this.#linkEntry(path, found, kind);
    this.#remarks.push(`${path} is a ${specialKind(found)} and was left out`);
    return null;
  }

  #linkEntry(path: string, found: BigIntStats, kind: Kind): TreeEntry | null {
    try {
      const target = readlinkSync(this.#absolute(path));
      return made(path, "link", found, target, { ...kind, empty: false });
    } catch (error) {
      if (vanished(error)) return null;
      throw error;
    }
  }

  #look(path: string, follow: boolean): BigIntStats | null {
    try {
      return follow
        ? statSync(this.#absolute(path), { bigint: true })
        : lstatSync(this.#absolute(path), { bigint: true });
    } catch (error) {
      if (vanished(error)) return null;
      throw explained(error, path);
    }
  }

  #names(folder: string): readonly string[] {
    let names: string[];
    try {
      names = readdirSync(this.#absolute(folder));
    } catch (error) {
      if (vanished(error)) return [];
      throw explained(error, folder);
    }
    for (const name of names) {
      // What stands for bytes that are no UTF-8; a name may also hold that very character.
      if (name.includes("\ufffd") && this.#look(joinPath(folder, name), false) === null) {
        throw new Error(
          `${this.#absolute(joinPath(folder, name))}: its name is not valid UTF-8; rename it, or list its folder in ${ignoreFile}`,
        );
      }
    }
    return names;
  }

  #absolute(path: string): string {
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }
}

function made(
  path: string,
  type: TreeEntry["type"],
  found: BigIntStats,
  target: string,
  { counts, followed, empty }: Kind & { empty: boolean },
): TreeEntry {
  const mode = Number(found.mode) & 0o777;
  return { path, type, mode, stamp: stampOf(found), target, counts, followed, empty };
}

function identity({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
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

function shorten(paths: readonly string[]): string {
  const shown = [...paths].sort(compareBytes).slice(0, 10).join(", ");
  return paths.length > 10 ? `${shown} and ${paths.length - 10} more` : shown;
}
