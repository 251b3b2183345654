import { z } from "zod";
import type { Layout, PluginRecord } from "../environment";
import { type Evidence, layoutSchema } from "../instance";
import type { EnvironmentSummary } from "../snapshot/types";

/*
 * What the agent of a workstation in a cluster tells in the ConfigMap `<name>-workstation`, and where: docs/kubernetes.md. Written by
 * the agent alone, read by whoever starts the workstation, by `status`, and by the check of its snapshot.
 */

/** Keys of that ConfigMap. */
export const workstationKeys = { fingerprint: "fingerprint.json", status: "status.json" } as const;

/** Annotation of that ConfigMap while the workstation is stopped because nobody used it: since when, ISO 8601. */
export const idleStoppedAnnotation = "pulumi-comfyui/idle-stopped";

/** `fingerprint.json`: what the claim holds. */
export interface WorkstationFingerprint {
  readonly protocol: 1;
  /** When the scan that this says began, by the node's clock: what was changed before is in it. ISO 8601. */
  readonly at: string;
  /** The pod that scanned. Where it is gone and `running` is true, the claim may hold something else by now. */
  readonly pod: string;
  /** How model files were treated: a snapshot that treats them otherwise has another id. */
  readonly models: "referenced";
  readonly layout: Layout;
  readonly summary: EnvironmentSummary;
  /** Plugin name → identity of its content. */
  readonly pluginHashes: Readonly<Record<string, string>>;
  /** How each plugin behaved at the last start that told; null when none has. */
  readonly plugins: readonly PluginRecord[] | null;
  /** What a person should know of the environment. */
  readonly remarks: readonly string[];
  /** Whether ComfyUI runs, so that what the claim holds may change. False after the last scan of a pod that was stopped. */
  readonly running: boolean;
  /** Whether another scan is under way. */
  readonly scanning: boolean;
  /** Why the last scan came to nothing, so that all above is of an earlier one; null when it did not. */
  readonly problem: string | null;
}

export type WorkstationPhase = "waiting" | "restoring" | "booting" | "running" | "stopping" | "failed";

/** `status.json`: what the workstation does. Also the answer of its agent to `GET /status`. */
export interface WorkstationStatus {
  readonly protocol: 1;
  readonly workstation: string;
  readonly pod: string;
  readonly phase: WorkstationPhase;
  /** What the phase is busy with, for example the restore's progress. */
  readonly detail: string;
  /** ISO 8601. */
  readonly phaseSince: string;
  /** What a person has to do before it can start, or null. */
  readonly blocked: string | null;
  /** ComfyUI's starts in this pod so far. */
  readonly start: number;
  /** Running plus waiting prompts as it last answered; null before it runs, and while it does not answer. */
  readonly queueRemaining: number | null;
  /** Why it failed, or how its last start that was not wanted to end did. */
  readonly evidence: Evidence | null;
}

const texts = z.record(z.string(), z.string());

export const summarySchema = z.object({
  id: z.string(),
  plugins: texts,
  distributions: texts,
  python: z.string(),
  comfyui: z.string(),
  files: z.number(),
  bytes: z.number(),
}) satisfies z.ZodType<EnvironmentSummary>;

export const pluginRecordsSchema = z.array(
  z.object({
    name: z.string(),
    contentHash: z.string().nullable(),
    state: z.enum(["loaded", "failed"]),
    classes: z.array(z.string()),
  }),
) satisfies z.ZodType<readonly PluginRecord[]>;

const fingerprintSchema = z.object({
  protocol: z.literal(1),
  at: z.string(),
  pod: z.string(),
  models: z.literal("referenced"),
  layout: layoutSchema,
  summary: summarySchema,
  pluginHashes: texts,
  plugins: pluginRecordsSchema.nullable(),
  remarks: z.array(z.string()),
  running: z.boolean(),
  scanning: z.boolean(),
  problem: z.string().nullable(),
}) satisfies z.ZodType<WorkstationFingerprint>;

const statusSchema = z.looseObject({
  protocol: z.literal(1),
  workstation: z.string(),
  pod: z.string(),
  phase: z.enum(["waiting", "restoring", "booting", "running", "stopping", "failed"]),
  detail: z.string(),
  blocked: z.string().nullable(),
  start: z.number(),
  queueRemaining: z.number().nullable(),
}) as unknown as z.ZodType<WorkstationStatus>;

/** Null where there is none yet. @throws where it is not as this version writes it */
export function fingerprintIn(data: Readonly<Record<string, string>> | undefined): WorkstationFingerprint | null {
  return parsed(data, workstationKeys.fingerprint, fingerprintSchema);
}

/** As {@link fingerprintIn}. */
export function workstationStatusIn(data: Readonly<Record<string, string>> | undefined): WorkstationStatus | null {
  return parsed(data, workstationKeys.status, statusSchema);
}

function parsed<T>(data: Readonly<Record<string, string>> | undefined, key: string, form: z.ZodType<T>): T | null {
  const text = data?.[key];
  if (text === undefined) return null;
  const result = form.safeParse(JSON.parse(text));
  if (result.success) return result.data;
  throw new Error(
    `${key} of the workstation's ConfigMap is not as this version writes it: ${z.prettifyError(result.error)}`,
  );
}
