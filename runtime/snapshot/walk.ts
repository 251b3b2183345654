import type { Watch } from "../waiting";
import type { NewEntry, TablePlace } from "./entry-record";
import { EntryTable } from "./entry-table";
import {
  type FolderToWalk,
  type FolderTrace,
  FolderWalk,
  identityOf,
  look,
  type WalkedFolder,
  type WalkPlace,
} from "./folder-walk";
import { endOf, mergeIsEqual, mergeTables, type TableSlice, wholeOf } from "./merge-tables";
import { formatCount, Pace } from "./pace";
import { type Part, type Parts, partNames } from "./parts";
import { compareBytes, foldersAbove } from "./paths";
import type { ThreadPool } from "./threads/pool";
import { ignoreFile, readOwnRules, TravelRules } from "./travel-rules";
import type { TreeEntry } from "./tree-entry";
import type { ModelsMode } from "./types";

export interface WalkRequest extends Partial<Watch> {
  readonly root: string;
  readonly parts: Parts;
  readonly models: ModelsMode;
  /** What was found before: where everything is as it was, that table is the answer, instead of another one that is equal. */
  readonly before?: EntryTable;
  /** The threads that share the work where there is much of it. */
  readonly threads: () => ThreadPool;
}

/** What an environment holds, without having read any content. */
export interface Tree {
  /** Everything that travels, sorted by path. */
  readonly entries: EntryTable;
  /** The files in the models' folder, links followed, sorted by path; among `entries` as well in mode `included`. */
  readonly models: readonly TreeEntry[];
  readonly remarks: readonly string[];
}

/** What a walk gives, and what it looked at besides. */
export interface Walked extends Tree {
  readonly trace: WalkTrace;
}

/** What has to be as it was, besides the entries, for a further walk to find the same; models are not part of it. */
export interface WalkTrace {
  readonly folders: readonly FolderTrace[];
  /** Entries that are folders whether or not a link leads to them: parts, and what they lie in. */
  readonly followed: readonly string[];
  /** Parts' folders that are not there. */
  readonly missing: readonly string[];
  /** The text of the environment's own rules, or null where it has none. */
  readonly ownRules: string | null;
}

/** Files and folders of a part that one thread looks at before others are asked to help: starting them takes as long as some thousand. */
const aloneBudget = 1_000;
/** Files and folders of one task: few enough that no thread is left alone with the last one for long. */
const taskBudget = 3_000;

/** Where a tree had more entries, threads are started before a walk asks for them: they will be needed. */
export const manyEntries = 10 * aloneBudget;

/** Looks at every file of an environment's parts that travels. */
export async function walk(request: WalkRequest): Promise<Walked> {
  return new Walk(request).run();
}

/** What was found below a folder, and what other tasks found below the folders that it left to them. */
interface Piece {
  readonly walked: WalkedFolder;
  readonly rests: readonly Piece[];
}

class Walk {
  readonly #request: WalkRequest;
  readonly #ownRules: string | null;
  readonly #place: WalkPlace;
  readonly #pace: Pace;
  readonly #remarks: string[] = [];
  readonly #credentials: string[] = [];
  readonly #folders: FolderTrace[] = [];
  readonly #missing: string[] = [];
  #models: readonly TreeEntry[] = [];
  #looked = 0;

  constructor(request: WalkRequest) {
    const { root, parts, models } = request;
    this.#request = request;
    this.#ownRules = readOwnRules(root);
    this.#place = { root, parts, mode: models, rules: new TravelRules(parts, this.#ownRules) };
    this.#pace = new Pace(request);
  }

