// Where things are: the clone, and the cache outside of it that clones share.
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export const cache =
  process.env.PULUMI_COMFYUI_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "pulumi-comfyui");

/** Local state backend and passphrase of this clone; not in git. */
export const local = join(root, ".pulumi-local");
