import { formatDuration } from "../format";
import type { ObjectStore } from "../store";
import { nameOf } from "./paths";
import { longestPack } from "./prune-wait";

/** What a run that packs has to know of a prune beside it: docs/store-format.md, *Pruning*. */

/** Packs and manifests that a prune is about to remove. */
export async function markedIn(store: ObjectStore): Promise<ReadonlySet<string>> {
  const marked = new Set<string>();
  for await (const { key } of store.list("marks/")) marked.add(nameOf(key));
  return marked;
}

/** A prune began to remove what a run had found. */
export class MarkedMeanwhileError extends Error {
  override readonly name = "MarkedMeanwhileError";
}

/** A manifest must not name what `prune` has begun to remove since this run looked, `elapsed` milliseconds ago. */
export async function refuseMarked(store: ObjectStore, needed: ReadonlySet<string>, elapsed: number): Promise<void> {
  refuseLate(elapsed);
  const marked = [...(await markedIn(store))].filter((name) => needed.has(name));
  if (marked.length === 0) return;
  throw new MarkedMeanwhileError(
    `${marked.length} packs or manifests that the snapshot needs were marked for removal by a prune`,
  );
}

/** A prune trusts that every run which may not have seen its marks has ended by the time it removes what it marked. */
export function refuseLate(elapsed: number): void {
  if (elapsed <= longestPack) return;
  throw new Error(
    `packing took longer than ${formatDuration(longestPack)}, in which packs may have been pruned that it found; run it again`,
  );
}
