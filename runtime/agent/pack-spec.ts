import { z } from "zod";
import { pluginRecordsSchema, summarySchema } from "../deployment/workstation";
import type { Layout, PluginRecord } from "../environment";
import { layoutSchema, storeSchema } from "../instance";
import type { EnvironmentSummary, ModelsMode } from "../snapshot";
import type { StoreSettings } from "../store";

/** `pack.json`: what the agent of a packing Job is told. */
export interface PackSpec {
  readonly environment: { readonly root: string; readonly layout: Layout };
  readonly models: ModelsMode;
  /** `s3://bucket/prefix`; in tests also a folder. */
  readonly store: string;
  /** What a store in S3 needs to be told. Credentials are what the AWS SDK finds in the agent's container. */
  readonly settings: Pick<StoreSettings, "region" | "endpoint" | "pathStyle" | "kmsKeyId">;
  /** How plugins behaved at the workstation's last start. */
  readonly plugins: readonly PluginRecord[];
  /** What the preview has shown: nothing else is published. */
  readonly promised: EnvironmentSummary;
}

/** The termination message of an agent that has packed. */
export interface PackedMessage {
  /** `<store>#sha256:<digest>` */
  readonly reference: string;
  /** Content bytes that the store lacked, and what they took there. */
  readonly bytesAdded: number;
  readonly bytesStored: number;
}

/** The termination message of an agent that has not. */
export interface NotPackedMessage {
  /** Why, for a person to act on. */
  readonly reason: string;
}

/** A line of the agent's output. */
export interface PackLine {
  /** ISO 8601. */
  readonly at: string;
  readonly message: string;
}

export const packSpecSchema: z.ZodType<PackSpec> = z.object({
  environment: z.object({ root: z.string().regex(/^\//, "is not an absolute path"), layout: layoutSchema }),
  models: z.enum(["referenced", "locked", "included"]),
  store: z.string().regex(/^(\/|s3:\/\/)/, "is neither s3://bucket/prefix nor an absolute path"),
  settings: storeSchema,
  plugins: pluginRecordsSchema,
  promised: summarySchema,
});
