import { createHash } from "node:crypto";
import type * as pulumi from "@pulumi/pulumi";
import type { GatewayArgs } from "./online-service-args";
import { sdk } from "./sdk";

/** Characters of the shortest API key that is accepted. */
const shortestKey = 16;

/** SHA-256 of each key, in hex, as a secret; undefined where everybody is let in. */
export function apiKeyHashes({ apiKeys }: GatewayArgs): pulumi.Output<readonly string[]> | undefined {
  return apiKeys === undefined ? undefined : sdk.secret(apiKeys).apply(hashes);
}

export function hashes(keys: readonly string[]): readonly string[] {
  if (keys.length === 0) throw new Error("gateway.apiKeys has no key: name one, or leave it out to let everybody in");
  const tooShort = keys.findIndex((key) => key.length < shortestKey);
  if (tooShort !== -1) {
    throw new Error(`gateway.apiKeys[${tooShort}] is shorter than ${shortestKey} characters: it could be guessed`);
  }
  return keys.map((key) => createHash("sha256").update(key).digest("hex"));
}
