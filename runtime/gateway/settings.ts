import { z } from "zod";
import type { GatewaySettings, Targets } from "./targets";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256 in 64 lower-case hex digits");

export const settingsSchema: z.ZodType<GatewaySettings> = z.object({
  apiKeyHashes: z.array(sha256),
  deployerTokenHash: sha256,
  maximumBodySize: z.int().positive(),
  resultRetention: z.number().nonnegative(),
  maximumSpoolSize: z.number().nonnegative(),
});

export const targetsSchema: z.ZodType<Targets> = z.object({
  generation: z.int().nonnegative(),
  serving: z.string().nullable(),
  instances: z.array(
    z.object({
      id: z.string().min(1),
      release: z.string().min(1),
      url: z.url({ protocol: /^https?$/ }),
      state: z.enum(["ready", "draining", "unready"]),
      epoch: z.number(),
    }),
  ),
});
