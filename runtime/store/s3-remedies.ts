import type { Cause, FailureKind, Operation } from "./s3-failure";

const renew =
  "the credentials have expired; sign in again (for example `aws sso login`) or renew them where they are kept, then run again";

/** The last one is versitygw's. */
const unknownKeys = new Set(["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "XAdminUserNotFound"]);

/** What a person can do about a failure, or undefined where the failure says it itself. */
export function explain(cause: Cause, kind: FailureKind, operation: Operation, bucket: string): string | undefined {
  const { code, status, message } = cause;
  if (kind === "expired") return renew;
  if (kind === "clock") return clock(cause);
  if (code === "NoSuchBucket") {
    return `there is no bucket ${bucket} at this endpoint; make it, or correct the store's location or its endpoint`;
  }
  if (code === "CredentialsProviderError" || code === "TokenProviderError" || /credential/i.test(code)) {
    return "no usable credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, sign in with `aws sso login`, or run where a role is attached";
  }
  if (unknownKeys.has(code)) {
    return "the server does not know these keys; check that access key, secret and session token belong together and to this endpoint";
  }
  if (code === "NotFound") return "what answers there is not S3, or not this bucket's; check the endpoint";
  if (isOtherRegion(cause)) return otherRegion(cause, bucket);
  if (status === 403 || code === "AccessDenied") return denied(operation, bucket);
  if (/^KMS\./.test(code)) return "check that the key exists, is enabled, and may be used by these credentials";
  if (code === "ENOTFOUND") {
    return "the server's name is unknown; check the endpoint, and whether it needs path-style URLs (pathStyle: true, --path-style)";
  }
  if (code === "ECONNREFUSED") return "nothing listens there; check the endpoint and that the server runs";
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(code)) {
    return "the server's certificate is not trusted; give its authority to Node.js with NODE_EXTRA_CA_CERTS";
  }
  if (/Region is missing/.test(message)) return "name the bucket's region: settings.region, --region or AWS_REGION";
  return undefined;
}

function isOtherRegion({ code, status, message }: Cause): boolean {
  return (
    code === "PermanentRedirect" ||
    code === "AuthorizationHeaderMalformed" ||
    code === "IllegalLocationConstraintException" ||
    status === 301 ||
    /region '[^']*' is wrong/.test(message)
  );
}

function otherRegion({ headers, message }: Cause, bucket: string): string {
  const region = headers["x-amz-bucket-region"] ?? /expecting '([^']+)'/.exec(message)?.[1];
  const found =
    region === undefined ? `the bucket ${bucket} is in another region` : `the bucket ${bucket} is in ${region}`;
  return `${found}; name it: settings.region, --region${region === undefined ? "" : ` ${region}`} or AWS_REGION`;
}

function denied({ permission, object }: Operation, bucket: string): string {
  const inside = object.replace(/^s3:\/\//, "");
  const place = permission.startsWith("s3:ListBucket") ? bucket : inside;
  return `these credentials need ${permission} on arn:aws:s3:::${place} (without s3:ListBucket, an object that is missing looks forbidden)`;
}

function clock({ headers }: Cause): string {
  const server = Date.parse(headers.date ?? "");
  const apart = Number.isNaN(server) ? "" : ` by ${Math.round(Math.abs(Date.now() - server) / 1000)} s`;
  return `this machine's clock differs from the server's${apart}; set it right (timedatectl set-ntp true), then run again`;
}
