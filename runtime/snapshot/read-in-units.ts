import type { Pace } from "./pace";
import { type PackUnit, PackUnits } from "./pack-units";
import { InOrder } from "./threads/in-order";
import type { PackWorkers } from "./threads/pack-workers";
import type { TreeEntry } from "./tree-entry";

/** How files are read. */
export interface UnitReading {
  readonly workers: PackWorkers;
  readonly pace: Pace;
  readonly describe: () => string;
  /** True for a file that need not be read. */
  readonly isDone: (entry: TreeEntry) => boolean;
  /** Has a unit read, and adds to `results` what is to be done with it. Waits for the places that it takes. */
  readonly begin: (unit: PackUnit, results: InOrder) => Promise<void>;
}

/** Has files read in units: by threads once they are many, until then and where they are few by the calling one. */
export async function readInUnits(
  entries: Iterable<TreeEntry>,
  { workers, pace, describe, isDone, begin }: UnitReading,
): Promise<void> {
  const results = new InOrder(workers.fail);
  const units = new PackUnits();
  for (const entry of entries) {
    if (entry.type !== "file") continue;
    if (pace.due) await pace.rest(describe);
    if (isDone(entry)) continue;
    units.add(entry);
    if (units.areMany) workers.start();
    if (!workers.areStarted) continue;
    for (const unit of units.takeComplete()) await begin(unit, results);
  }
  for (const unit of units.takeAll()) await begin(unit, results);
  await Promise.race([results.done(), workers.failure]);
}
