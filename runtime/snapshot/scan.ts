import { resolve } from "node:path";
import { formatSize } from "../format";
import { requirePlace } from "./check-environment";
import type { ContentPlace } from "./content";
import { Contents } from "./contents";
import { FileHashing } from "./file-hashing";
import { Pace } from "./pace";
import { partsOf } from "./parts";
import { defaultIndexFile, StatIndex } from "./stat-index";
import { type Identified, identify, type Survey, type Surveyed, surveyOf } from "./summary";
import { PackWorkers } from "./threads/pack-workers";
import { LazyThreadPool, usualThreads } from "./threads/pool";
import type { TreeEntry } from "./tree-entry";
import type { CountedScan, ModelsMode, Scan, ScanRequest } from "./types";
import { manyEntries, type Tree, walk } from "./walk";

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

/** `all`: whether what each file holds has to be known, also where nothing changed. */
async function lookThrough(request: ScanRequest, all: boolean): Promise<Looked> {
  requirePlace(request.environment);
  const root = resolve(request.environment.root);
  const place: ContentPlace = { root, parts: partsOf(request.environment.layout) };
  const mode = request.models;
  const pool = new LazyThreadPool();
  try {
    const index = StatIndex.load(request.index ?? defaultIndexFile(root), place);
    if (index.size > manyEntries) pool.start();
    const look = () => walk({ ...request, ...place, models: mode, threads: () => pool.start() });
    const first = await look();
    const known = all ? null : index.identified(first, mode);
    if (known !== null) return answer({ ...place, mode, tree: first, identified: known, contents: null }, 0, []);
    const { tree, contents, bytesRead } = await readAll(first, { index, place, mode, look, pool, request });
    const identified = index.identified(tree, mode) ?? identify({ ...place, mode, tree, contents });
    const remarks = saveIndex(index, tree, mode, identified);
    return answer({ ...place, mode, tree, identified, contents }, bytesRead, remarks);
  } finally {
    await pool.close();
  }
}

function answer(seen: Surveyed, bytesRead: number, remarks: readonly string[]): Looked {
  const survey = surveyOf(seen);
  return { survey, bytesRead, remarks: [...survey.remarks, ...remarks] };
}

/** What is needed to look through an environment. */
interface Tools {
  readonly index: StatIndex;
  readonly place: ContentPlace;
  readonly mode: ModelsMode;
  readonly look: () => Promise<Tree>;
  readonly pool: LazyThreadPool;
  readonly request: ScanRequest;
}

interface Contained extends Pick<Scan, "bytesRead"> {
  readonly tree: Tree;
  readonly contents: Contents;
}

/** Finds the content of every file of a tree that does not change meanwhile. */
async function readAll(first: Tree, { index, place, mode, look, pool, request }: Tools): Promise<Contained> {
  const workers = new PackWorkers({ place, threads: usualThreads(), pool: () => pool.start() });
  const contents = new Contents(index.table);
  const describe = () => `read ${formatSize(hashing.bytesRead)}`;
  const hashing: FileHashing = new FileHashing({ place, index, contents, workers, pace: new Pace(request), describe });
  for (let attempt = 1, tree = first; ; attempt++, tree = await look()) {
    await index.begin(tree);
    contents.follow(tree.entries);
    const files = hashedEntries(tree, mode);
    const changed = await workers.until(request.signal, () => hashing.hashAll(files));
    if (changed.size > 0 && attempt < attempts) continue;
    const { bytesRead } = hashing;
    if (changed.size === 0) return { tree, contents, bytesRead };
    const stays = ({ path }: TreeEntry) => !changed.has(path);
    const remark = `left out because they keep changing: ${[...changed].join(", ")}`;
    const { entries, models, remarks } = tree;
    const kept = { entries: entries.filter(stays), models: models.filter(stays), remarks: [...remarks, remark] };
    return { tree: kept, contents, bytesRead };
  }
}

/** The files whose content has to be known: all that travel, and models where they are locked. */
function* hashedEntries({ entries, models }: Tree, mode: ModelsMode): Generator<TreeEntry> {
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
