import { resolve } from "node:path";
import { formatSize } from "../format";
import { requirePlace } from "./check-environment";
import { type ContentPlace, chunkSize, FileChangedError, FileReading } from "./content";
import { Contents } from "./contents";
import { Pace } from "./pace";
import { partsOf } from "./parts";
import { isWithin } from "./paths";
import { defaultIndexFile, StatIndex } from "./stat-index";
import { surveyOf } from "./summary";
import type { TreeEntry } from "./tree-entry";
import type { CountedEntry, Scan, ScanRequest } from "./types";
import { type Tree, walk } from "./walk";

/** Times that a scan looks again when files change under it, before it takes the last look. */
const attempts = 3;

/**
 * Looks through an environment and says what it is, reading only what changed since the last time. Throws an
 * `InvalidInputError` when its root or layout are not usable.
 */
export async function scan(request: ScanRequest): Promise<Scan> {
  requirePlace(request.environment);
  const root = resolve(request.environment.root);
  const parts = partsOf(request.environment.layout);
  const mode = request.models;
  const index = StatIndex.load(request.index ?? defaultIndexFile(root), { root, parts });
  const reader = new ContentReader(index, { root, parts }, request);
  let tree: Tree;
  for (let attempt = 1; ; attempt++) {
    tree = await walk({ ...request, root, parts, models: mode });
    await index.settle(tree.entries);
    const changed = await reader.read(hashedEntries(tree, mode));
    if (changed.size === 0) break;
    if (attempt < attempts) continue;
    tree = { ...tree, entries: tree.entries.filter(({ path }) => !changed.has(path)) };
    tree = { ...tree, models: tree.models.filter(({ path }) => !changed.has(path)) };
    tree = { ...tree, remarks: [...tree.remarks, `left out because they keep changing: ${[...changed].join(", ")}`] };
    break;
  }
  const survey = surveyOf({ root, parts, mode, tree, contents: reader.contents });
  const remarks = [...survey.remarks, ...saveIndex(index, parts.models)];
  const { summary, pluginHashes } = survey;
  let counted: readonly CountedEntry[] | undefined;
  return {
    summary,
    pluginHashes,
    // Only a comparison needs them, and they take longer than all the rest of a scan that finds nothing changed.
    get counted() {
      counted ??= [...survey.counted()];
      return counted;
    },
    bytesRead: reader.bytesRead,
    remarks,
  };
}

/** The files whose content has to be known: all that travel, and models where they are locked. */
export function hashedEntries(tree: Tree, mode: ScanRequest["models"]): readonly TreeEntry[] {
  const files = tree.entries.filter(({ type }) => type === "file");
  return mode === "locked" ? [...files, ...tree.models] : files;
}

/**
 * Keeps the index; a scan is as good without, so that a failure is a remark. What is in `unseen` stays in it although it was
 * not looked at: models in some modes, which take long to hash again.
 */
export function saveIndex(index: StatIndex, unseen: string): string[] {
  try {
    index.save((path) => isWithin(path, unseen));
    return [];
  } catch (error) {
    return [`the index that makes the next scan quick could not be kept: ${(error as Error).message}`];
  }
}

class ContentReader {
  readonly contents: Contents;
  bytesRead = 0;
  readonly #index: StatIndex;
  readonly #place: ContentPlace;
  readonly #pace: Pace;
  readonly #buffer = Buffer.allocUnsafe(chunkSize);

  constructor(index: StatIndex, place: ContentPlace, watch: ScanRequest) {
    this.#index = index;
    this.contents = new Contents(index.table);
    this.#place = place;
    this.#pace = new Pace(watch);
  }

  /** Finds the content of each file; returns the paths of those that changed meanwhile. */
  async read(entries: readonly TreeEntry[]): Promise<ReadonlySet<string>> {
    const changed = new Set<string>();
    for (const entry of entries) {
      const known = this.#index.find(entry);
      if (known !== undefined) this.contents.set(entry.path, known);
      else if (!(await this.#readFile(entry))) changed.add(entry.path);
    }
    return changed;
  }

  async #readFile(entry: TreeEntry): Promise<boolean> {
    const readAt = Date.now();
    try {
      const reading = new FileReading(entry, this.#place);
      try {
        for (let chunk = reading.next(this.#buffer); chunk !== null; chunk = reading.next(this.#buffer)) {
          this.bytesRead += chunk.length;
          if (this.#pace.due) await this.#pace.rest(() => `read ${formatSize(this.bytesRead)}`);
        }
        this.contents.set(entry.path, this.#index.note(entry, reading.content, readAt));
        return true;
      } finally {
        reading.close();
      }
    } catch (error) {
      if (!(error instanceof FileChangedError)) throw error;
      this.contents.delete(entry.path);
      return false;
    }
  }
}
