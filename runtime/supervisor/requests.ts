import { z } from "zod";
import { absolutePath, argumentSchema, healthSchema, layoutSchema, snapshotSchema, storeSchema } from "../instance";
import type { GatewayDeclaration, Owner, ReleaseSpec, ServiceSettings, WorkstationDeclaration } from "./protocol";

const milliseconds = z.int().nonnegative();
const port = z.int().min(1).max(65_535);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "is not a SHA-256 in hex");
/** Names become names of folders. */
export const nameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    "is not a name: 1 to 63 letters, digits, dots, dashes and underscores, the first a letter or digit",
  );

const environmentVariables = z.record(z.string().regex(/^[A-Za-z_]\w*$/), z.string());
export const ownerSchema: z.ZodType<Owner> = z.object({
  organization: z.string().min(1),
  project: z.string().min(1),
  stack: z.string().min(1),
});

export const settingsSchema: z.ZodType<ServiceSettings> = z.object({
  drain: z.object({ deadline: milliseconds, onDeadline: z.enum(["keep", "stop"]) }),
});

export const specSchema: z.ZodType<ReleaseSpec> = z.object({
  snapshot: snapshotSchema,
  store: storeSchema.exactOptional(),
  models: absolutePath.nullable(),
  arguments: z.array(argumentSchema),
  environmentVariables,
  health: healthSchema,
});

export const claimSchema = z.object({ owner: ownerSchema, settings: settingsSchema, takeover: z.boolean() });
export const releaseClaimSchema = z.object({ owner: ownerSchema });
export const createReleaseSchema = z.object({ owner: ownerSchema, spec: specSchema });
export const countSchema = z.object({ count: z.int().nonnegative().max(1000) });
export const targetSchema = z.object({ release: z.string(), expectedServing: z.string().nullable() });
export const shutdownSchema = z.object({ force: z.boolean() });
export const eventSchema = z.object({
  event: z.enum(["created", "started", "proven", "failed", "serving", "draining", "drained", "removed", "abandoned"]),
  detail: z.string().optional(),
});

export const gatewaySchema: z.ZodType<GatewayDeclaration> = z.object({
  port: port.nullable(),
  apiKeyHashes: z.array(sha256),
  maximumBodySize: z.int().positive(),
  resultRetention: milliseconds,
  maximumSpoolSize: z.int().nonnegative(),
});

export const workstationSchema: z.ZodType<WorkstationDeclaration> = z.object({
  owner: ownerSchema,
  root: absolutePath,
  layout: layoutSchema,
  port: port.nullable(),
  arguments: z.array(z.string()),
  environmentVariables,
  state: z.enum(["running", "stopped"]),
  stopDeadline: milliseconds,
});
