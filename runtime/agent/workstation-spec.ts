import { z } from "zod";
import type { Layout } from "../environment";
import { absolutePath, argumentSchema, layoutSchema, snapshotSchema, storeSchema } from "../instance";
import type { StoreSettings } from "../store";

/** `workstation.json`: what the agent of a workstation is told. */
export interface WorkstationSpec {
  readonly workstation: string;
  /** Organisation, project and stack that it belongs to. */
  readonly owner: string;
  readonly layout: Layout;
  /** Folder with the model files where a volume is mounted for them; null: the environment has them. */
  readonly models: string | null;
  /** Further command-line arguments of ComfyUI. */
  readonly arguments: readonly string[];
  /** Milliseconds without a prompt and without a request after which it stops itself; null for never. */
  readonly idleStop: number | null;
  /** Milliseconds that a stop waits for the running prompts. */
  readonly stopDeadline: number;
  /** `relay`: the way in, which leads to ComfyUI. */
  readonly ports: { readonly comfyui: number; readonly agent: number; readonly relay: number };
}

/** `from.json`: the snapshot that a claim without an environment is filled with. */
export interface FillSource {
  /** `<store>#sha256:<manifest digest>`, the store an absolute path or `s3://bucket/prefix`. */
  readonly reference: string;
  readonly store: Pick<StoreSettings, "region" | "endpoint" | "pathStyle" | "kmsKeyId">;
}

const port = z.int().min(1).max(65_535);
const milliseconds = z.int().nonnegative();

export const workstationSpecSchema: z.ZodType<WorkstationSpec> = z.object({
  workstation: z.string().min(1),
  owner: z.string(),
  layout: layoutSchema,
  models: absolutePath.nullable(),
  arguments: z.array(argumentSchema),
  idleStop: milliseconds.nullable(),
  stopDeadline: milliseconds,
  ports: z.object({ comfyui: port, agent: port, relay: port }),
});

export const fillSourceSchema: z.ZodType<FillSource> = z.object({ reference: snapshotSchema, store: storeSchema });
