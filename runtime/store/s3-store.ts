import { randomUUID } from "node:crypto";
import type { Watch } from "../waiting";
import {
  type AbandonedObjects,
  DamagedObjectError,
  ObjectNotFoundError,
  type ObjectStore,
  type StoredObject,
} from "./object-store";
import { removeAbandonedUploads } from "./s3-abandoned";
import { endpointOf } from "./s3-client";
import { type Probe, probeConditions } from "./s3-conditions";
import { S3Connection } from "./s3-connection";
import { download } from "./s3-download";
import { isUnexplained, type Operation, S3Error } from "./s3-failure";
import { formatS3Location, parseS3Location } from "./s3-location";
import { putWhole } from "./s3-put";
import { uploadInParts } from "./s3-upload";
import { completeSettings, type StoreSettings } from "./store-settings";

/** Sizes by which requests are cut. */
export interface S3Sizes {
  /** Bytes from which on an object is written in parts. @default 16 MiB */
  readonly multipartFrom: number;
  /** Bytes of a part at most; S3 wants at least 5 MiB. @default 16 MiB */
  readonly part: number;
  /** Objects in one answer of a listing. @default 1000, S3's own limit */
  readonly page: number;
}

const defaultSizes: S3Sizes = { multipartFrom: 16 * 1024 * 1024, part: 16 * 1024 * 1024, page: 1000 };

/** Name of the metadata entry that tells who made an object. */
const makerEntry = "maker";

/** What was learned of servers, by endpoint and bucket; a failure is not kept. */
const probed = new Map<string, Promise<{ readonly multipart: boolean }>>();

/**
 * A store in a bucket of AWS S3 or of a server with S3's interface. The first object that a process creates there is preceded by
 * a probe: a server that ignores `If-None-Match` is refused. Readers need no right to write.
 *
 * Errors: those of {@link ObjectStore}; `S3Error`, which says what failed and what to do; `UnconditionalWritesError`.
 */
export class S3Store implements ObjectStore {
  readonly location: string;
  readonly parallelWrites: number;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #attributes: object;
  readonly #connection: S3Connection;
  readonly #server: string;
  readonly #watch: Partial<Watch>;
  readonly #sizes: S3Sizes;
  #answered = false;

  /** `location` is `s3://bucket/prefix`. The watch's signal ends every request of the store; its progress tells of repeated ones. */
  constructor(
    location: string,
    settings: StoreSettings = {},
    watch: Partial<Watch> = {},
    sizes: Partial<S3Sizes> = {},
  ) {
    const { bucket, prefix } = parseS3Location(location);
    const complete = completeSettings(settings);
    this.location = formatS3Location({ bucket, prefix });
    this.parallelWrites = Math.min(complete.connections, mostParallelWrites);
    this.#bucket = bucket;
    this.#prefix = prefix === "" ? "" : `${prefix}/`;
    this.#connection = new S3Connection(bucket, complete, watch);
    this.#server = `${endpointOf(complete) ?? ""} ${bucket}`;
    this.#watch = watch;
    this.#sizes = { ...defaultSizes, ...sizes };
    const { kmsKeyId } = complete;
    this.#attributes = kmsKeyId === undefined ? {} : { ServerSideEncryption: "aws:kms", SSEKMSKeyId: kmsKeyId };
  }

