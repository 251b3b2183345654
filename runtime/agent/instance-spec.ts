import { z } from "zod";
import {
  absolutePath,
  argumentSchema,
  type HealthRequirements,
  healthSchema,
  snapshotSchema,
  storeSchema,
} from "../instance";
import type { NodeCache } from "../snapshot";
import type { StoreSettings } from "../store";

/** `instance.json`: what the agent of every pod of a release is told. */
export interface InstanceSpec {
  readonly service: string;
  /** `r<revision>-<random>`. */
  readonly release: string;
  /** `<store>#sha256:<manifest digest>`, the store an absolute path or `s3://bucket/prefix`. */
  readonly snapshot: string;
  /** What a store in S3 needs to be told. Credentials are what the AWS SDK finds in the agent's container. */
  readonly store?: Pick<StoreSettings, "region" | "endpoint" | "pathStyle" | "kmsKeyId">;
  /** Folder with the model files, `/comfyui/models` where a volume is mounted there; null where the snapshot needs none or has them. */
  readonly models: string | null;
  /** Where restores are kept on the node for its other pods, in the agent's container only, and how many of them. Default: nowhere. */
  readonly nodeCache?: Pick<NodeCache, "folder" | "keep">;
  /** Bytes that the pod may use of its node's disk; beyond that the kubelet evicts it. Default: no such limit. */
  readonly storage?: number;
  /** Further command-line arguments of ComfyUI. */
  readonly arguments: readonly string[];
  readonly health: HealthRequirements;
  /** Milliseconds that the instance gets to empty its queue. */
  readonly drainDeadline: number;
  readonly ports: { readonly comfyui: number; readonly agent: number };
}

const port = z.int().min(1).max(65_535);

export const instanceSpecSchema: z.ZodType<InstanceSpec> = z.object({
  service: z.string().min(1),
  release: z.string().min(1),
  snapshot: snapshotSchema,
  store: storeSchema.exactOptional(),
  models: absolutePath.nullable(),
  nodeCache: z.object({ folder: absolutePath, keep: z.int().min(1) }).exactOptional(),
  storage: z.number().nonnegative().exactOptional(),
  arguments: z.array(argumentSchema),
  health: healthSchema,
  drainDeadline: z.int().nonnegative(),
  ports: z.object({ comfyui: port, agent: port }),
});
