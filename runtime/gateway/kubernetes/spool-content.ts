import { createWriteStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { z } from "zod";

/** What may be copied. */
export const spoolPath = /^(?:(?:results|uploads|prompts)\/[A-Za-z0-9_-][A-Za-z0-9._-]*|departures\.json)$/;

const headSchema = z.object({
  /** Null: a single file, else the files of a folder. */
  files: z.array(z.object({ name: z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/), bytes: z.int().nonnegative() })),
  folder: z.boolean(),
});
type Head = z.infer<typeof headSchema>;
/** Bytes that the first line of a content may have. */
const longestHead = 1024 * 1024;

/** Sends one entry of a spool: a line of JSON with the names and sizes of its files, then their bytes. 404 when it has gone. */
export async function sendContent(spool: string, path: string, response: ServerResponse): Promise<void> {
  const opened: { readonly name: string; readonly bytes: number; readonly handle: FileHandle }[] = [];
  try {
    const place = join(spool, path);
    const folder = (await stat(place)).isDirectory();
    for (const name of folder ? await readdir(place) : ["content"]) {
      const handle = await open(folder ? join(place, name) : place, "r");
      // Opened first: what is removed or replaced meanwhile is still read as it was.
      opened.push({ name, bytes: (await handle.stat()).size, handle });
    }
    const head: Head = { files: opened.map(({ name, bytes }) => ({ name, bytes })), folder };
    const line = `${JSON.stringify(head)}\n`;
    const length = opened.reduce((sum, { bytes }) => sum + bytes, Buffer.byteLength(line));
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": length });
    response.write(line);
    for (const { handle, bytes } of opened) {
      if (bytes === 0) continue;
      const stream = handle.createReadStream({ end: bytes - 1, autoClose: false });
      stream.pipe(response, { end: false });
      await Promise.race([finished(stream), finished(response)]);
    }
    response.end();
  } catch (error) {
    if (response.headersSent) response.destroy();
    else if ((error as NodeJS.ErrnoException).code === "ENOENT") response.writeHead(404).end();
    else throw error;
  } finally {
    await Promise.all(opened.map(({ handle }) => handle.close().catch(() => {})));
  }
}

/** Puts what {@link sendContent} sent in its place; it appears there as a whole. @param staging a path of its own. */
export async function receiveContent(source: Readable, staging: string, place: string): Promise<void> {
  try {
    await mkdir(staging, { recursive: true });
    const reader = new Reader(source);
    const head = headSchema.parse(JSON.parse(await reader.line()));
    for (const { name, bytes } of head.files) await reader.file(join(staging, name), bytes);
    if (head.folder) {
      await rm(place, { recursive: true, force: true });
      await rename(staging, place);
    } else await rename(join(staging, "content"), place);
  } finally {
    source.destroy();
    await rm(staging, { recursive: true, force: true });
  }
}

/** Reads lines and counted bytes of one stream. */
class Reader {
  private readonly chunks: AsyncIterator<Buffer>;
  private left = Buffer.alloc(0);

  constructor(source: Readable) {
    this.chunks = (source as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.left.indexOf(10);
      if (end >= 0) {
        const line = this.left.subarray(0, end).toString("utf8");
        this.left = this.left.subarray(end + 1);
        return line;
      }
      if (this.left.length > longestHead) throw new Error("a content of the spool has no head");
      this.left = Buffer.concat([this.left, await this.next()]);
    }
  }

  async file(path: string, bytes: number): Promise<void> {
    const target = createWriteStream(path, { mode: 0o600 });
    const done = finished(target);
    done.catch(() => {});
    let missing = bytes;
    try {
      while (missing > 0) {
        if (this.left.length === 0) this.left = await this.next();
        const part = this.left.subarray(0, missing);
        this.left = this.left.subarray(part.length);
        missing -= part.length;
        if (!target.write(part))
          await Promise.race([new Promise<void>((resolve) => target.once("drain", () => resolve())), done]);
      }
      target.end();
      await done;
    } catch (error) {
      target.destroy();
      throw error;
    }
  }

  private async next(): Promise<Buffer<ArrayBuffer>> {
    const { done, value } = await this.chunks.next();
    if (done) throw new Error("a content of the spool was cut");
    return Buffer.from(value);
  }
}
