import { readJson, writeJson } from "./files";
import type { WorkstationFolders } from "./folders";
import type { WorkstationDeclaration } from "./protocol";
import type { StoredWorkstation } from "./records";

/** What of a declaration the process is started with: when it changes, the process is started again. */
export function startOf(
  { root, layout, arguments: args, environmentVariables }: WorkstationDeclaration,
  port: number,
): string {
  return JSON.stringify([root, layout, port, args, Object.entries(environmentVariables).sort()]);
}

export const readWorkstation = (folders: WorkstationFolders) => readJson<StoredWorkstation>(folders.record);
export const writeWorkstation = (folders: WorkstationFolders, record: StoredWorkstation) =>
  writeJson(folders.record, record);
