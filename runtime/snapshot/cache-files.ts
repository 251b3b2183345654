import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { uniqueToken } from "../store/process-token";

/** This package's folder among the user's caches. */
export function userCacheFolder(): string {
  const named = process.env.XDG_CACHE_HOME;
  const caches = named !== undefined && isAbsolute(named) ? named : join(homedir(), ".cache");
  return join(caches, "pulumi-comfyui");
}

/** Replaces a file as a whole: a reader finds the old or the new content. Pieces follow one another. */
export function replaceFile(path: string, content: string | Uint8Array | readonly Uint8Array[]): void {
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.${uniqueToken()}.partial`;
  try {
    const pieces = typeof content === "string" || content instanceof Uint8Array ? [content] : content;
    writeFileSync(partial, "", { flag: "wx", mode: 0o600 });
    for (const piece of pieces) appendFileSync(partial, piece);
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

/** SHA-256 over pieces that follow one another, 64 hex digits. */
export function hashOf(pieces: readonly Uint8Array[]): string {
  const whole = createHash("sha256");
  for (const piece of pieces) whole.update(piece);
  return whole.digest("hex");
}
