import { z } from "zod";
import type { EnvironmentLocation } from "../environment";
import type { ExpectedPlugin } from "../health";
import type { ModelFile, ModelsMode } from "../snapshot/types";
import { layoutSchema } from "./requirements";

/** What an instance needs to know of its restored environment to start, kept so that a restart needs no store. */
export interface RestoredInstance {
  readonly location: EnvironmentLocation;
  /** Absolute path of its interpreter. */
  readonly python: string;
  readonly plugins: readonly ExpectedPlugin[];
  readonly models: { readonly mode: ModelsMode; readonly root: string; readonly files: readonly ModelFile[] };
  /** What is different here than where the snapshot was made. */
  readonly remarks: readonly string[];
}

/** Its form, as far as anything depends on it. */
export const restoredSchema = z.object({
  location: z.object({ root: z.string(), layout: layoutSchema }),
  python: z.string(),
  plugins: z.array(z.object({ name: z.string() }).loose()),
  models: z.object({
    mode: z.string(),
    root: z.string(),
    files: z.array(z.object({ path: z.string(), size: z.number() }).loose()),
  }),
  remarks: z.array(z.string()),
}) as unknown as z.ZodType<RestoredInstance>;
