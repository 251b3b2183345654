import { explain } from "./s3-remedies";

/**
 * What a failed request means for the one who asked.
 * `exists`, `missing`, `no-upload`, `out-of-range`: answers, which the caller may expect. `conflict`: others write the same
 * key now. `transient`: worth another attempt. `expired`: with other credentials. `clock`: with the time that the server
 * told. `refused`: nothing but a person can help.
 */
export type FailureKind =
  | "exists"
  | "missing"
  | "no-upload"
  | "out-of-range"
  | "conflict"
  | "transient"
  | "expired"
  | "clock"
  | "refused";

/** A request to a bucket that failed. The message names what was asked for and what to do, and holds no secret. */
export class S3Error extends Error {
  override readonly name = "S3Error";
  constructor(
    message: string,
    readonly kind: FailureKind,
    /** As the server, the SDK or Node.js names it, for example `AccessDenied` or `ECONNREFUSED`. */
    readonly code: string,
  ) {
    super(message);
  }
}

/** One kind of request, as errors tell of it. */
export interface Operation {
  /** For example `"write"`, in "cannot write s3://…". */
  readonly verb: string;
  /** The object or folder, `s3://…`. */
  readonly object: string;
  /** What a policy must allow for it, for example `s3:PutObject`. */
  readonly permission: string;
  /** Bytes that the request carries; a slow line gets more time for more of them. @default 0 */
  readonly bytes?: number;
  /** Whether a conflict is the caller's to solve, instead of another attempt's. @default false */
  readonly conflictEnds?: boolean;
}

/** What the SDK, Node.js or the server said, read out of whatever was thrown. */
export interface Cause {
  readonly code: string;
  readonly message: string;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly requestId: string | undefined;
  readonly clockCorrected: boolean;
}

const withoutBody = new Set([
  "",
  "Error",
  "Unknown",
  "UnknownError",
  "NotFound",
  "Forbidden",
  "BadRequest",
  "400",
  "403",
  "301",
]);

/** Whether a `HEAD` failed with a status that alone does not say why: its answers have no body. */
export function isUnexplained(error: unknown): boolean {
  const { status, code } = causeOf(error);
  return (status === 301 || status === 400 || status === 403) && withoutBody.has(code);
}

export function causeOf(error: unknown): Cause {
  const { name, code, Code, message, $metadata, $response } = error as {
    name?: string;
    code?: unknown;
    Code?: unknown;
    message?: string;
    $metadata?: { httpStatusCode?: number; requestId?: string; clockSkewCorrected?: boolean };
    $response?: { statusCode?: number; headers?: Record<string, string> };
  };
  const own = typeof Code === "string" ? Code : typeof code === "string" ? code : undefined;
  return {
    code: own ?? name ?? "",
    // What follows the first line is advice for programmers.
    message: (message ?? String(error)).split("\n")[0] ?? "",
    status: $response?.statusCode ?? $metadata?.httpStatusCode,
    headers: $response?.headers ?? {},
    requestId: $metadata?.requestId?.split(",")[0],
    clockCorrected: $metadata?.clockSkewCorrected ?? false,
  };
}

const kindByCode: Readonly<Record<string, FailureKind>> = {
  PreconditionFailed: "exists",
  NoSuchKey: "missing",
  // The SDK's name for what HEAD answers, which has no body that could say more.
  NotFound: "missing",
  NoSuchUpload: "no-upload",
  // The parts of an upload that another ended while they came; versitygw then has some of them still.
  InvalidPart: "no-upload",
  InvalidRange: "out-of-range",
  ConditionalRequestConflict: "conflict",
  OperationAborted: "conflict",
  NoSuchBucket: "refused",
  ExpiredToken: "expired",
  ExpiredTokenException: "expired",
  TokenRefreshRequired: "expired",
  RequestTimeTooSkewed: "clock",
};

/** Codes of 4xx answers that a further attempt may mend: overload, and bodies that broke on their way. */
const transientCodes = new Set([
  "SlowDown",
  "RequestTimeout",
  "RequestTimeoutException",
  "Throttling",
  "ThrottlingException",
  "RequestLimitExceeded",
  "BandwidthLimitExceeded",
  "TooManyRequests",
  "BadDigest",
  "InvalidDigest",
  "IncompleteBody",
  "XAmzContentChecksumMismatch",
  "XAmzContentSHA256Mismatch",
]);
/** Of Node.js and of the SDK: the connection, not the request, is at fault. */
const connectionCodes = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "ENETDOWN",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ERR_STREAM_PREMATURE_CLOSE",
  "ERR_STREAM_DESTROYED",
  "TimeoutError",
]);

export function kindOf({ code, status, message, clockCorrected }: Cause): FailureKind {
  const known = kindByCode[code];
  if (known !== undefined) return known;
  if (clockCorrected) return "clock";
  if (transientCodes.has(code) || connectionCodes.has(code) || code.startsWith("HPE_")) return "transient";
  // The SDK's own check of a body.
  if (message.startsWith("Checksum mismatch")) return "transient";
  if (status === undefined) return "refused";
  if (status === 412) return "exists";
  if (status === 409) return "conflict";
  if (status === 416) return "out-of-range";
  if (status === 501) return "refused";
  // 2xx: the answer broke off, so that it could not be read.
  if (status >= 500 || status === 429 || status === 408 || status === 307 || status < 300) return "transient";
  return "refused";
}

/** Milliseconds that the server asks to wait, where it does. */
export function askedPause({ headers }: Cause): number {
  const seconds = Number(headers["retry-after"]);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
}

/** The error that a person reads: what was asked, what came, and what would help. */
export function errorOf(cause: Cause, kind: FailureKind, operation: Operation, bucket: string, tries: string): S3Error {
  const { code, status, message, requestId } = cause;
  const facts = [code, status === undefined ? "" : `HTTP ${status}`, requestId ? `request ${requestId}` : ""];
  const told = `${message.trim().replace(/\.$/, "")} (${facts.filter(Boolean).join(", ")})`;
  const remedy = explain(cause, kind, operation, bucket);
  return new S3Error(
    `cannot ${operation.verb} ${operation.object}${tries}: ${told}${remedy === undefined ? "" : `; ${remedy}`}`,
    kind,
    code,
  );
}
