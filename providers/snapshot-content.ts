import { z } from "zod";
import {
  describeChanges,
  type EnvironmentSummary,
  readHead,
  SnapshotNotFoundError,
  shortId,
} from "../runtime/snapshot";
import { type StoreAccess, storeSettings } from "./declarations/store";
import { type Difference, unchanged } from "./resource";

/*
 * What snapshots have in common, wherever they are packed: their content among the inputs, by which a preview shows them, and a reference
 * into a store.
 */

/** Found by `check`, for a person to read in the preview; `contentId` alone decides whether there is something to publish. */
export const contentShape = {
  contentId: z.string().optional(),
  plugins: z.record(z.string(), z.string()).optional(),
  distributions: z.record(z.string(), z.string()).optional(),
  python: z.string().optional(),
  comfyui: z.string().optional(),
  files: z.number().optional(),
  bytes: z.number().optional(),
};

type Content = z.output<z.ZodObject<typeof contentShape>>;

/** Those of them that are only shown. */
export const shownInputs = ["plugins", "distributions", "python", "comfyui", "files", "bytes"] as const;

export interface SnapshotOutputs {
  /** `<store>#sha256:<manifest digest>` */
  readonly reference: string;
}

export function withSummary<T extends object>(inputs: T, { id, ...summary }: EnvironmentSummary): T & Content {
  return { ...inputs, ...summary, contentId: id };
}

export function summaryIn(inputs: Content): EnvironmentSummary | null {
  const { contentId, plugins, distributions, python = "", comfyui = "", files = 0, bytes = 0 } = inputs;
  if (contentId === undefined || plugins === undefined || distributions === undefined) return null;
  return { id: contentId, plugins, distributions, python, comfyui, files, bytes };
}

/** What a preview says of a content that changed. */
export function tellChanges(before: EnvironmentSummary, after: EnvironmentSummary): readonly string[] {
  if (before.id === after.id) return [];
  const lines = describeChanges(before, after);
  const ids = `${shortId(before.id)} → ${shortId(after.id)}`;
  if (lines.length === 0)
    return [`other files of the environment changed, ${ids} (pulumi-comfyui scan --explain names them)`];
  return [`the environment changed, ${ids}: ${lines.join("; ")}`];
}

interface Stored extends SnapshotOutputs {
  readonly access?: StoreAccess | undefined;
}

/** Whether the store still has what was packed. */
export async function liveSnapshot<T extends Stored>(state: T): Promise<Difference> {
  return (await readSnapshot(state)) === null ? { changes: true, replaces: ["store"] } : unchanged;
}

/** Null when the store does not have it any more. */
export async function readSnapshot({ reference, access }: Stored): Promise<SnapshotOutputs | null> {
  try {
    await readHead(reference, storeSettings(access));
    return { reference };
  } catch (error) {
    if (error instanceof SnapshotNotFoundError) return null;
    throw error;
  }
}
