import { hostname } from "node:os";
import { z } from "zod";
import { readJson } from "./files";
import { Folders } from "./folders";
import { bootId, isAlive, type ProcessIdentity, processIdentity } from "./processes";
import type { SupervisorAbout } from "./protocol";

/** `supervisor.json`: who looks after a directory and where it answers. */
export interface Presence extends SupervisorAbout {
  readonly identity: ProcessIdentity;
  /** Absolute path of the control socket. */
  readonly socket: string;
}

const form = z.object({
  protocol: z.number(),
  pid: z.int(),
  host: z.string(),
  identity: processIdentity,
  socket: z.string(),
}) as unknown as z.ZodType<Presence>;

/** What a directory says of its supervisor, or null. @throws when the file is not as this package writes it */
export const readPresence = (folders: Folders) => readJson(folders.presence, form);

/** The supervisor that a directory names and that is alive, or null. */
export function livePresence(directory: string): Presence | null {
  const presence = readPresence(new Folders(directory));
  if (presence === null) return null;
  if (isAlive(presence.identity)) return presence;
  if (presence.host !== hostname() && !sameBoot(presence.identity)) {
    throw new Error(
      `${directory} is looked after by a supervisor on the host ${presence.host} (since ${presence.startedAt}), and this is ${hostname()}. ` +
        `One directory belongs to one machine; when ${presence.host} is no more, remove ${new Folders(directory).presence}`,
    );
  }
  return null;
}

/** A host may change its name while it runs; its boot tells that it is still the same. */
function sameBoot(identity: ProcessIdentity): boolean {
  const [boot] = identity.startTime.split("/");
  return boot === bootId();
}
