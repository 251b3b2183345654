import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { ask, UnansweredError } from "./ask";
import type { Fleet } from "./fleet";
import type { Instance } from "./instance";
import type { FileReference } from "./json-text";
import { download } from "./kept-file";
import type { Log } from "./log";
import { readMark } from "./mark";
import type { Spool } from "./spool";

/** Files of one instance that are remembered; one that was forgotten is brought again. */
const mostRemembered = 10_000;

/** Makes files that a prompt names present on the instance that gets it. */
export class InputFiles {
  /** For each process: file → the content that it is known to have. */
  private readonly present = new WeakMap<Instance, Map<string, Promise<string>>>();

  constructor(
    private readonly spool: Spool,
    private readonly fleet: Fleet,
    private readonly log: Log,
  ) {}

  /** Notes what an instance has under a name. */
  note(instance: Instance, reference: FileReference, sha256: string): void {
    remember(this.presentOn(instance), referenceKey(reference), Promise.resolve(sha256));
  }

  /** Brings every upload, and every marked result, that a string of the prompt names. Throws an UnansweredError. */
  async bring(instance: Instance, prompt: string): Promise<void> {
    for (const reference of referencesIn(prompt)) await this.bringFile(instance, reference);
  }

  /** Brings one file if the gateway has it or knows where it is; otherwise the instance is left to say that it is missing. */
  async bringFile(instance: Instance, reference: FileReference): Promise<void> {
    const upload = this.spool.uploads.get(reference);
    if (upload !== undefined) {
      await this.spool.uploads.touch(upload);
      await this.once(instance, reference, upload.sha256, () => push(instance, reference, upload.path));
      return;
    }
    const marked = readMark(reference.subfolder);
    if (marked === null) return;
    const source = { ...reference, subfolder: marked.subfolder };
    const kept = this.spool.results.file(marked.instance, source);
    const origin = this.fleet.get(marked.instance);
    if (kept !== null) await this.once(instance, reference, kept.path, () => push(instance, reference, kept.path));
    else if (origin !== undefined) {
      await this.once(instance, reference, `of ${origin.id}#${origin.epoch}`, async () => {
        // Kept like an upload, so that the next instance gets it from here.
        const incoming = await this.spool.uploads.incomingPath();
        const copy = await this.spool.uploads.keep(
          incoming,
          reference,
          await download(origin, source, incoming, this.spool.largestFile),
        );
        await push(instance, reference, copy.path);
      });
    }
  }

  private async once(
    instance: Instance,
    reference: FileReference,
    content: string,
    action: () => Promise<void>,
  ): Promise<void> {
    const known = this.presentOn(instance);
    const key = referenceKey(reference);
    if ((await known.get(key)) === content) return;
    const bringing = action().then(
      () => content,
      (error: Error) => {
        known.delete(key);
        throw error;
      },
    );
    remember(
      known,
      key,
      bringing.catch(() => ""),
    );
    try {
      await bringing;
    } catch (error) {
      if (error instanceof UnansweredError && error.instance === instance.id) throw error;
      this.log(`${reference.filename} could not be brought to ${instance.id}: ${(error as Error).message}`);
    }
  }

  private presentOn(instance: Instance): Map<string, Promise<string>> {
    const known = this.present.get(instance) ?? new Map<string, Promise<string>>();
    this.present.set(instance, known);
    return known;
  }
}

function remember(known: Map<string, Promise<string>>, key: string, content: Promise<string>): void {
  known.delete(key);
  known.set(key, content);
  const [oldest] = known.keys();
  if (known.size > mostRemembered && oldest !== undefined) known.delete(oldest);
}

/** Files that strings of a prompt may name: `name`, `subfolder/name`, either with ` [input]`, ` [output]` or ` [temp]`. */
function referencesIn(prompt: string): readonly FileReference[] {
  const found = new Map<string, FileReference>();
  for (const [literal] of prompt.matchAll(/"(?:[^"\\]|\\.)*"/g)) {
    const text = JSON.parse(literal) as string;
    const [, path = "", type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(text) ?? [];
    const slash = path.lastIndexOf("/");
    const reference = { filename: path.slice(slash + 1), subfolder: path.slice(0, Math.max(0, slash)), type };
    if (reference.filename !== "") found.set(referenceKey(reference), reference);
  }
  return [...found.values()];
}

/** Uploads a file to an instance under exactly this name. */
async function push(instance: Instance, { filename, subfolder, type }: FileReference, path: string): Promise<void> {
  const boundary = `gateway-${randomUUID()}`;
  const { size } = await stat(path);
  const field = (name: string, value: string) =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const head = Buffer.from(
    `${field("type", type)}${field("subfolder", subfolder)}${field("overwrite", "true")}--${boundary}\r\n` +
      `Content-Disposition: form-data; name="image"; filename="${escapeQuoted(filename)}"\r\n` +
      "Content-Type: application/octet-stream\r\n\r\n",
  );
  const foot = Buffer.from(`\r\n--${boundary}--\r\n`);
  const { status } = await ask(instance, {
    method: "POST",
    path: "/upload/image",
    headers: {
      "content-type": `multipart/form-data; boundary=${boundary}`,
      "content-length": head.length + size + foot.length,
    },
    body: Readable.from(concatenate(head, path, foot)),
    timeout: 60_000,
  });
  if (status !== 200) throw new Error(`POST /upload/image was answered with ${status}`);
}

async function* concatenate(head: Buffer, path: string, foot: Buffer): AsyncGenerator<Buffer> {
  yield head;
  yield* createReadStream(path) as AsyncIterable<Buffer>;
  yield foot;
}

/** As browsers write file names in `multipart/form-data` (WHATWG HTML, "multipart form data"). */
function escapeQuoted(text: string): string {
  return text.replace(/["\r\n]/g, (character) => encodeURIComponent(character));
}

function referenceKey({ type, subfolder, filename }: FileReference): string {
  return JSON.stringify([type, subfolder, filename]);
}
