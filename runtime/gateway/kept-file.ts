import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { askStreaming, UnansweredError } from "./ask";
import type { Instance } from "./instance";
import type { FileReference } from "./json-text";

export interface Download {
  readonly bytes: number;
  readonly sha256: string;
  readonly contentType: string;
}

/** An instance answered that it does not have, or cannot give, a file. */
export class FileRefusedError extends Error {
  override readonly name = "FileRefusedError";
  constructor(
    readonly file: FileReference,
    readonly status: number,
  ) {
    super(`${file.type}/${file.subfolder}/${file.filename} was answered with ${status}`);
  }
}

/** A file has more bytes than there may be. */
export class FileTooLargeError extends Error {
  override readonly name = "FileTooLargeError";
  constructor(file: FileReference, maximum: number) {
    super(`${file.type}/${file.subfolder}/${file.filename} has more than the ${maximum} bytes that the spool may take`);
  }
}

/** The path under which ComfyUI gives a file. */
export function viewPath({ filename, subfolder, type }: FileReference): string {
  return `/view?${new URLSearchParams({ filename, subfolder, type })}`;
}

/**
 * Copies a file of an instance to a path, as a stream.
 * Throws an UnansweredError, a FileRefusedError, or, as soon as it has more bytes than the maximum, a FileTooLargeError;
 * and what the file system says when it cannot take the file.
 */
export async function download(
  instance: Instance,
  file: FileReference,
  path: string,
  maximum: number,
): Promise<Download> {
  const target = await open(path, "w", 0o600);
  try {
    const response = await askStreaming(instance, { path: viewPath(file), timeout: 60_000 });
    if (response.statusCode !== 200) {
      response.resume();
      throw new FileRefusedError(file, response.statusCode ?? 0);
    }
    const hash = createHash("sha256");
    let bytes = 0;
    // No stream.pipeline: it never ends when a target fails whose source has come in whole and is not read to its end.
    for await (const chunk of chunksOf(response, instance, file)) {
      bytes += chunk.length;
      if (bytes > maximum) throw new FileTooLargeError(file, maximum);
      hash.update(chunk);
      await target.appendFile(chunk);
    }
    const contentType = response.headers["content-type"] ?? "application/octet-stream";
    return { bytes, sha256: hash.digest("hex"), contentType };
  } finally {
    await target.close();
  }
}

async function* chunksOf(response: IncomingMessage, instance: Instance, file: FileReference): AsyncGenerator<Buffer> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (error) {
    throw new UnansweredError(instance.id, true, `${viewPath(file)}: ${(error as Error).message}`);
  }
}
