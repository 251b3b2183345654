import { resolve } from "node:path";
import { formatSize } from "../format";
import { requirePlace } from "./check-environment";
import { type ContentPlace, chunkSize, FileChangedError, FileReading } from "./content";
import { Contents } from "./contents";
import { Pace } from "./pace";
import { partsOf } from "./parts";
import { defaultIndexFile, StatIndex } from "./stat-index";
import { type Identified, identify, type Survey, type Surveyed, surveyOf } from "./summary";
import { LazyThreadPool } from "./threads/pool";
import type { TreeEntry } from "./tree-entry";
import type { CountedScan, ModelsMode, Scan, ScanRequest } from "./types";
import { type Tree, walk } from "./walk";

/** Times that a scan looks again when files change under it, before it takes the last look. */
const attempts = 3;

/**
 * Looks through an environment and says what it is, reading only what changed since the last time. Throws an
 * `InvalidInputError` when its root or layout are not usable.
 */
export async function scan(request: ScanRequest): Promise<Scan> {
  const { survey, bytesRead, remarks } = await lookThrough(request, false);
  const { summary, pluginHashes } = survey;
  return { summary, pluginHashes, bytesRead, remarks };
}

/** As {@link scan}, with all that counts, which takes longer. */
export async function scanCounted(request: ScanRequest): Promise<CountedScan> {
  const { survey, bytesRead, remarks } = await lookThrough(request, true);
  const { summary, pluginHashes } = survey;
  return { summary, pluginHashes, bytesRead, remarks, counted: [...survey.counted()] };
}

interface Looked extends Pick<Scan, "bytesRead" | "remarks"> {
  readonly survey: Survey;
}

/** `contents`: whether what each file holds has to be known, also where nothing changed. */
async function lookThrough(request: ScanRequest, contents: boolean): Promise<Looked> {
  requirePlace(request.environment);
  const root = resolve(request.environment.root);
  const place: ContentPlace = { root, parts: partsOf(request.environment.layout) };
  const mode = request.models;
  const pool = new LazyThreadPool();
  try {
    const index = StatIndex.load(request.index ?? defaultIndexFile(root), place);
    const look = () => walk({ ...request, ...place, models: mode, threads: () => pool.start() });
    const first = await look();
    const known = contents ? null : index.identified(first, mode);
    if (known !== null) return answer({ ...place, mode, tree: first, identified: known, contents: null }, 0, []);
    const { tree, reader } = await readAll({ first, look, index, place, mode, request });
    const identified = index.identified(tree, mode) ?? identify({ ...place, mode, tree, contents: reader.contents });
    const remarks = saveIndex(index, tree, mode, identified);
    return answer({ ...place, mode, tree, identified, contents: reader.contents }, reader.bytesRead, remarks);
  } finally {
    await pool.close();
  }
}

function answer(seen: Surveyed, bytesRead: number, remarks: readonly string[]): Looked {
  const survey = surveyOf(seen);
  return { survey, bytesRead, remarks: [...survey.remarks, ...remarks] };
}

/** Finds the content of every file of a tree that does not change meanwhile. */
async function readAll({
  first,
  look,
  index,
  place,
  mode,
  request,
}: {
  first: Tree;
  look: () => Promise<Tree>;
  index: StatIndex;
  place: ContentPlace;
  mode: ModelsMode;
  request: ScanRequest;
}): Promise<{ tree: Tree; reader: ContentReader }> {
  const reader = new ContentReader(index, place, request);
  for (let attempt = 1, tree = first; ; attempt++, tree = await look()) {
    await index.begin(tree);
    const changed = await reader.read(hashedEntries(tree, mode));
    if (changed.size === 0) return { tree, reader };
    if (attempt < attempts) continue;
    const stays = ({ path }: TreeEntry) => !changed.has(path);
    const remark = `left out because they keep changing: ${[...changed].join(", ")}`;
    return {
      tree: {
        entries: tree.entries.filter(stays),
        models: tree.models.filter(stays),
        remarks: [...tree.remarks, remark],
      },
      reader,
    };
  }
}

/** The files whose content has to be known: all that travel, and models where they are locked. */
export function* hashedEntries({ entries, models }: Tree, mode: ModelsMode): Generator<TreeEntry> {
  void entries.paths; // All at once share their memory.
  for (let row = 0; row < entries.length; row++) if (entries.isFile(row)) yield entries.entry(row);
  if (mode === "locked") yield* models;
}

/** Keeps the index; a scan is as good without, so that a failure is a remark. */
export function saveIndex(index: StatIndex, tree: Tree, mode: ModelsMode, identified: Identified | null): string[] {
  try {
    index.save(tree, mode, identified?.lasting === true ? identified : null);
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
  async read(entries: Iterable<TreeEntry>): Promise<ReadonlySet<string>> {
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
