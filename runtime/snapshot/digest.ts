import { hash, webcrypto } from "node:crypto";

/** Bytes below which a hash takes less time than handing it to another thread. */
const smallest = 64 * 1024;

/** The SHA-256 as 64 hex digits, computed in the thread pool where that pays. The bytes must stay as they are meanwhile. */
export async function sha256Of(content: Buffer): Promise<string> {
  if (content.length < smallest) return hash("sha256", content);
  return Buffer.from(await webcrypto.subtle.digest("SHA-256", content)).toString("hex");
}
