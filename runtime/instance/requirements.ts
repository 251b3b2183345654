import { z } from "zod";

/** What an instance has to show before it counts as proven. */
export interface HealthRequirements {
  /** Milliseconds that a process gets to listen, which it does after every plugin was imported. */
  readonly startTimeout: number;
  /** Milliseconds for which an instance must keep what proves it. */
  readonly stableFor: number;
  /** A workflow in ComfyUI's API format which must run to a result, or null. */
  readonly smoke: Readonly<Record<string, unknown>> | null;
  /** Milliseconds that the smoke workflow gets. */
  readonly smokeTimeout: number;
  /** Plugins that may fail to load. */
  readonly acceptFailing: readonly string[];
}

const milliseconds = z.int().nonnegative();

export const healthSchema = z.object({
  startTimeout: milliseconds,
  stableFor: milliseconds,
  smoke: z.record(z.string(), z.unknown()).nullable(),
  smokeTimeout: milliseconds,
  acceptFailing: z.array(z.string()),
});

export const absolutePath = z.string().regex(/^\//, "is not an absolute path");

export const snapshotSchema = z
  .string()
  .regex(/^(?:\/|s3:\/\/).*#sha256:[0-9a-f]{64}$/, "is not <absolute folder or s3://…>#sha256:<64 hex digits>");

/** What a store in S3 is told; never credentials. */
export const storeSchema = z.object({
  region: z.string().exactOptional(),
  endpoint: z.string().exactOptional(),
  pathStyle: z.boolean().exactOptional(),
  kmsKeyId: z.string().exactOptional(),
});

/** What is set for every instance by whoever starts it. */
const reserved = /^--(?:port|listen|base-directory|(?:input|output|temp|user)-directory|database-url)(?:=|$)/;

export const argumentSchema = z
  .string()
  .refine((argument) => !reserved.test(argument), "is set for each instance and cannot be declared");

export const layoutSchema = z.object({
  comfyui: z.string(),
  plugins: z.string(),
  dependencies: z.string(),
  cache: z.string(),
  models: z.string(),
});
