import { relative, resolve } from "node:path";
import { formatSize } from "../format";
import { InvalidInputError, type Problem } from "../problems";
import { isS3Location, openStore } from "../store";
import { checkEnvironment } from "./check-environment";
import { unchangedOrThrow } from "./consistency";
import type { EntryTable } from "./entry-table";
import { KnownContent } from "./known-content";
import { MarkedMeanwhileError, markedIn } from "./marks";
import { Pace } from "./pace";
import { PackWriter } from "./pack-writer";
import { Packer } from "./packer";
import { partOf, partsOf } from "./parts";
import { isWithin } from "./paths";
import { stopwatch } from "./prune-wait";
import { formatReference } from "./reference";
import { saveIndex } from "./scan";
import { defaultIndexFile, StatIndex } from "./stat-index";
import { storeSnapshot } from "./store-snapshot";
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
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...(request.signal === undefined ? [] : [request.signal])]);
  const store = openStore(request.store, request.settings, { ...request, signal });
  const look = (before?: EntryTable) =>
    walk({ ...request, root, parts, models: mode, threads: () => pool.start(), ...(before && { before }) });
  const indexFile = request.index ?? defaultIndexFile(root);
  const lookAtStore = async () => {
    const marked = await markedIn(store);
    const known = await KnownContent.load(store, marked, `${indexFile}.content`, (text) => request.progress?.(text));
    const index = StatIndex.load(indexFile, { root, parts });
    index.preload();
    return { marked, known, index };
  };
  // Threads walk while this one finds out what the store has. Neither goes on when the other has failed.
  const [walked, stored] = await Promise.allSettled([
    look().catch((error) => {
      stop.abort(error);
      throw error;
    }),
    lookAtStore(),
  ]);
  if (walked.status === "rejected") throw walked.reason;
  if (stored.status === "rejected") throw stored.reason;
  const found = walked.value;
  const { marked, known, index } = stored.value;
  await index.begin(found);
  const workers = new PackWorkers({ place: { root, parts }, threads: threadsOf(request), pool: () => pool.start() });
  const writer = new PackWriter(store, marked, workers, (sha256) => known.frame(sha256));
  const locked = mode === "locked" ? found.models : [];
  const total = locked.reduce((sum, { stamp }) => sum + stamp.size, found.entries.bytes());
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
  // Nothing goes on behind the back of who was told that it failed.
  const giveUp = async (error: unknown): Promise<never> => {
    stop.abort(error);
    await writer.settled();
    throw error;
  };
  const tree = await unchangedOrThrow({ found, look, packer, mode }).catch((error) => {
    // What was read need not be read again when it is tried again.
    for (const remark of saveIndex(index, found, mode, null)) request.progress?.(remark);
    return giveUp(error);
  });
  await writer.finish().catch(giveUp);
  // The manifest takes memory of its own.
  await pool.close();

  const { contents } = packer;
  const identified = identify({ root, parts, mode, tree, contents });
  const survey = surveyOf({ root, parts, mode, tree, identified, contents });
  const { digest, head, remarks } = await storeSnapshot(
    { root, parts, mode, tree, survey, packer, known, writer, records: request.plugins },
    { ...request, store, marked, index: indexFile, elapsed },
  );
  for (const remark of [...saveIndex(index, tree, mode, identified), ...remarks]) request.progress?.(remark);
  return {
    reference: formatReference({ store: store.location, digest }),
    digest,
    head,
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