  async run(): Promise<Walked> {
    this.#pace.check(() => "scanning");
    // A part inside a folder that stays out, or inside another part, is a start of its own: it travels in any case.
    const parts = await Promise.all(partNames.map((part) => this.#walkPart(part)));
    const lists = parts.map((piece) => (piece === null ? [] : this.#slicesOf(piece)));
    const made = this.#madeEntries(lists);
    const slices = [...lists, [wholeOf(made)]];
    const { before } = this.#request;
    const isSame = before !== undefined && mergeIsEqual(slices, before);
    if (isSame) for (const list of slices) for (const { done } of list) done?.();
    const entries = isSame ? before : mergeTables(slices);
    if (this.#credentials.length > 0) {
      this.#remarks.push(`left out because they hold credentials: ${shorten(this.#credentials)}`);
    }
    const trace: WalkTrace = {
      folders: this.#folders,
      followed: made.paths.filter((_, row) => made.type(row) === "directory"),
      missing: this.#missing,
      ownRules: this.#ownRules,
    };
    return { entries, models: this.#models, remarks: this.#remarks, trace };
  }

  async #walkPart(part: Part): Promise<Piece | null> {
    const path = this.#place.parts[part];
    const found = look(this.#place.root, path, true);
    if (found === null || !found.isDirectory()) {
      if (part !== "models") this.#missing.push(path);
      return null;
    }
    const folder: FolderToWalk = { path, part, counts: true, above: [identityOf(found)] };
    // Models are few, and followed links may lead in circles.
    const walk = new FolderWalk(this.#place, folder, part === "models" ? Number.POSITIVE_INFINITY : aloneBudget);
    while (walk.step()) {
      if (this.#pace.due) await this.#pace.rest(() => this.#describe(walk.looked));
    }
    if (part === "models") this.#models = walk.models;
    return this.#withRests(walk.result());
  }

  async #withRests(walked: WalkedFolder): Promise<Piece> {
    this.#looked += walked.looked;
    this.#pace.check(() => this.#describe(0));
    const { root, parts, mode } = this.#place;
    const rests = walked.rests.map(async ({ folder }) => {
      const task = { root, parts, mode, ownRules: this.#ownRules, folder, budget: taskBudget };
      return this.#withRests(await this.#request.threads().run("walk", task));
    });
    return { walked, rests: await Promise.all(rests) };
  }

  /** Everything that was found below a folder, in the order of its paths. */
  #slicesOf({ walked, rests }: Piece): readonly TableSlice[] {
    this.#remarks.push(...walked.remarks);
    this.#credentials.push(...walked.credentials);
    this.#folders.push(walked.trace);
    const table = new EntryTable(walked.table);
    const slices: TableSlice[] = [];
    let from: TablePlace = { row: 0, text: 0, link: 0 };
    for (const [number, { place }] of walked.rests.entries()) {
      const rest = rests[number];
      slices.push({ table, from, to: place }, ...(rest === undefined ? [] : this.#slicesOf(rest)));
      from = place;
    }
    slices.push({ table, from, to: endOf(table), done: () => table.release() });
    return slices;
  }

  /** The parts' own folders with those above them, and the person's own rules: what no walk through a part finds by itself. */
  #madeEntries(lists: readonly (readonly TableSlice[])[]): EntryTable {
    const { root, parts, mode } = this.#place;
    const tables = [...new Set(lists.flatMap((slices) => slices.map(({ table }) => table)))]
      .filter(({ length }) => length > 0)
      .map((table) => ({ table, first: table.path(0), last: table.path(table.length - 1) }));
    const isFound = (path: string) =>
      tables.some(({ table, first, last }) => {
        return compareBytes(first, path) <= 0 && compareBytes(path, last) <= 0 && table.rowOf(path) >= 0;
      });
    const made = new Map<string, NewEntry>();
    const add = (path: string, type: "file" | "directory", counts: boolean) => {
      if (path === "" || made.has(path) || isFound(path)) return;
      const found = look(root, path, type === "directory");
      if (found === null || !(type === "directory" ? found.isDirectory() : found.isFile())) return;
      made.set(path, {
        path,
        type,
        mode: Number(found.mode) & 0o777,
        target: "",
        counts,
        followed: false,
        // Whether a part's own folder is there says nothing that its content does not say.
        empty: false,
        found: type === "file" ? found : null,
      });
    };
    for (const part of partNames) {
      if (part === "models" && mode !== "included") continue;
      if (look(root, parts[part], true)?.isDirectory() !== true) continue;
      for (const folder of [parts[part], ...foldersAbove(parts[part])]) add(folder, "directory", true);
    }
    add(ignoreFile, "file", false);
    return EntryTable.of([...made.values()].sort((a, b) => compareBytes(a.path, b.path)));
  }

  #describe(more: number): string {
    return `scanned ${formatCount(this.#looked + more, "files")}`;
  }
}

function shorten(paths: readonly string[]): string {
  const shown = [...paths].sort(compareBytes).slice(0, 10).join(", ");
  return paths.length > 10 ? `${shown} and ${paths.length - 10} more` : shown;
}
