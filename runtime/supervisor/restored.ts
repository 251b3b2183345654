import type { EnvironmentLocation } from "../environment";
import type { ExpectedPlugin } from "../health";
import type { ModelFile, ModelsMode } from "../snapshot/types";

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
