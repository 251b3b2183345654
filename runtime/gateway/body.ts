import type { IncomingMessage, ServerResponse } from "node:http";
import { Transform, type TransformCallback } from "node:stream";
import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { sendError } from "./answers";

/** What is still read and thrown away of a body that is too large, so that the client reads the answer and not a reset. */
const mostDiscarded = 64 * 2 ** 20;
const longestDiscarding = 10_000;

export class BodyTooLargeError extends Error {
  override readonly name = "BodyTooLargeError";
  constructor(readonly maximum: number) {
    super(`a request may have at most ${maximum} bytes`);
  }
}

/** Whether the request says itself that it is too large. */
export function declaresTooMuch(request: IncomingMessage, maximum: number): boolean {
  return Number(request.headers["content-length"] ?? 0) > maximum;
}

/** Reads a body into memory. Throws a BodyTooLargeError as soon as it has more bytes, whatever it declared. */
export async function readBody(request: IncomingMessage, maximum: number): Promise<Buffer> {
  if (declaresTooMuch(request, maximum)) throw new BodyTooLargeError(maximum);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      if (size > maximum) {
        request.off("data", onData);
        reject(new BodyTooLargeError(maximum));
      } else chunks.push(chunk);
    };
    request.on("data", onData);
    request.on("end", () => resolve(Buffer.concat(chunks)));
    request.on("error", reject);
    request.on("close", () => reject(new Error("the client went before its request was complete")));
  });
}

/**
 * A body without its `Content-Encoding`, which is taken off the request, as ComfyUI's server accepts one. One that cannot be
 * decoded stays as it is: the instance says what is wrong with it. Throws a BodyTooLargeError.
 */
export function decodeBody({ headers }: IncomingMessage, body: Buffer, maximum: number): Buffer {
  const decode = { gzip: gunzipSync, deflate: inflateSync, br: brotliDecompressSync }[
    headers["content-encoding"] ?? ""
  ];
  if (decode === undefined) return body;
  try {
    const decoded = decode(body, { maxOutputLength: maximum });
    delete headers["content-encoding"];
    return decoded;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw new BodyTooLargeError(maximum);
    return body;
  }
}

/** Passes a body through up to its largest size, then fails with a BodyTooLargeError. */
class LimitedBody extends Transform {
  private size = 0;

  constructor(
    private readonly maximum: number,
    private readonly observe: (chunk: Buffer) => void = () => {},
  ) {
    super();
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    this.size += chunk.length;
    if (this.size > this.maximum) {
      done(new BodyTooLargeError(this.maximum));
      return;
    }
    this.observe(chunk);
    done(null, chunk);
  }
}

/** A request's body up to its largest size. The request itself stays usable when it has more: it can still be answered. */
export function limitBody(request: IncomingMessage, maximum: number, observe?: (chunk: Buffer) => void): LimitedBody {
  const body = new LimitedBody(maximum, observe);
  request.on("close", () => {
    if (!request.complete) body.destroy(new Error("the client went before its request was complete"));
  });
  return request.pipe(body);
}

/** Answers 413 and discards what the client still sends, within bounds. */
export function refuseTooLarge(request: IncomingMessage, response: ServerResponse, maximum: number): void {
  sendError(response, 413, "request_too_large", new BodyTooLargeError(maximum).message);
  if (request.complete) return;
  let discarded = 0;
  const stop = setTimeout(() => request.socket.destroy(), longestDiscarding);
  request.on("data", (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > mostDiscarded) request.socket.destroy();
  });
  request.on("close", () => clearTimeout(stop));
  request.resume();
}
