import { isAbsolute } from "node:path";
import { FolderStore } from "./folder-store";
import type { ObjectStore } from "./object-store";

/** The store that a reference names before `#sha256:`. Touches nothing yet. */
export function openStore(location: string): ObjectStore {
  if (isAbsolute(location)) return new FolderStore(location);
  throw new Error(
    `${JSON.stringify(location)} is not a store: give the absolute path of a folder, for example /srv/comfyui/store`,
  );
}
