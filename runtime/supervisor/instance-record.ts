import { z } from "zod";
import { readJson, writeJson } from "./files";
import type { InstanceFolders } from "./folders";
import { type ProcessIdentity, processIdentity } from "./processes";
import type { Evidence } from "./protocol";

/** `instance.json`: what of an instance survives the supervisor. */
export interface InstanceRecord {
  readonly format: 1;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly port: number | null;
  /** Starts of its process so far; written before each, so that no two starts have the same. */
  readonly epoch: number;
  readonly restarts: number;
  readonly process: ProcessIdentity | null;
  /** Where it stands: a process that was proven is not proven again when only the supervisor was started anew. */
  readonly standing: "starting" | "proven" | "failed";
  /** When it came to stand there. ISO 8601. */
  readonly since: string;
  /** Whether it was proven in any of its starts. */
  readonly everProven: boolean;
  /** Whether it has to go: it gets no new prompts, and ends when it has drained. */
  readonly leaving: boolean;
  readonly evidence: Evidence | null;
}

export function newInstanceRecord(now: string): InstanceRecord {
  return {
    format: 1,
    createdAt: now,
    port: null,
    epoch: 0,
    restarts: 0,
    process: null,
    standing: "starting",
    since: now,
    everProven: false,
    leaving: false,
    evidence: null,
  };
}

/** The form of `instance.json`, as far as anything depends on it. */
const form = z.object({
  format: z.literal(1),
  createdAt: z.string(),
  port: z.int().nullable(),
  epoch: z.int().nonnegative(),
  restarts: z.int().nonnegative(),
  process: processIdentity.nullable(),
  standing: z.enum(["starting", "proven", "failed"]),
  since: z.string(),
  everProven: z.boolean(),
  leaving: z.boolean(),
  evidence: z.object({ reason: z.string() }).nullable(),
}) as unknown as z.ZodType<InstanceRecord>;

/** What is recorded of an instance, or null. @throws when the file is not as this package writes it */
export const readInstanceRecord = (folders: InstanceFolders) => readJson(folders.record, form);
export const writeInstanceRecord = (folders: InstanceFolders, record: InstanceRecord) =>
  writeJson(folders.record, record);
