import type { GetObjectCommandOutput } from "@aws-sdk/client-s3";
import { DamagedObjectError } from "./object-store";
import type { S3Connection } from "./s3-connection";
import { type Operation, S3Error } from "./s3-failure";

/** Part of an object, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

interface Source {
  readonly connection: S3Connection;
  readonly operation: Operation;
  readonly target: { readonly Bucket: string; readonly Key: string };
}

/**
 * Bytes of an object, all of it without a range. A body that breaks off is continued where it broke, of the same object by its
 * entity tag. Throws `S3Error` (`missing` among them), and {@link DamagedObjectError} when the object ends before the range does.
 */
export async function download(source: Source, range?: ByteRange): Promise<Buffer> {
  const { connection, operation, target } = source;
  const received = new Received(operation, range);
  try {
    return await connection.run(operation, async ({ s3, options, alive, gained }) => {
      const whole = range === undefined && received.nothingYet;
      const output = await s3.getObject(
        {
          ...target,
          ...(received.etag === undefined ? {} : { IfMatch: received.etag }),
          // S3 knows a checksum of whole objects only.
          ...(whole ? { ChecksumMode: "ENABLED" } : { Range: received.missing() }),
        },
        options,
      );
      const before = received.filled;
      await received.take(output, alive).finally(() => {
        if (received.filled > before) gained();
      });
      return received.bytes();
    });
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    if (error.kind === "out-of-range") throw received.endsEarly();
    if (error.kind === "exists") {
      throw new DamagedObjectError(
        `${operation.object} was replaced while it was read; objects of a store never change`,
      );
    }
    throw error;
  }
}

/** What came of an object so far. */
class Received {
  etag: string | undefined;
  #buffer: Buffer | undefined;
  #filled = 0;

  constructor(
    private readonly operation: Operation,
    private readonly range: ByteRange | undefined,
  ) {}

  /** Bytes. */
  get filled(): number {
    return this.#filled;
  }

  get nothingYet(): boolean {
    return this.#filled === 0;
  }

  /** The bytes that are still to come, as a `Range` header names them. */
  missing(): string {
    const { offset, length } = this.range ?? { offset: 0, length: this.#buffer?.length ?? 0 };
    return `bytes=${offset + this.#filled}-${offset + length - 1}`;
  }

  async take(output: GetObjectCommandOutput, alive: () => void): Promise<void> {
    const { Body, ETag } = output;
    if (Body === undefined) throw new BrokenAnswerError("the answer has no body");
    const body = Body as AsyncIterable<Uint8Array> & { destroy(): void };
    try {
      const buffer = this.#room(output);
      this.etag = ETag;
      for await (const piece of body) {
        if (this.#filled + piece.length > buffer.length) throw new BrokenAnswerError("more bytes came than announced");
        buffer.set(piece, this.#filled);
        this.#filled += piece.length;
        alive();
      }
      if (this.#filled < buffer.length) throw new BrokenAnswerError("the body ended early");
    } catch (error) {
      // Not to be continued: any byte of it may be the wrong one.
      if (isContradictory(error)) this.#filled = 0;
      throw error;
    } finally {
      body.destroy();
    }
  }

  bytes(): Buffer {
    return this.#buffer ?? Buffer.alloc(0);
  }

  endsEarly(): DamagedObjectError {
    const { offset, length } = this.range ?? { offset: 0, length: 0 };
    return new DamagedObjectError(
      `${this.operation.object} ends before byte ${offset + length}, which a manifest says it has`,
    );
  }

  /** Where the body goes, once it is sure that it is the part that was asked for. */
  #room({ ContentLength, ContentRange }: GetObjectCommandOutput): Buffer {
    if (ContentLength === undefined) throw new BrokenAnswerError("the answer does not say how long its body is");
    const wholeAsked = this.range === undefined && this.nothingYet;
    if (wholeAsked) {
      // Of another length than the one before: what was made for that one is of no use.
      if (this.#buffer?.length !== ContentLength) this.#buffer = Buffer.allocUnsafe(ContentLength);
      return this.#buffer;
    }
    const { offset, length } = this.range ?? { offset: 0, length: this.#buffer?.length ?? 0 };
    this.#buffer ??= Buffer.allocUnsafe(length);
    const [, first, last] = /^bytes (\d+)-(\d+)\//.exec(ContentRange ?? "") ?? [];
    if (first === undefined || last === undefined)
      throw new BrokenAnswerError("the server does not give parts of objects");
    if (Number(first) !== offset + this.#filled)
      throw new BrokenAnswerError("the answer is another part than asked for");
    if (Number(last) < offset + length - 1) throw this.endsEarly();
    return this.#buffer;
  }
}

function isContradictory(error: unknown): boolean {
  return error instanceof BrokenAnswerError || (error as Error).message.startsWith("Checksum mismatch");
}

/** An answer that contradicts itself, or breaks off without the connection's saying so: as good as a broken connection. */
class BrokenAnswerError extends Error {
  override readonly name = "BrokenAnswerError";
  /** What the connection's own breaks have. */
  readonly code = "ECONNRESET";
}
