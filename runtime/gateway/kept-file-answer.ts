import { type FileHandle, open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { sendEmpty } from "./answers";

/**
 * Sends a file of the spool as ComfyUI's `/view` sends one: with its type, and whole or a range of it. Returns false, having sent
 * nothing, when the file is not there any more: it was replaced, or removed to make room, between the look and now.
 */
export async function sendKeptFile(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  description: { readonly filename: string; readonly contentType: string },
): Promise<boolean> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return false;
  }
  // Open, it stays whole while it is sent, also when it is removed or replaced meanwhile.
  try {
    await sendOpenFile(request, response, file, description);
    return true;
  } finally {
    await file.close();
  }
}

async function sendOpenFile(
  { method, headers }: IncomingMessage,
  response: ServerResponse,
  file: FileHandle,
  { filename, contentType }: { readonly filename: string; readonly contentType: string },
): Promise<void> {
  const { size, mtime: modified } = await file.stat();
  const tag = `"${modified.getTime().toString(16)}-${size.toString(16)}"`;
  response.setHeader("etag", tag);
  response.setHeader("last-modified", modified.toUTCString());
  response.setHeader("accept-ranges", "bytes");
  if (headers["if-none-match"] === tag) {
    response.writeHead(304).end();
    return;
  }
  const range = rangeOf(headers.range, size);
  if (range === "unsatisfiable") {
    response.setHeader("content-range", `bytes */${size}`);
    return sendEmpty(response, 416);
  }
  const { start, end } = range ?? { start: 0, end: size - 1 };
  response.setHeader("content-type", contentType);
  response.setHeader("content-disposition", dispositionOf(filename));
  if (range !== null) response.setHeader("content-range", `bytes ${start}-${end}/${size}`);
  response.writeHead(range === null ? 200 : 206, { "content-length": end - start + 1 });
  if (method === "HEAD" || size === 0) {
    response.end();
    return;
  }
  try {
    await pipeline(file.createReadStream({ start, end, autoClose: false }), response);
  } catch (error) {
    // A client that goes before the end is its own business.
    if (!response.destroyed) throw error;
  }
}

/** As ComfyUI names a file; RFC 6266 for names that a header cannot hold. */
function dispositionOf(filename: string): string {
  return /^[\x20-\x7e]*$/.test(filename) && !/["\\]/.test(filename)
    ? `filename="${filename}"`
    : `inline; filename*=UTF-8''${encodeURIComponent(filename)}`;
}

/** The first and last byte that a `Range` header asks for; null for the whole file. Several ranges are answered with all. */
export function rangeOf(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | null | "unsatisfiable" {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return null;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (first !== "" && last !== "" && Number(last) < Number(first)) return null;
  return start > end ? "unsatisfiable" : { start, end };
}
