import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
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
 * Throws an UnansweredError, a FileRefusedError, or, as soon as it has more bytes than the maximum, a FileTooLargeError.
 */
export async function download(
  instance: Instance,
  file: FileReference,
  path: string,
  maximum: number,
): Promise<Download> {
  const response = await askStreaming(instance, { path: viewPath(file), timeout: 60_000 });
  if (response.statusCode !== 200) {
    response.resume();
    throw new FileRefusedError(file, response.statusCode ?? 0);
  }
  const hash = createHash("sha256");
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      if (bytes > maximum) done(new FileTooLargeError(file, maximum));
      else done(null, chunk);
    },
  });
  const target = createWriteStream(path, { mode: 0o600 });
  try {
    await pipeline(response, count, target);
  } catch (error) {
    if (error instanceof FileTooLargeError) throw error;
    // A full disk is the gateway's own trouble and must not look like an instance that went.
    if (target.errored !== null && "code" in target.errored) throw target.errored;
    throw new UnansweredError(instance.id, true, `${viewPath(file)}: ${(error as Error).message}`);
  }
  return {
    bytes,
    sha256: hash.digest("hex"),
    contentType: response.headers["content-type"] ?? "application/octet-stream",
  };
}
