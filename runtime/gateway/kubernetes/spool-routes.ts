import type { IncomingMessage, ServerResponse } from "node:http";
import { sendError, sendJson } from "../answers";
import type { Followers } from "./followers";
import { sendContent, spoolPath } from "./spool-content";
import { newsHold } from "./spool-copy";
import type { SpoolJournal } from "./spool-journal";

export interface SharedSpool {
  readonly folder: string;
  readonly journal: SpoolJournal;
  readonly followers: Followers;
  /** Whether this gateway leads at this moment. */
  readonly leads: () => boolean;
}

/** Answers what a follower asks of the leader: `/_gateway/spool` and `/_gateway/spool/content`. */
export async function answerFollower(
  request: IncomingMessage,
  response: ServerResponse,
  { folder, journal, followers, leads }: SharedSpool,
): Promise<void> {
  const { pathname, searchParams: query } = new URL(request.url ?? "/", "http://gateway");
  const follower = query.get("follower") ?? "";
  if (follower === "") return sendError(response, 400, "invalid_request", "follower must say who asks");
  if (pathname === "/_gateway/spool/content") {
    const path = query.get("path") ?? "";
    if (!spoolPath.test(path)) return sendError(response, 400, "invalid_request", `${path} is nothing of a spool`);
    const done = followers.fetches(follower);
    try {
      await sendContent(folder, path, response);
    } finally {
      done();
    }
    return;
  }
  if (query.has("leaves")) {
    followers.leaves(follower);
    return sendJson(response, "{}");
  }
  const known = query.get("journal") ?? "";
  const version = Number(query.get("version") ?? 0);
  const read = query.get("read");
  const same = known === journal.id;
  followers.asks(follower, same ? version : 0, same && read !== null ? Number(read) : null);
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  if (same && version === journal.version) await journal.nextChange(newsHold, gone.signal);
  // Who has ceased to lead must not be followed on.
  if (!leads()) return sendError(response, 503, "not_leading", "this gateway does not lead");
  sendJson(response, JSON.stringify({ ...journal.since(known, version), stamp: performance.now() }));
}
