import { createReadStream, createWriteStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { parse } from "node:path";
import { pipeline } from "node:stream/promises";
import { sendAnswer } from "./answers";
import { type Answer, ask, UnansweredError } from "./ask";
import { BodyTooLargeError, declaresTooMuch, limitBody } from "./body";
import type { Exchange } from "./exchange";
import type { Instance } from "./instance";
import type { FileReference } from "./json-text";
import { type Download, download, FileTooLargeError } from "./kept-file";
import { MultipartFields } from "./multipart-fields";
import type { GatewayParts } from "./parts";
import { findInstance, noInstance } from "./select";
import type { UploadStore } from "./upload-store";

/** Milliseconds of silence; a mask is computed before it is answered. */
const answerTimeout = 120_000;

let naming: Promise<unknown> = Promise.resolve();

/** `POST /upload/image` and `/upload/mask`: one instance answers, and the result is kept for all. */
export async function postUpload(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, signal } = exchange;
  const maximum = parts.settings().maximumBodySize;
  if (declaresTooMuch(request, maximum)) throw new BodyTooLargeError(maximum);
  const { uploads } = parts.spool;
  const body = await uploads.incomingPath();
  try {
    const form = new MultipartFields(request.headers["content-type"]);
    const received = limitBody(request, maximum, (chunk) => form.push(chunk));
    await pipeline(received, createWriteStream(body, { mode: 0o600 }));
    const attempts = { excluded: new Set<Instance>(), deadline: performance.now() + parts.holdTimeout };
    for (;;) {
      const instance = await findInstance(parts, exchange, attempts);
      if (signal.aborted) return;
      if (instance === null) return noInstance(response, parts, exchange.visitor.release);
      const done = instance.begin();
      try {
        const answer = await upload(instance, body, form.fields, exchange, parts);
        return sendAnswer(response, answer);
      } catch (error) {
        if (!(error instanceof UnansweredError)) throw error;
        // Sending it again does no harm: the same content gets the same name.
        parts.metrics.retries.inc();
        parts.log(`an upload goes to another instance: ${error.message}`);
        attempts.excluded.add(instance);
      } finally {
        done();
      }
    }
  } finally {
    await rm(body, { force: true });
  }
}

async function upload(
  instance: Instance,
  body: string,
  fields: ReadonlyMap<string, string>,
  { request }: Exchange,
  parts: GatewayParts,
): Promise<Answer> {
  const original = referenceIn(fields.get("original_ref"), "filename");
  if (original !== null) await parts.inputs.bringFile(instance, original);
  const answer = await ask(instance, {
    method: "POST",
    path: request.url ?? "/upload/image",
    headers: { "content-type": request.headers["content-type"], "content-length": (await stat(body)).size },
    body: createReadStream(body),
    timeout: answerTimeout,
  });
  const stored = answer.status === 200 ? referenceIn(answer.body.toString("utf8"), "name") : null;
  if (stored === null) return answer;
  const { uploads } = parts.spool;
  const incoming = await uploads.incomingPath();
  const overwrite = ["true", "1"].includes(fields.get("overwrite") ?? "");
  try {
    // What the instance made of it counts, not what was sent: a mask is combined with its picture.
    const content = await download(instance, stored, incoming, parts.spool.largestFile);
    parts.inputs.note(instance, stored, content.sha256);
    const { filename: name, subfolder, type } = await keepUnderName(stored, content, incoming, overwrite, uploads);
    await parts.spool.tidy();
    await parts.afterUpload();
    if (name === stored.filename) return answer;
    return { ...answer, body: Buffer.from(JSON.stringify({ name, subfolder, type })) };
  } catch (error) {
    if (!(error instanceof FileTooLargeError)) throw error;
    parts.log(`an upload is usable on ${instance.id} only: ${error.message}`);
    return answer;
  } finally {
    await rm(incoming, { force: true });
  }
}

/** Names are given one upload after the other: of two that come at once only one gets the name that both want. */
function keepUnderName(
  wanted: FileReference,
  content: Download,
  incoming: string,
  overwrite: boolean,
  uploads: UploadStore,
): Promise<FileReference> {
  const kept = naming.then(async () => {
    const reference = overwrite ? wanted : freeName(wanted, content, uploads);
    await uploads.keep(incoming, reference, content);
    return reference;
  });
  naming = kept.catch(() => {});
  return kept;
}

/**
 * The name under which an upload is known to all instances. Where another upload has it already, with other content, ComfyUI's
 * rule counts as if both had come to one instance: `name (1).png`.
 */
function freeName(
  wanted: FileReference,
  { sha256 }: Pick<Download, "sha256">,
  uploads: Pick<UploadStore, "get">,
): FileReference {
  const { name, ext } = parse(wanted.filename);
  for (let count = 0; ; count += 1) {
    const reference = count === 0 ? wanted : { ...wanted, filename: `${name} (${count})${ext}` };
    const known = uploads.get(reference);
    if (known === undefined || known.sha256 === sha256) return reference;
  }
}

function referenceIn(json: string | undefined, nameKey: "filename" | "name"): FileReference | null {
  if (json === undefined) return null;
  try {
    const value = JSON.parse(json) as Partial<Record<string, unknown>>;
    const [filename, subfolder, type] = [value[nameKey], value.subfolder ?? "", value.type ?? "output"];
    return typeof filename === "string" && typeof subfolder === "string" && typeof type === "string"
      ? { filename, subfolder, type }
      : null;
  } catch {
    return null;
  }
}