  async create(key: string, pieces: readonly Uint8Array[], sha256?: string): Promise<boolean> {
    const target = this.#target(key);
    const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
    const { multipart } = await this.#conditions();
    const inParts = multipart && size > this.#sizes.multipartFrom;
    if (inParts) {
      const existing = await this.find(key);
      if (existing !== null) return this.#sameOrDamaged(existing, size);
    }
    // Tells an object that an earlier attempt of this call made, whose answer was lost, from one of another maker.
    const maker = randomUUID();
    const attributes = { ...this.#attributes, Metadata: { [makerEntry]: maker } };
    const operation = this.#operation("write", key, "s3:PutObject");
    for (let number = 1; ; number += 1) {
      try {
        const object = { connection: this.#connection, operation, target, attributes, pieces, size };
        if (inParts) {
          const { signal } = this.#watch;
          await uploadInParts({ ...object, partSize: this.#sizes.part, signal, report: this.#report });
        } else {
          await putWhole({ ...object, sha256 });
        }
        return true;
      } catch (error) {
        if (!(error instanceof S3Error) || (error.kind !== "exists" && error.kind !== "no-upload")) throw error;
        const found = await this.#head(key);
        if (found !== null) return found.maker === maker ? this.#made(found, size) : this.#sameOrDamaged(found, size);
        // It was there, and no longer is: deleted between the two looks.
        if (number >= mostRounds) throw error;
      }
    }
  }

  async get(key: string): Promise<Buffer> {
    return this.#reading(key);
  }

  async getRange(key: string, offset: number, length: number): Promise<Buffer> {
    if (length > 0) return this.#reading(key, { offset, length });
    // S3 has no empty ranges.
    const found = await this.find(key);
    if (found === null) throw new ObjectNotFoundError(this.location, key);
    return Buffer.alloc(0);
  }

  async find(key: string): Promise<StoredObject | null> {
    const found = await this.#head(key);
    return found === null ? null : { key, size: found.size, storedAt: found.storedAt };
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const folder = prefix.replace(/\/$/, "");
    const Prefix = `${this.#target(folder).Key}/`;
    const operation = this.#operation("list", `${folder}/`, "s3:ListBucket");
    let ContinuationToken: string | undefined;
    do {
      const page = await this.#connection.run(operation, ({ s3, options }) =>
        s3.listObjectsV2(
          {
            Bucket: this.#bucket,
            Prefix,
            MaxKeys: this.#sizes.page,
            ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
          },
          options,
        ),
      );
      this.#answered = true;
      for (const { Key = "", Size, LastModified } of page.Contents ?? []) {
        const key = Key.slice(this.#prefix.length);
        // Others' objects, and the markers of folders that some programs make.
        if (!keyForm.test(key) || Size === undefined || LastModified === undefined) continue;
        yield { key, size: Size, storedAt: LastModified };
      }
      ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (ContinuationToken !== undefined);
  }

  async remove(key: string): Promise<void> {
    const target = this.#target(key);
    const operation = this.#operation("delete", key, "s3:DeleteObject");
    await this.#connection
      .run(operation, ({ s3, options }) => s3.deleteObject(target, options))
      .catch((error) => {
        if (!(error instanceof S3Error) || error.kind !== "missing") throw error;
      });
  }

  /** Probes of killed processes, and their uploads in parts. Where the latter may not be seen or ended, that is reported. */
  async removeAbandoned({ look, wait = abandonedAfter }: { readonly look: boolean; readonly wait?: number }) {
    const before = Date.now() - wait;
    let [objects, bytes] = [0, 0];
    for await (const { key, size, storedAt } of this.list("probes/")) {
      if (storedAt.getTime() >= before) continue;
      if (!look) await this.remove(key);
      objects += 1;
      bytes += size;
    }
    const uploads = await removeAbandonedUploads({
      connection: this.#connection,
      bucket: this.#bucket,
      location: this.location,
      prefix: this.#prefix,
      isKey: (key) => keyForm.test(key),
      before,
      look,
    }).catch((error: unknown) => {
      if (!(error instanceof S3Error)) throw error;
      this.#report(`uploads that killed processes left are not removed: ${error.message}`);
      return { objects: 0, bytes: 0 };
    });
    return { objects: objects + uploads.objects, bytes: bytes + uploads.bytes } satisfies AbandonedObjects;
  }

  async #reading(key: string, range?: { readonly offset: number; readonly length: number }): Promise<Buffer> {
    const target = this.#target(key);
    const operation = this.#operation("read", key, "s3:GetObject");
    try {
      return await download({ connection: this.#connection, operation, target }, range);
    } catch (error) {
      // By its own code: what is no S3 server answers 404 as well.
      const missing = error instanceof S3Error && error.code === "NoSuchKey";
      if (missing || (await this.#isHidden(key, error))) throw new ObjectNotFoundError(this.location, key);
      throw error;
    }
  }

  async #head(key: string): Promise<(StoredObject & { readonly maker: string | undefined }) | null> {
    const target = this.#target(key);
    try {
      const found = await this.#connection.run(this.#operation("look at", key, "s3:GetObject"), ({ s3, options }) =>
        s3.headObject(target, options).catch(async (error) => {
          // Answers to HEAD have no body that would say why; a read of one byte has.
          if (isUnexplained(error))
            (await s3.getObject({ ...target, Range: "bytes=0-0" }, options)).Body?.transformToByteArray();
          throw error;
        }),
      );
      this.#answered = true;
      const { ContentLength: size, LastModified: storedAt } = found;
      if (size === undefined || storedAt === undefined) {
        throw new Error(`the server does not tell the size or the time of ${this.location}/${key}, which S3 does`);
      }
      return { key, size, storedAt, maker: found.Metadata?.[makerEntry] };
    } catch (error) {
      if (await this.#isHidden(key, error)) return null;
      if (!(error instanceof S3Error) || error.kind !== "missing") throw error;
      await this.#requireBucket();
      return null;
    }
  }

  /**
   * Whether a key that may not be read is not there at all. AWS tells that apart, 404 from 403, only for whoever may list the bucket; a right
   * to list a prefix has a condition on `s3:prefix`, which a read does not meet. What that allows is to list this one key.
   * https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
   */
  async #isHidden(key: string, error: unknown): Promise<boolean> {
    if (!(error instanceof S3Error) || error.code !== "AccessDenied") return false;
    const { Bucket, Key } = this.#target(key);
    try {
      const page = await this.#connection.run(this.#operation("list", key, "s3:ListBucket"), ({ s3, options }) =>
        s3.listObjectsV2({ Bucket, Prefix: Key, MaxKeys: 1 }, options),
      );
      return page.Contents?.[0]?.Key !== Key;
    } catch (failure) {
      if (failure instanceof S3Error && failure.kind === "refused") return false;
      throw failure;
    }
  }

  /** An answer to HEAD does not tell a missing bucket from a missing object. */
  async #requireBucket(): Promise<void> {
    if (this.#answered) return;
    await this.#connection.run(this.#operation("list", "", "s3:ListBucket"), ({ s3, options }) =>
      s3.listObjectsV2({ Bucket: this.#bucket, Prefix: this.#prefix, MaxKeys: 1 }, options),
    );
    this.#answered = true;
  }

  #conditions(): Promise<{ readonly multipart: boolean }> {
    const known = probed.get(this.#server);
    if (known !== undefined) return known;
    const probe: Probe = {
      connection: this.#connection,
      location: this.location,
      bucket: this.#bucket,
      keyOf: (key) => this.#target(key).Key,
      report: this.#report,
    };
    const probing = probeConditions(probe);
    probed.set(this.#server, probing);
    probing.catch(() => probed.delete(this.#server));
    return probing;
  }

  #target(key: string): { readonly Bucket: string; readonly Key: string } {
    if (!keyForm.test(key)) throw new Error(`${JSON.stringify(key)} cannot be a key of a store`);
    return { Bucket: this.#bucket, Key: `${this.#prefix}${key}` };
  }

  #operation(verb: string, key: string, permission: string): Operation {
    return { verb, object: `${this.location}/${key}`, permission };
  }

  #made(found: StoredObject, expected: number): true {
    this.#sameOrDamaged(found, expected);
    return true;
  }

  #sameOrDamaged({ key, size }: StoredObject, expected: number): false {
    if (size === expected) return false;
    throw new DamagedObjectError(
      `${this.location}/${key} has ${size} bytes instead of ${expected}: it is damaged; delete it, then run again`,
    );
  }

  readonly #report = (text: string): void => {
    if (this.#watch.progress === undefined) process.emitWarning(text);
    else this.#watch.progress(text);
  };
}

/** Each holds its object in memory. A connection of AWS's carries about 85 MB/s. */
const mostParallelWrites = 8;
const keyForm = /^[a-z]+(\/[0-9a-f]+)*$/;
/** Milliseconds after which a probe or an upload is no longer one under way. */
const abandonedAfter = 24 * 3_600_000;
/** Times that an object may come and go while it is written. */
const mostRounds = 3;
