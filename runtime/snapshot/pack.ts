import { hash } from "node:crypto";
import { relative, resolve } from "node:path";
import { InvalidInputError, type Problem } from "../problems";
import { type ObjectStore, openStore } from "../store";
import { formatSize } from "../units";
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
import { formatReference } from "./reference";
import { hashedEntries, saveIndex } from "./scan";
import { defaultIndexFile, StatIndex } from "./stat-index";
import { surveyOf } from "./summary";
import { ownFolder } from "./travel-rules";
import type { PackedSnapshot, PackRequest } from "./types";
import { walk } from "./walk";

/** Milliseconds between the mark that `prune` sets on a pack and its removal; a run that takes longer cannot trust its looks. */
const pruneWait = 24 * 3_600_000;

/**
 * Brings an environment into a store as an immutable snapshot: what the store lacks first, the manifest last. May be killed
 * and run again at any time. Throws `InvalidInputError` for an environment that could not be started, and
 * `ChangedWhilePackingError` when something that counts changed meanwhile.
 */
export async function pack(request: PackRequest): Promise<PackedSnapshot> {
  const problems = [...(await checkEnvironment(request.environment)), ...storeProblems(request)];
  if (problems.length > 0) throw new InvalidInputError(problems);
  const started = performance.now();
  const root = resolve(request.environment.root);
  const parts = partsOf(request.environment.layout);
  const mode = request.models;
  const store = openStore(request.store);
  const marked = await markedPacks(store);
  const indexFile = request.index ?? defaultIndexFile(root);
  const known = await KnownContent.load(store, marked, `${indexFile}.content`, (text) => request.progress?.(text));
  const index = StatIndex.load(indexFile, { root, parts });

  const look = () => walk({ ...request, root, parts, models: mode });
  const found = await look();
  await index.settle(found.entries);
  const writer = new PackWriter(store, marked);
  const total = hashedEntries(found, mode).reduce((sum, { stamp }) => sum + Number(stamp.size), 0);
  const packer: Packer = new Packer({
    place: { root, parts },
    index,
    known,
    writer,
    pace: new Pace(request),
    describe: () => `packed ${formatSize(packer.bytesDone)} of ${formatSize(total)}`,
  });
  const tree = await unchangedOrThrow({ found, look, packer, mode }).catch((error) => {
    // What was read need not be read again when it is tried again.
    for (const remark of saveIndex(index, "")) request.progress?.(remark);
    throw error;
  });
  await writer.finish();

  const survey = surveyOf({ root, parts, mode, tree, contents: packer.contents });
  const manifest = buildManifest({ root, parts, mode, tree, survey, packer, known, writer, records: request.plugins });
  const pieces = await encodeManifest(manifest);
  const digest = hash("sha256", Buffer.concat(pieces));
  const needed = new Set(manifest.packs.map(({ sha256 }) => sha256));
  await refuseMarked(store, needed, performance.now() - started);
  request.signal?.throwIfAborted();
  await store.create(`ids/${survey.summary.id}/${digest}`, []);
  await store.create(manifestKey(digest), pieces);

  const reference = formatReference({ store: store.location, digest });
  for (const remark of saveIndex(index, parts.models)) request.progress?.(remark);
  for (const remark of writeLastPacked(indexFile, reference, survey.counted)) request.progress?.(remark);
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
  const inside = relative(resolve(environment.root), resolve(store));
  if (inside.startsWith("..") || isWithin(inside, ownFolder)) return [];
  const part = partOf(inside, partsOf(environment.layout));
  if (part === undefined) return [];
  return [
    { path: "store", reason: `${store} lies in layout.${part}, which it is to hold; give a folder outside of it` },
  ];
}

async function markedPacks(store: ObjectStore): Promise<ReadonlySet<string>> {
  const marked = new Set<string>();
  for await (const { key } of store.list("marks/")) marked.add(key.slice(key.lastIndexOf("/") + 1));
  return marked;
}

/** A manifest must not name packs that `prune` has begun to remove since this run looked. */
async function refuseMarked(store: ObjectStore, needed: ReadonlySet<string>, elapsed: number): Promise<void> {
  if (elapsed > pruneWait) {
    throw new Error("packing took longer than a day, in which packs may have been pruned that it found; run it again");
  }
  const marked = [...(await markedPacks(store))].filter((name) => needed.has(name));
  if (marked.length === 0) return;
  throw new Error(`${marked.length} packs that the snapshot needs were marked for removal by a prune; run it again`);
}
