import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { uniqueToken } from "../store/process-token";

/** This package's folder among the user's caches. */
export function userCacheFolder(): string {
  const named = process.env.XDG_CACHE_HOME;
  const caches = named !== undefined && isAbsolute(named) ? named : join(homedir(), ".cache");
  return join(caches, "pulumi-comfyui");
}

/** Replaces a file as a whole: a reader finds the old or the new content. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.${uniqueToken()}.partial`;
  try {
    writeFileSync(partial, content, { flag: "wx", mode: 0o600 });
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}
