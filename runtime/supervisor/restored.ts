import { z } from "zod";
import type { EnvironmentLocation } from "../environment";
import type { ExpectedPlugin } from "../health";
import type { ModelFile, ModelsMode } from "../snapshot/types";
import { readJson } from "./files";
import type { InstanceFolders } from "./folders";
import { layoutSchema } from "./requests";

/** The form of `restored.json`, as far as anything depends on it. */
const form = z.object({
  location: z.object({ root: z.string(), layout: layoutSchema }),
  python: z.string(),
  plugins: z.array(z.object({ name: z.string() })),
  models: z.object({
    mode: z.string(),
    root: z.string(),
    files: z.array(z.object({ path: z.string(), size: z.number() })),
  }),
  remarks: z.array(z.string()),
}) as unknown as z.ZodType<RestoredEnvironment>;

/** What an instance needs to know of its restored environment to start, kept beside it so that a restart needs no store. */
export interface RestoredEnvironment {
  readonly location: EnvironmentLocation;
  /** Absolute path of its interpreter. */
  readonly python: string;
  readonly plugins: readonly ExpectedPlugin[];
  readonly models: { readonly mode: ModelsMode; readonly root: string; readonly files: readonly ModelFile[] };
  /** What is different here than where the snapshot was made. */
  readonly remarks: readonly string[];
}

/** What was kept of a restore, or null where nothing readable was: the restore is then made again. */
export function readRestored(folders: InstanceFolders): RestoredEnvironment | null {
  try {
    return readJson(folders.restored, form);
  } catch {
    return null;
  }
}
