import { z } from "zod";
import { readJson, writeJson } from "./files";
import type { WorkstationFolders } from "./folders";
import { processIdentity } from "./processes";
import type { WorkstationDeclaration } from "./protocol";
import type { StoredWorkstation } from "./records";
import { workstationSchema } from "./requests";

/** What of a declaration the process is started with: when it changes, the process is started again. */
export function startOf(
  { root, layout, arguments: args, environmentVariables }: WorkstationDeclaration,
  port: number,
): string {
  return JSON.stringify([root, layout, port, args, Object.entries(environmentVariables).sort()]);
}

/** The form of `workstation.json`, as far as anything depends on it. */
const form = z.object({
  format: z.literal(1),
  declaration: workstationSchema,
  port: z.int(),
  plugins: z.array(z.object({ name: z.string(), state: z.string(), classes: z.array(z.string()) })).nullable(),
  removing: z.boolean(),
  process: processIdentity.nullable(),
  processPort: z.int().nullable(),
  booted: z.boolean(),
  startedWith: z.string().nullable(),
  hashes: z.record(z.string(), z.string()),
  restarts: z.int().nonnegative(),
}) as unknown as z.ZodType<StoredWorkstation>;

/** What is recorded of a workstation, or null. @throws when the file is not as this package writes it */
export const readWorkstation = (folders: WorkstationFolders) => readJson(folders.record, form);
export const writeWorkstation = (folders: WorkstationFolders, record: StoredWorkstation) =>
  writeJson(folders.record, record);
