import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import type { Files } from "./trees";

/** Links whose targets cannot be compressed: with them a manifest is large enough to be a base, without many files. */
export const largeManifest: Files = Object.fromEntries(
  Array.from({ length: 36 }, (_, number) => [`ComfyUI/far/${number}`, `→ ${noise(`link ${number}`, 3000)}`]),
);

/** Characters that follow from a text and look like chance. */
function noise(seed: string, length: number): string {
  let text = "";
  for (let round = 0; text.length < length; round++) {
    text += createHash("sha512").update(`${seed} ${round}`).digest("base64url");
  }
  return text.slice(0, length);
}

/** The records of a stored manifest as they stand in it. */
export function recordsIn(store: string, digest: string): readonly Record<string, unknown>[] {
  const text = zstdDecompressSync(readFileSync(join(store, "snapshots", digest))).toString("utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Digest of the base that a stored manifest names, or null. */
export function baseIn(store: string, digest: string): string | null {
  const base = recordsIn(store, digest).find(({ type }) => type === "base");
  return base === undefined ? null : String(base.sha256);
}
