import { type RestoredInstance, restoredSchema } from "../instance";
import { readJson } from "./files";
import type { InstanceFolders } from "./folders";

/** What an instance needs to know of its restored environment to start, kept beside it so that a restart needs no store. */
export type RestoredEnvironment = RestoredInstance;

/** What was kept of a restore, or null where nothing readable was: the restore is then made again. */
export function readRestored(folders: InstanceFolders): RestoredEnvironment | null {
  try {
    return readJson(folders.restored, restoredSchema);
  } catch {
    return null;
  }
}
