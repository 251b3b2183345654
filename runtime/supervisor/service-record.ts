import { z } from "zod";
import { isOver } from "../deployment";
import { readJson, writeJson } from "./files";
import type { ServiceFolders } from "./folders";
import type { StoredService } from "./records";
import { gatewaySchema, ownerSchema, settingsSchema, specSchema } from "./requests";

const event = z.object({ event: z.string(), at: z.string(), detail: z.string().optional() });
const refusal = z.object({ code: z.string(), message: z.string() });
const drain = z.object({ startedAt: z.string(), deadlineAt: z.string(), refused: refusal.nullable() });

const release = z.object({
  id: z.string(),
  revision: z.int(),
  owner: ownerSchema,
  specHash: z.string(),
  spec: specSchema,
  count: z.int().nonnegative(),
  drain: drain.nullable(),
  events: z.array(event),
  confirmed: z.boolean(),
  drainBegan: z.object({ boot: z.string(), milliseconds: z.number() }).nullish(),
});

/** The form of `service.json`, as far as anything depends on it. */
const form = z.object({
  format: z.literal(1),
  claim: z.object({ owner: ownerSchema, since: z.string() }),
  settings: settingsSchema,
  revision: z.int().nonnegative(),
  serving: z.string().nullable(),
  gateway: z.object({ port: z.int(), declaration: gatewaySchema }).nullable(),
  releases: z.array(release),
}) as unknown as z.ZodType<StoredService>;

/** Manifest digests of the snapshots that a service's instances may still be started from. */
export function snapshotsOf({ releases }: StoredService): readonly string[] {
  return releases.filter((release) => !isOver(release)).map(({ spec }) => spec.snapshot.split("#sha256:")[1] ?? "");
}

/** What is recorded of a service, or null. @throws when the file is not as this package writes it */
export const readService = (folders: ServiceFolders) => readJson(folders.record, form);
export const writeService = (folders: ServiceFolders, record: StoredService) => writeJson(folders.record, record);
