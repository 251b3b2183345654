import type { CompletedPart } from "@aws-sdk/client-s3";
import { S3Error } from "./s3-failure";
import type { Put } from "./s3-put";

/** An object that is to be written in parts. */
export interface Upload extends Omit<Put, "sha256"> {
  /** Bytes of a part at most. */
  readonly partSize: number;
  readonly signal: AbortSignal | undefined;
  readonly report: (text: string) => void;
}

/** Uploads begun for one object at most, when others end under them. */
const mostUploads = 3;
/** S3's own limits: parts, and bytes of all parts but the last. */
const mostParts = 10_000;
const smallestPart = 5 * 1024 * 1024;

/**
 * Writes an object in parts, several at a time; it is there when all are, unless its key exists: then it throws `S3Error` of
 * the kind `exists`. An upload that is not completed is aborted; what a killed process leaves, `prune` aborts.
 */
export async function uploadInParts(upload: Upload): Promise<void> {
  for (let number = 1; ; number += 1) {
    try {
      return await uploadOnce(upload);
    } catch (error) {
      // Someone else wrote the key just then, or ended this upload: what S3 asks for is another upload.
      const again = error instanceof S3Error && (error.kind === "conflict" || error.kind === "no-upload");
      if (!again || number >= mostUploads) throw error;
    }
  }
}

async function uploadOnce(upload: Upload): Promise<void> {
  const { connection, operation, target, attributes, size, signal } = upload;
  const { UploadId } = await connection.run(
    operation,
    ({ s3, options }) => s3.createMultipartUpload({ ...target, ...attributes, ChecksumAlgorithm: "CRC32" }, options),
    signal,
  );
  const begun = { ...target, UploadId };
  try {
    const Parts = await uploadParts(upload, begun);
    await connection.run(
      { ...operation, conflictEnds: true },
      ({ s3, options }) =>
        s3.completeMultipartUpload(
          { ...begun, MultipartUpload: { Parts: [...Parts] }, IfNoneMatch: "*", MpuObjectSize: size },
          options,
        ),
      signal,
    );
  } catch (error) {
    await abort(upload, begun);
    throw error;
  }
}

async function uploadParts(
  { connection, operation, pieces, size, partSize, signal }: Upload,
  begun: { readonly Bucket: string; readonly Key: string; readonly UploadId: string | undefined },
): Promise<readonly CompletedPart[]> {
  const wanted = Math.min(mostParts, Math.ceil(size / partSize));
  const length = Math.max(smallestPart, Math.ceil(size / wanted));
  const count = Math.ceil(size / length);
  // One part that fails for good ends the others.
  const group = new AbortController();
  const either = signal === undefined ? group.signal : AbortSignal.any([group.signal, signal]);
  const parts = Array.from({ length: count }, async (_, index): Promise<CompletedPart> => {
    const PartNumber = index + 1;
    const start = index * length;
    const bytes = Math.min(length, size - start);
    try {
      const { ETag, ChecksumCRC32 } = await connection.run(
        { ...operation, verb: `${operation.verb} part ${PartNumber} of ${count} of`, bytes },
        ({ s3, options }) => {
          // Made in the attempt, so that only parts under way take memory.
          const Body = slice(pieces, start, bytes);
          return s3.uploadPart({ ...begun, PartNumber, Body, ChecksumAlgorithm: "CRC32" }, options);
        },
        either,
      );
      return { ETag, PartNumber, ...(ChecksumCRC32 === undefined ? {} : { ChecksumCRC32 }) };
    } catch (error) {
      group.abort(error);
      throw error;
    }
  });
  await Promise.allSettled(parts);
  return Promise.all(parts);
}

async function abort(
  { connection, operation, report }: Upload,
  begun: { readonly Bucket: string; readonly Key: string; readonly UploadId: string | undefined },
): Promise<void> {
  const ending = { ...operation, verb: "abort the upload of", permission: "s3:AbortMultipartUpload" };
  // Also after the caller's signal: this is what it leaves tidy.
  await connection
    .run(ending, ({ s3, options }) => s3.abortMultipartUpload(begun, options), AbortSignal.timeout(longestAbort))
    .catch((error: Error) => {
      if (error instanceof S3Error && (error.kind === "no-upload" || error.kind === "missing")) return;
      report(`${error.message}; a later prune removes it`);
    });
}

/** Milliseconds. */
const longestAbort = 10_000;

/** Bytes of pieces that follow one another; a copy only where they lie in several. */
function slice(pieces: readonly Uint8Array[], start: number, length: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const piece of pieces) {
    const from = Math.max(start - at, 0);
    const to = Math.min(start + length - at, piece.byteLength);
    if (from < to) parts.push(piece.subarray(from, to));
    at += piece.byteLength;
    if (at >= start + length) break;
  }
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}
