import type { AbandonedObjects } from "./object-store";
import type { S3Connection } from "./s3-connection";
import { S3Error } from "./s3-failure";

/** Where uploads are looked for, and which. */
export interface AbandonedUploads {
  readonly connection: S3Connection;
  readonly bucket: string;
  /** The store, `s3://…`. */
  readonly location: string;
  /** What the store's keys start with in the bucket: empty, or ending in `/`. */
  readonly prefix: string;
  /** Whether what follows the prefix can be a key of a store. */
  readonly isKey: (key: string) => boolean;
  /** Those that were begun earlier; milliseconds since 1970. */
  readonly before: number;
  /** Only looks. */
  readonly look: boolean;
}

/** Uploads in one answer, S3's own limit. */
const page = 1000;

/**
 * Aborts the uploads in parts that killed processes left incomplete, whose parts take room and show in no listing of objects.
 * Throws `S3Error` where the uploads cannot be listed.
 */
export async function removeAbandonedUploads(uploads: AbandonedUploads): Promise<AbandonedObjects> {
  let [objects, bytes] = [0, 0];
  for await (const upload of abandonedUploads(uploads)) {
    const size = await sizeOf(uploads, upload);
    if (size === null) continue;
    if (!uploads.look) await abort(uploads, upload);
    objects += 1;
    bytes += size;
  }
  return { objects, bytes };
}

interface Begun {
  readonly Key: string;
  readonly UploadId: string;
}

async function* abandonedUploads({ connection, bucket, location, prefix, isKey, before }: AbandonedUploads) {
  const operation = { verb: "list the uploads to", object: location, permission: "s3:ListBucketMultipartUploads" };
  let KeyMarker: string | undefined;
  do {
    // Of the whole bucket: with a prefix, MinIO knows only that of a whole key.
    const answer = await connection.run(operation, ({ s3, options }) =>
      s3.listMultipartUploads(
        { Bucket: bucket, MaxUploads: page, ...(KeyMarker === undefined ? {} : { KeyMarker }) },
        options,
      ),
    );
    for (const { Key = "", UploadId, Initiated } of answer.Uploads ?? []) {
      if (UploadId === undefined || Initiated === undefined || Initiated.getTime() >= before) continue;
      if (Key.startsWith(prefix) && isKey(Key.slice(prefix.length))) yield { Key, UploadId } satisfies Begun;
    }
    // By key alone, which skips further uploads to the page's last key until the next time: versitygw refuses its own upload markers.
    KeyMarker = answer.IsTruncated ? answer.NextKeyMarker : undefined;
  } while (KeyMarker !== undefined && KeyMarker !== "");
}

/** Bytes of its parts; null when it was ended meanwhile. */
async function sizeOf({ connection, bucket }: AbandonedUploads, upload: Begun): Promise<number | null> {
  const object = `s3://${bucket}/${upload.Key}`;
  const operation = { verb: "look at the upload of", object, permission: "s3:ListMultipartUploadParts" };
  const parts = await connection
    .run(operation, ({ s3, options }) => s3.listParts({ Bucket: bucket, ...upload }, options))
    .catch(unlessEnded);
  return parts === null ? null : (parts.Parts ?? []).reduce((sum, { Size = 0 }) => sum + Size, 0);
}

async function abort({ connection, bucket }: AbandonedUploads, upload: Begun): Promise<void> {
  const object = `s3://${bucket}/${upload.Key}`;
  const operation = { verb: "abort the upload of", object, permission: "s3:AbortMultipartUpload" };
  await connection
    .run(operation, ({ s3, options }) => s3.abortMultipartUpload({ Bucket: bucket, ...upload }, options))
    .catch(unlessEnded);
}

function unlessEnded(error: unknown): null {
  if (error instanceof S3Error && (error.kind === "no-upload" || error.kind === "missing")) return null;
  throw error;
}
