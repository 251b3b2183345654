import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { linkTree, restic, storeOf, tar } from "../commands";
import { copyTree, sizeOf } from "../tree";
import { listing, memoryFolder, seconds, type Workshop } from "../workshop";

/** Restores without a cache, from and to memory: the disk takes no part in it. */
export async function coldRestore(shop: Workshop): Promise<void> {
  const ours = await shop.ourState();
  const half = await shop.halfState();
  const archive = await shop.tarFile();
  const withRestic = shop.has("restic");
  const theirs = withRestic ? await shop.resticState() : null;
  const { bytes } = sizeOf(shop.tree);
  const stored = listing(storeOf(ours)).bytes;
  // Our store, half of it, theirs, the archive, and one tree.
  const place = memoryFolder(`pulumi-comfyui-bench-${process.pid}`, bytes * 1.1 + stored * 3.7);
  if ("reason" in place) {
    for (const id of ["restore.tar", "restore.restic", "twice.restore"] as const)
      shop.results.missing(id, place.reason);
    return;
  }
  const { folder } = place;
  const [target, full, halved, file] = ["target", "ours", "half", "tree.tar.zst"].map((name) => join(folder, name));
  if (target === undefined || full === undefined || halved === undefined || file === undefined) return;
  const clear = () => rmSync(target, { recursive: true, force: true });
  try {
    copyTree(storeOf(ours), full);
    copyTree(storeOf(half), halved);
    copyFileSync(archive, file);
    const reference = await referenceIn(shop, ours, shop.tree, full);
    const halfReference = await referenceIn(shop, half, shop.half, halved);
    const resticState = join(folder, "restic");
    if (theirs !== null) copyTree(theirs, resticState);
    const runs = await shop.interleave([
      { name: "restore", command: () => shop.ours.restore(reference, target, ours), after: clear },
      { name: "zstd | tar x", command: () => tar.extract(file, target), after: clear },
      ...(theirs === null
        ? []
        : [{ name: "restic restore", command: () => restic.restore(resticState, target), after: clear }]),
      { name: "restore half", command: () => shop.ours.restore(halfReference, target, half), after: clear },
    ]);
    shop.notePeaks("restore", "full", runs("restore"));
    shop.notePeaks("restore", "half", runs("restore half"));
    shop.results.ratio("restore.tar", seconds(runs("restore")), seconds(runs("zstd | tar x")));
    shop.results.ratio("twice.restore", seconds(runs("restore")), seconds(runs("restore half")));
    if (theirs !== null) {
      shop.results.ratio("restore.restic", seconds(runs("restore")), seconds(runs("restic restore")));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Restores of which a complete copy is in the local cache, on the same file system. */
export async function cachedRestore(shop: Workshop): Promise<void> {
  const state = await shop.ourState();
  const reference = await referenceIn(shop, state, shop.tree, storeOf(state));
  const cache = join(shop.folder, "restored");
  const target = join(shop.folder, "target");
  const clear = () => rmSync(target, { recursive: true, force: true });
  const cached = join(cache, digestOf(reference));
  try {
    await shop.run(shop.ours.engine("restore", { reference, target, cache }, state));
    clear();
    await shop.settle();
    const runs = await shop.interleave([
      {
        name: "restore",
        command: () => shop.ours.engine("restore", { reference, target, cache }, state),
        after: clear,
      },
      { name: "cp -al", command: () => linkTree(cached, target), after: clear },
    ]);
    shop.notePeaks("cached restore", "full", runs("restore"));
    shop.results.ratio("cached.cp", seconds(runs("restore")), seconds(runs("cp -al")));
  } finally {
    clear();
    rmSync(cache, { recursive: true, force: true });
  }
}

/**
 * Restores a snapshot over the one before it, in which 1 % of the files were others. `earlier` is the reference of that
 * one in our present state's store.
 */
export async function restoreOver(shop: Workshop, earlier: string): Promise<void> {
  const state = await shop.ourState();
  const { bytes } = sizeOf(shop.tree);
  const place = memoryFolder(`pulumi-comfyui-bench-${process.pid}`, bytes * 2.2 + listing(storeOf(state)).bytes);
  if ("reason" in place) return shop.results.missing("over.full", place.reason);
  const store = join(place.folder, "ours");
  const target = join(place.folder, "target");
  const clear = () => rmSync(target, { recursive: true, force: true });
  try {
    copyTree(storeOf(state), store);
    const reference = await referenceIn(shop, state, shop.tree, store);
    const before = `${store}#sha256:${digestOf(earlier)}`;
    const runs = await shop.interleave([
      {
        name: "restore over",
        prepare: async () => {
          await shop.run(shop.ours.restore(before, target, state));
        },
        command: () => shop.ours.restoreOver(reference, target, state),
        after: clear,
      },
      { name: "restore", command: () => shop.ours.restore(reference, target, state), after: clear },
    ]);
    shop.notePeaks("restore over", "full", runs("restore over"));
    shop.results.ratio("over.full", seconds(runs("restore over")), seconds(runs("restore")));
  } finally {
    rmSync(place.folder, { recursive: true, force: true });
  }
}

/** The reference of a tree's present snapshot, which its state's store has, in a copy of that store. */
export async function referenceIn(shop: Workshop, state: string, tree: string, store: string): Promise<string> {
  const { stdout } = await shop.run(shop.ours.pack(tree, state));
  return `${store}#sha256:${digestOf(stdout.trim())}`;
}

function digestOf(reference: string): string {
  const digest = /#sha256:([0-9a-f]{64})$/.exec(reference)?.[1];
  if (digest === undefined) throw new Error(`${JSON.stringify(reference)} is no reference`);
  return digest;
}
