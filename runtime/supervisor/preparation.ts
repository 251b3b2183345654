import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { demandModels, linkModels } from "../instance";
import type { Watch } from "../waiting";
import type { Background } from "./background";
import { namesIn, removeTree, writeJson } from "./files";
import type { InstanceFolders } from "./folders";
import type { ReleaseSpec } from "./protocol";
import { type RestoredEnvironment, readRestored } from "./restored";

export interface Preparation extends Watch {
  readonly folders: InstanceFolders;
  readonly spec: ReleaseSpec;
  /** Folder of complete restores. */
  readonly cache: string;
  readonly restores: Background;
}

/** Makes an instance's environment from its snapshot, and everything else that its process needs. May be done again. */
export async function prepareInstance(preparation: Preparation): Promise<RestoredEnvironment> {
  const { folders, spec } = preparation;
  const environment = await restoreOnce(preparation);
  const models = demandModels(environment.models, spec.models);
  if (models !== null) await linkModels(environment.location, models);
  // ComfyUI refuses a user folder that does not exist.
  for (const folder of [folders.input, folders.output, folders.temp, folders.user])
    mkdirSync(folder, { recursive: true });
  return environment;
}

async function restoreOnce({
  folders,
  spec,
  cache,
  restores,
  progress,
  signal,
}: Preparation): Promise<RestoredEnvironment> {
  const known = readRestored(folders);
  if (known !== null && existsSync(folders.environment)) return known;
  await removeLeftOvers(folders);
  const task = {
    reference: spec.snapshot,
    settings: spec.store ?? {},
    cache,
    target: folders.environment,
    models: spec.models,
  };
  const restored = await restores.restore(task, { progress, signal });
  writeJson(folders.restored, restored);
  return restored;
}

/** Removes what a restore that was interrupted has left. */
async function removeLeftOvers(folders: InstanceFolders): Promise<void> {
  const kept = new Set([folders.record, folders.log, `${folders.log}.1`].map((path) => basename(path)));
  for (const name of await namesIn(folders.root)) if (!kept.has(name)) await removeTree(join(folders.root, name));
}
