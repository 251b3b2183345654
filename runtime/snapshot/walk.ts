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

interface Visit {
  readonly path: string;
  readonly names: readonly string[];
  readonly part: Part;
  readonly counts: boolean;
  /** Identities of the folders above, where links are followed and could lead round in a circle. */
  readonly above: readonly string[];
}

type Kind = Pick<TreeEntry, "counts" | "followed">;

class Walk {
  readonly #root: string;
  readonly #parts: Parts;
  readonly #mode: ModelsMode;
  readonly #rules: TravelRules;
  readonly #roots: ReadonlyMap<string, Part>;
  readonly #pace: Pace;
  readonly #entries = new Map<string, TreeEntry>();
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
    const entries = [...this.#entries.values()].sort((a, b) => compareBytes(a.path, b.path));
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
        if (folder !== "" && !this.#entries.has(folder)) this.#addFolder(folder);
      }
    }
    const waiting: Visit[] = [{ path, names: this.#names(path), part, counts: true, above: [identity(found)] }];
    for (let visit = waiting.pop(); visit !== undefined; visit = waiting.pop()) {
      for (const name of visit.names) {
        if (this.#pace.due) await this.#pace.rest(() => `scanned ${formatCount(this.#looked, "files")}`);
        const next = this.#take(visit, name);
        if (next !== null) waiting.push(next);
      }
    }
  }

  /** Notes one name of a folder; returns it where it is a folder to go into. */
  #take({ path: folder, part, counts, above }: Visit, name: string): Visit | null {
    const path = joinPath(folder, name);
    if (this.#roots.has(path)) return null;
    const followed = part === "models";
    const found = this.#look(path, followed);
    if (found === null) {
      if (followed && this.#look(path, false) !== null) this.#remarks.push(`${path} is a link that leads nowhere`);
      return null;
    }
    this.#looked += 1;
    const verdict = this.#rules.judge(path, name, found.isDirectory(), part);
    if (verdict === "credential") this.#credentials.push(path);
    if (verdict === "credential" || verdict === "out") return null;
    if (followed && found.isDirectory() && above.includes(identity(found))) {
      this.#remarks.push(`${path} leads back to a folder above it and was not followed`);
      return null;
    }
    const kind = { counts: counts && verdict === "counts" && path !== ignoreFile, followed };
    const names = found.isDirectory() ? this.#names(path) : [];
    // In the cache, folders come and go with what stays out of them.
    const entry = this.#entryOf(path, found, { ...kind, empty: names.length === 0 && part !== "cache" });
    if (entry === null) return null;
    if (!followed) this.#entries.set(path, entry);
    else this.#addModel(entry, name);
    if (entry.type !== "directory") return null;
    return { path, names, part, counts: entry.counts, above: followed ? [...above, identity(found)] : above };
  }

  #addModel(entry: TreeEntry, name: string): void {
    if (this.#mode === "included") this.#entries.set(entry.path, entry);
    if (entry.type === "file" && !(entry.stamp.size === 0n && placeholder.test(name))) this.#models.push(entry);
  }

  #addFolder(path: string): void {
    const found = this.#look(path, true);
    if (found === null) return;
    // Whether a part's own folder is there says nothing that its content does not say.
    this.#entries.set(path, { ...folderEntry(path, found), counts: true, followed: false, empty: false });
  }

  #addFile(path: string, counts: boolean): void {
    const found = this.#look(path, false);
    if (!found?.isFile() || this.#entries.has(path)) return;
    this.#entries.set(path, { ...fileEntry(path, found), counts, followed: false, empty: false });
  }

  #entryOf(path: string, found: BigIntStats, kind: Kind & { empty: boolean }): TreeEntry | null {
    if (found.isDirectory()) return { ...folderEntry(path, found), ...kind };
    if (found.isFile()) return { ...fileEntry(path, found), ...kind, empty: false };
    if (found.isSymbolicLink()) return this.#linkEntry(path, found, kind);
    this.#remarks.push(`${path} is a ${specialKind(found)} and was left out`);
    return null;
  }

  #linkEntry(path: string, found: BigIntStats, { counts, followed }: Kind): TreeEntry | null {
    try {
      const target = readlinkSync(this.#absolute(path));
      return { path, type: "link", mode: 0o777, stamp: stampOf(found), target, counts, followed, empty: false };
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

function fileEntry(path: string, found: BigIntStats) {
  const mode = Number(found.mode & 0o777n);
  return { path, type: "file", mode, stamp: stampOf(found), target: "" } as const;
}

function folderEntry(path: string, found: BigIntStats) {
  const mode = Number(found.mode & 0o777n);
  return { path, type: "directory", mode, stamp: stampOf(found), target: "" } as const;
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
