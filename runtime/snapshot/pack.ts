import { hash } from "node:crypto";
import { relative, resolve } from "node:path";
import { formatDuration, formatSize } from "../format";
import { InvalidInputError, type Problem } from "../problems";
import { isS3Location, type ObjectStore, openStore } from "../store";
import { checkEnvironment } from "./check-environment";
import { unchangedOrThrow } from "./consistency";
import { KnownContent } from "./known-content";
import { writeLastPacked } from "./last-packed";
import { buildManifest } from "./manifest-build";
import { encodeManifest, manifestKey } from "./manifest-file";
import { Pace } from "./pace";
import { PackWriter } from "./pack-writer";
import { Packer } from "./packer";
import { partOf, partsOf } from "./parts";
import { isWithin } from "./paths";
import { longestPack, stopwatch } from "./prune-wait";
import { formatReference } from "./reference";
import { hashedEntries, saveIndex } from "./scan";
import { defaultIndexFile, StatIndex } from "./stat-index";
import { identify, surveyOf } from "./summary";
import { PackWorkers } from "./threads/pack-workers";
import { LazyThreadPool, usualThreads } from "./threads/pool";
import { ownFolder } from "./travel-rules";
import type { PackedSnapshot, PackRequest } from "./types";
import { walk } from "./walk";

/** Times that an environment is packed when a prune keeps marking what the run before had found in the store. */
const attempts = 3;

/**
 * Brings an environment into a store as an immutable snapshot: what the store lacks first, the manifest last. May be killed
 * and run again at any time. Throws `InvalidInputError` for an environment that could not be started, and
 * `ChangedWhilePackingError` when something that counts changed meanwhile.
 */
export async function pack(request: PackRequest): Promise<PackedSnapshot> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await packOnce(request);
    } catch (error) {
      if (!(error instanceof MarkedMeanwhileError) || attempt === attempts) throw error;
      request.progress?.(`${error.message}: packing again`);
    }
  }
}

async function packOnce(request: PackRequest): Promise<PackedSnapshot> {
  const pool = new LazyThreadPool(threadsOf(request));
  try {
    return await packWith(request, pool);
  } finally {
    await pool.close();
  }
}

const threadsOf = ({ threads = usualThreads() }: PackRequest) => Math.max(1, threads);

async function packWith(request: PackRequest, pool: LazyThreadPool): Promise<PackedSnapshot> {
  const problems = [...(await checkEnvironment(request.environment)), ...storeProblems(request)];
  if (problems.length > 0) throw new InvalidInputError(problems);
  const elapsed = stopwatch();
  const root = resolve(request.environment.root);
  const parts = partsOf(request.environment.layout);
  const mode = request.models;
  const store = openStore(request.store, request.settings, request);
  const marked = await markedPacks(store);
  const indexFile = request.index ?? defaultIndexFile(root);
  const known = await KnownContent.load(store, marked, `${indexFile}.content`, (text) => request.progress?.(text));
  const index = StatIndex.load(indexFile, { root, parts });

  const look = () => walk({ ...request, root, parts, models: mode, threads: () => pool.start() });
  const found = await look();
  await index.begin(found);
  const workers = new PackWorkers({ place: { root, parts }, threads: threadsOf(request), pool: () => pool.start() });
  const writer = new PackWriter(store, marked, workers);
  let total = 0;
  for (const { stamp } of hashedEntries(found, mode)) total += stamp.size;
  const packer: Packer = new Packer({
    place: { root, parts },
    index,
    known,
    writer,
    workers,
    signal: request.signal,
    pace: new Pace(request),
    describe: () => `packed ${formatSize(packer.bytesDone)} of ${formatSize(total)}`,
  });
  const tree = await unchangedOrThrow({ found, look, packer, mode }).catch((error) => {
    // What was read need not be read again when it is tried again.
    for (const remark of saveIndex(index, found, mode, null)) request.progress?.(remark);
    throw error;
  });
  await writer.finish();
  // The manifest takes memory of its own.
  await pool.close();

  const { contents } = packer;
  const identified = identify({ root, parts, mode, tree, contents });
  const survey = surveyOf({ root, parts, mode, tree, identified, contents });
  const manifest = buildManifest({ root, parts, mode, tree, survey, packer, known, writer, records: request.plugins });
  const pieces = await encodeManifest(manifest);
  const digest = hash("sha256", Buffer.concat(pieces));
  const needed = new Set(manifest.packs.map(({ sha256 }) => sha256));
  await refuseMarked(store, needed, elapsed());
  request.signal?.throwIfAborted();
  await storeManifest(store, survey.summary.id, digest, pieces);
  refuseLate(elapsed());

  const reference = formatReference({ store: store.location, digest });
  known.remember(digest, manifest);
  for (const remark of saveIndex(index, tree, mode, identified)) request.progress?.(remark);
  for (const remark of writeLastPacked(indexFile, reference, survey.counted())) request.progress?.(remark);
  return {
    reference,
    digest,
    head: manifest.head,
    bytesAdded: writer.bytesAdded,
    bytesStored: writer.bytesStored,
  };
}

/** A store among what travels would change while it is written, and hold itself. */
function storeProblems({ environment, store }: PackRequest): readonly Problem[] {
  if (isS3Location(store)) return [];
  const inside = relative(resolve(environment.root), resolve(store));
  if (inside.startsWith("..") || isWithin(inside, ownFolder)) return [];
  const part = partOf(inside, partsOf(environment.layout));
  if (part === undefined) return [];
  return [
    { path: "store", reason: `${store} lies in layout.${part}, which it is to hold; give a folder outside of it` },
  ];
}

/**
 * The identity's entry and then the manifest. Both may be there, of a snapshot that had expired and that a prune is removing
 * right now: the manifest first.
 */
async function storeManifest(store: ObjectStore, id: string, digest: string, pieces: readonly Buffer[]): Promise<void> {
  const entry = `ids/${id}/${digest}`;
  do {
    await store.create(entry, []);
  } while (!(await store.create(manifestKey(digest), pieces)) && (await store.find(manifestKey(digest))) === null);
  await store.create(entry, []);
}

async function markedPacks(store: ObjectStore): Promise<ReadonlySet<string>> {
  const marked = new Set<string>();
  for await (const { key } of store.list("marks/")) marked.add(key.slice(key.lastIndexOf("/") + 1));
  return marked;
}

/** A prune began to remove packs that a run had found. */
class MarkedMeanwhileError extends Error {
  override readonly name = "MarkedMeanwhileError";
}

/** A manifest must not name packs that `prune` has begun to remove since this run looked. */
async function refuseMarked(store: ObjectStore, needed: ReadonlySet<string>, elapsed: number): Promise<void> {
  refuseLate(elapsed);
  const marked = [...(await markedPacks(store))].filter((name) => needed.has(name));
  if (marked.length === 0) return;
  throw new MarkedMeanwhileError(`${marked.length} packs that the snapshot needs were marked for removal by a prune`);
}

/** A prune trusts that every run which may not have seen its marks has ended by the time it removes what it marked. */
function refuseLate(elapsed: number): void {
  if (elapsed <= longestPack) return;
  throw new Error(
    `packing took longer than ${formatDuration(longestPack)}, in which packs may have been pruned that it found; run it again`,
  );
}
