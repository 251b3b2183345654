import { randomBytes } from "node:crypto";
import type { S3Connection } from "./s3-connection";
import { type Operation, S3Error } from "./s3-failure";

/** A server that would let one writer replace what another has written: no place for a store. */
export class UnconditionalWritesError extends Error {
  override readonly name = "UnconditionalWritesError";
}

export interface Probe {
  readonly connection: S3Connection;
  /** The store, `s3://…`. */
  readonly location: string;
  readonly bucket: string;
  /** The key in the bucket of a key of the store. */
  readonly keyOf: (key: string) => string;
  readonly report: (text: string) => void;
}

/** What the probe holds, for a person who finds one; it is also the one part of the upload that is not to succeed. */
const content = Buffer.from("Written to learn whether this server honours If-None-Match. May be deleted.\n");

/**
 * Learns by trying whether the server honours `If-None-Match: *` with plain writes, and throws
 * {@link UnconditionalWritesError} when it does not. Returns whether it does so at the end of multipart uploads, too.
 */
export async function probeConditions(probe: Probe): Promise<{ readonly multipart: boolean }> {
  const { connection, location, bucket, keyOf } = probe;
  const name = `probes/${randomBytes(16).toString("hex")}`;
  const target = { Bucket: bucket, Key: keyOf(name) };
  const object = `${location}/${name}`;
  const write: Operation = { verb: "write the probe", object, permission: "s3:PutObject" };
  const put = () =>
    connection.run(write, ({ s3, options }) =>
      s3.putObject({ ...target, Body: content, IfNoneMatch: "*" }, options).then(() => "written" as const),
    );
  // An attempt whose answer was lost may have written it.
  await put().catch(unlessExists);
  try {
    const second = await put().catch(unlessExists);
    if (second === "written") {
      throw new UnconditionalWritesError(
        `${location} cannot be a store: its server ignores If-None-Match, so that one run could replace what another has written ` +
          `(a second write to ${object} was accepted instead of refused with 412); use AWS S3, or a server and version that has conditional writes`,
      );
    }
    return { multipart: await honoursForMultipart(probe, target, object) };
  } finally {
    await connection
      .run({ verb: "delete the probe", object, permission: "s3:DeleteObject" }, ({ s3, options }) =>
        s3.deleteObject(target, options),
      )
      .catch((error: Error) => probe.report(`${object} is left behind: ${error.message}`));
  }
}

async function honoursForMultipart(
  { connection, report }: Probe,
  target: { readonly Bucket: string; readonly Key: string },
  object: string,
): Promise<boolean> {
  const operation = { verb: "write the probe in parts", object, permission: "s3:PutObject" };
  const { UploadId } = await connection.run(operation, ({ s3, options }) => s3.createMultipartUpload(target, options));
  const upload = { ...target, UploadId };
  try {
    const { ETag } = await connection.run(operation, ({ s3, options }) =>
      s3.uploadPart({ ...upload, PartNumber: 1, Body: content }, options),
    );
    const MultipartUpload = { Parts: [{ ETag, PartNumber: 1 }] };
    const ended = await connection
      .run(operation, ({ s3, options }) =>
        s3
          .completeMultipartUpload({ ...upload, MultipartUpload, IfNoneMatch: "*" }, options)
          .then(() => "written" as const),
      )
      .catch(unlessExists);
    if (ended === "written") return false;
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    report(`objects are written whole, not in parts: ${error.message}`);
    return false;
  } finally {
    await connection
      .run({ ...operation, permission: "s3:AbortMultipartUpload" }, ({ s3, options }) =>
        s3.abortMultipartUpload(upload, options),
      )
      .catch((error) => {
        if (!(error instanceof S3Error) || error.kind === "no-upload") return;
        report(`an unfinished upload of ${object} is left behind: ${error.message}`);
      });
  }
  return true;
}

function unlessExists(error: unknown): "exists" {
  if (error instanceof S3Error && error.kind === "exists") return "exists";
  throw error;
}
