import { type FolderToWalk, FolderWalk, type WalkedFolder, type WalkPlace } from "../folder-walk";
import type { Parts } from "../parts";
import { TravelRules } from "../travel-rules";
import type { ModelsMode } from "../types";
import { Transferred } from "./tasks";

export interface FolderTask {
  readonly root: string;
  readonly parts: Parts;
  readonly mode: ModelsMode;
  /** The text of the environment's own rules, as they were when the walk began. */
  readonly ownRules: string | null;
  readonly folder: FolderToWalk;
  /** Files and folders after which further folders are left to other tasks. */
  readonly budget: number;
}

/** Looks through a folder in one go. */
export function walkFolder({ folder, budget, ...task }: FolderTask): Transferred<WalkedFolder> {
  const walk = new FolderWalk(placeOf(task), folder, budget);
  while (walk.step());
  const walked = walk.result();
  const { table, trace } = walked;
  return new Transferred(walked, [table.records.buffer, table.text.buffer, trace.names.buffer]);
}

let last: { readonly key: string; readonly place: WalkPlace } | undefined;

/** Reading rules takes longer than most folders, and all tasks of a walk have the same ones. */
function placeOf({ root, parts, mode, ownRules }: Omit<FolderTask, "folder" | "budget">): WalkPlace {
  const key = JSON.stringify([root, parts, mode, ownRules]);
  if (last?.key !== key) last = { key, place: { root, parts, mode, rules: new TravelRules(parts, ownRules) } };
  return last.place;
}
