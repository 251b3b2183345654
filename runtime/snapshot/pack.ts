import { relative, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
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
import { isStillSame } from "./still-same";
import { SnapshotToStore } from "./store-snapshot";
import { identify, surveyOf } from "./summary";
import { PackWorkers } from "./threads/pack-workers";
import { LazyThreadPool, usualThreads } from "./threads/pool";
import { ownFolder } from "./travel-rules";
import type { PackedSnapshot, PackRequest } from "./types";
import { manyEntries, type Tree, walk } from "./walk";

/** Times that an environment is packed when a prune keeps marking what the run before had found in the store. */
const attempts = 3;
/** Packs that are filled where little is new: what follows is then begun before it is certain that nothing changed. */
const fewPacks = 2;

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
  const index = StatIndex.load(indexFile, { root, parts });
  if (index.size > manyEntries) pool.start();
  const lookAtStore = async () => {
    const marked = await markedIn(store);
    const known = await KnownContent.load(store, marked, `${indexFile}.content`, (text) => request.progress?.(text));
    await setImmediate();
    index.preload();
    return { marked, known };
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
  const { marked, known } = stored.value;
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
  const prepare = async (tree: Tree): Promise<Prepared> => {
    const { contents } = packer;
    const identified = identify({ root, parts, mode, tree, contents });
    await setImmediate();
    const survey = surveyOf({ root, parts, mode, tree, identified, contents });
    const snapshot = await SnapshotToStore.compare(
      { root, parts, mode, tree, survey, packer, known, writer, records: request.plugins },
      { ...request, store, marked, index: indexFile, elapsed },
    );
    await setImmediate();
    // What files hold while their stamps are what they are stays true, whatever changed since.
    return { tree, snapshot, remarks: saveIndex(index, tree, mode, identified) };
  };
  let early: Prepared | null = null;
  const isUnchanged = async () => {
    const same = isStillSame(root, found, { models: mode, threads: () => pool.start(), signal });
    same.catch(() => undefined); // Whoever waits for it below gets it.
    // Where much was packed, what that took is given back first.
    if (writer.sizes.size > fewPacks) return same;
    // What fails now may do so because something changed, which is then told instead.
    early = await prepare(found).catch(() => null);
    await writer.finish();
    await early?.snapshot.encode();
    return same;
  };
  const tree = await unchangedOrThrow({ found, look, isUnchanged, packer, mode }).catch((error) => {
    // What was read need not be read again when it is tried again.
    for (const remark of saveIndex(index, found, mode, null)) request.progress?.(remark);
    return giveUp(error);
  });
  await writer.finish().catch(giveUp);
  const closing = pool.close();
  let prepared = ofTree(tree, early);
  if (prepared === null) {
    await closing; // The manifest takes memory of its own.
    prepared = await prepare(tree);
  }
  const { digest, remarks } = await prepared.snapshot.store().finally(() => closing);
  for (const remark of [...prepared.remarks, ...remarks]) request.progress?.(remark);
  const { head } = prepared.snapshot;
  return {
    reference: formatReference({ store: store.location, digest }),
    digest,
    head,
    bytesAdded: writer.bytesAdded,
    bytesStored: writer.bytesStored,
  };
}

/** What is known of a tree before it is certain that it stayed as it is. */
interface Prepared {
  readonly tree: Tree;
  readonly snapshot: SnapshotToStore;
  readonly remarks: readonly string[];
}

function ofTree(tree: Tree, prepared: Prepared | null): Prepared | null {
  return prepared?.tree === tree ? prepared : null;
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
