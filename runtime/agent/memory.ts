import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { type AgentFolders, launcherFiles } from "./folders";
import { readShared, writeShared } from "./shared-files";

/** What an agent that is started again has to know. */
export interface Memory {
  /** The start that was proven last; 0 for none. */
  readonly provenStart: number;
}

const memorySchema: z.ZodType<Memory> = z.object({ provenStart: z.int().nonnegative() });

export function readMemory(folders: AgentFolders): Memory {
  return readShared(launcherFiles(folders).memory, memorySchema) ?? { provenStart: 0 };
}

export function writeMemory(folders: AgentFolders, memory: Memory): void {
  const path = launcherFiles(folders).memory;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeShared(path, JSON.stringify(memory), 0o600);
}
