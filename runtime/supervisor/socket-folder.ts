import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The kernel takes 108 bytes with the terminating zero. */
const longestPath = 107;

/**
 * Where the control socket of a directory goes: a folder that only this user can enter, since whoever connects may start
 * programs. Its path is short, whatever the directory's is.
 */
export function socketPath(directory: string): string {
  const name = `${createHash("sha256").update(realpathSync(directory)).digest("hex").slice(0, 20)}.sock`;
  const uid = process.getuid?.() ?? 0;
  const { XDG_RUNTIME_DIR } = process.env;
  const candidates = [
    ...(XDG_RUNTIME_DIR ? [join(XDG_RUNTIME_DIR, "pulumi-comfyui")] : []),
    join(tmpdir(), `pulumi-comfyui-${uid}`),
    join("/tmp", `pulumi-comfyui-${uid}`),
  ];
  const refused: string[] = [];
  for (const folder of new Set(candidates)) {
    const path = join(folder, name);
    const problem =
      Buffer.byteLength(path) > longestPath ? `is longer than ${longestPath} bytes` : prepare(folder, uid);
    if (problem === null) return path;
    refused.push(`${path} ${problem}`);
  }
  throw new Error(`found no place for the control socket of ${directory}: ${refused.join("; ")}`);
}

/** Makes the folder where it is missing. Returns what is wrong with one that somebody else may have prepared. */
function prepare(folder: string, uid: number): string | null {
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") return `cannot be made: ${message}`;
  }
  const found = lstatSync(folder);
  if (!found.isDirectory()) return "is in a place that is no folder";
  if (found.uid !== uid) return `is in a folder of the user ${found.uid}, not of ${uid}`;
  if ((found.mode & 0o077) !== 0)
    return `is in a folder that others can enter (mode ${(found.mode & 0o777).toString(8)}, not 700)`;
  return null;
}
