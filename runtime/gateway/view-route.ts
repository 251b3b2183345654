import { sendEmpty } from "./answers";
import { ask, UnansweredError } from "./ask";
import { type Exchange, withQuery } from "./exchange";
import type { Instance } from "./instance";
import type { FileReference } from "./json-text";
import { viewPath } from "./kept-file";
import { sendKeptFile } from "./kept-file-answer";
import { readMark } from "./mark";
import type { GatewayParts } from "./parts";
import { findInstance, noInstance } from "./select";

/** `GET /view`: the file of the instance that its mark names, or the upload, or what an instance has under the name. */
export async function getView(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, query } = exchange;
  const reference = {
    filename: query.get("filename") ?? "",
    subfolder: query.get("subfolder") ?? "",
    type: query.get("type") ?? "output",
  };
  // ComfyUI makes previews and channels; the spool only has the file itself.
  const derived = query.has("preview") || query.has("channel");
  const marked = knownMark(reference.subfolder, parts);
  if (marked !== null) {
    const file = { ...reference, subfolder: marked.subfolder };
    const lookUp = () => parts.spool.results.file(marked.instance, file);
    const sendKept = async () => {
      const kept = lookUp();
      return kept !== null && (await sendKeptFile(request, response, kept.path, kept.file));
    };
    // Twice: a result that is kept again takes another place. What was removed meanwhile its instance may still have.
    if (!derived && ((await sendKept()) || (await sendKept()))) return;
    const origin = parts.fleet.get(marked.instance);
    if (origin !== undefined) {
      unmark(exchange, marked.subfolder);
      try {
        return await parts.passThrough.forward(request, response, origin);
      } catch (error) {
        if (!(error instanceof UnansweredError) || !derived || lookUp() === null) throw error;
      }
    }
    if (derived && (await sendKept())) return;
    return sendEmpty(response, 404);
  }
  const upload = parts.spool.uploads.get(reference);
  if (upload !== undefined && !derived && (await sendKeptFile(request, response, upload.path, upload))) return;
  const instance = await findInstance(parts, exchange, {
    excluded: new Set(),
    deadline: performance.now() + parts.holdTimeout,
  });
  if (instance === null) {
    if (upload !== undefined && (await sendKeptFile(request, response, upload.path, upload))) return;
    return noInstance(response, parts, exchange.visitor.release);
  }
  if (upload !== undefined) await parts.inputs.bringFile(instance, reference);
  const holder = upload === undefined ? await search(reference, instance, exchange, parts) : instance;
  return parts.passThrough.forward(request, response, holder);
}

/** The mark of a subfolder if it names an instance that is or was; other folders may look like one. */
export function knownMark(subfolder: string, { fleet, spool }: GatewayParts): ReturnType<typeof readMark> {
  const marked = readMark(subfolder);
  if (marked === null) return null;
  return fleet.get(marked.instance) !== undefined || spool.results.knows(marked.instance) ? marked : null;
}

/** Makes the request one that the marked instance understands. */
export function unmark({ request, query }: Exchange, subfolder: string): void {
  query.set("subfolder", subfolder);
  request.url = withQuery(request.url ?? "/", query);
}

/** The first instance that has the file, the client's own before others; the client's own when none has. */
async function search(
  reference: FileReference,
  own: Instance,
  { visitor }: Exchange,
  { fleet }: GatewayParts,
): Promise<Instance> {
  for (const instance of [own, ...fleet.visible(visitor.release).filter((other) => other !== own)]) {
    try {
      const { status } = await ask(instance, { method: "HEAD", path: viewPath(reference) });
      if (status === 200) return instance;
    } catch (error) {
      if (!(error instanceof UnansweredError)) throw error;
    }
  }
  return own;
}
