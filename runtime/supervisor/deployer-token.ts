import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isMissing } from "./files";
import type { ServiceFolders } from "./folders";

/** The token of a service, made the first time. It gets its name when it is complete. */
export function deployerToken(folders: ServiceFolders): string {
  try {
    return readFileSync(folders.deployerToken, "utf8").trim();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  mkdirSync(folders.root, { recursive: true });
  const temporary = `${folders.deployerToken}.${randomBytes(4).toString("hex")}.tmp`;
  writeFileSync(temporary, randomBytes(32).toString("base64url"), { mode: 0o600, flag: "wx" });
  linkSync(temporary, folders.deployerToken);
  rmSync(temporary);
  return readFileSync(folders.deployerToken, "utf8").trim();
}
