import type { S3 } from "@aws-sdk/client-s3";
import type { S3Connection } from "./s3-connection";
import type { Operation } from "./s3-failure";

/** An object that is to be written in one request. */
export interface Put {
  readonly connection: S3Connection;
  readonly operation: Operation;
  readonly target: { readonly Bucket: string; readonly Key: string };
  /** Encryption and metadata. */
  readonly attributes: object;
  readonly pieces: readonly Uint8Array[];
  readonly size: number;
  /** Of all bytes, where it is known. */
  readonly sha256: string | undefined;
}

/** Bytes from which on an object is looked for before it is sent. */
const lookFrom = 1024 * 1024;

/**
 * Writes an object, unless its key exists: then it throws `S3Error` of the kind `exists`. A server may say so before it has read
 * the body, and close the connection under it, of which the sender sees no more than that it broke. So it is asked first where much is to
 * be sent, and before each further attempt.
 */
export async function putWhole({
  connection,
  operation,
  target,
  attributes,
  pieces,
  size,
  sha256,
}: Put): Promise<void> {
  let attempts = 0;
  await connection.run({ ...operation, bytes: size }, async ({ s3, options }) => {
    attempts += 1;
    if ((attempts > 1 || size >= lookFrom) && (await isThere(s3, target, options))) throw new PreconditionFailed();
    const [only] = pieces;
    const Body = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
    return s3.putObject(
      { ...target, ...attributes, Body, ContentLength: size, ...checkOf(sha256), IfNoneMatch: "*" },
      options,
    );
  });
}

/** What a server answers to a write that it refuses since the key exists. */
class PreconditionFailed extends Error {
  override readonly name = "PreconditionFailed";
  constructor() {
    super("it was there before it was sent");
  }
}

/** As far as it can be seen: whatever is in the way of that, the write meets as well, and tells of it. */
function isThere(s3: S3, target: Put["target"], options: { readonly abortSignal: AbortSignal }): Promise<boolean> {
  return s3.headObject(target, options).then(
    () => true,
    () => false,
  );
}

/** What the server compares the bytes with that it got. */
function checkOf(
  sha256: string | undefined,
): { readonly ChecksumSHA256: string } | { readonly ChecksumAlgorithm: "CRC32" } {
  if (sha256 === undefined) return { ChecksumAlgorithm: "CRC32" };
  return { ChecksumSHA256: Buffer.from(sha256, "hex").toString("base64") };
}
