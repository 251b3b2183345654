import type { Owner } from "../../deployment";
import { connectSupervisor, type SupervisorClient } from "../../supervisor";
import { viewPlatform } from "../platform-view";
import { findOrphans } from "./orphans";
import { removeOrphan } from "./removal";
import type { Site } from "./site";
import type { KnownObjects } from "./state";

/** A folder of the local platform. Its supervisor is started when there is something to remove. */
export function localSite(directory: string, known: KnownObjects, isOwn: (owner: Owner) => boolean): Site {
  let supervisor: Promise<SupervisorClient> | undefined;
  return {
    place: { directory },
    name: directory,
    find: async () =>
      findOrphans(await viewPlatform(directory), known, isOwn).map((orphan) => ({
        orphan,
        remove: async (watch) => {
          supervisor ??= connectSupervisor(directory);
          await removeOrphan(orphan, await supervisor, watch);
        },
      })),
  };
}
