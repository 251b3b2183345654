import { z } from "zod";
import { parse } from "../../providers/parsing";
import type { Problem } from "../../runtime/problems";
import { formatS3Location, parseS3Location } from "../../runtime/store";

/** Whole days, for example `"30d"`: the unit of S3's lifecycle rules, which act at the midnight (UTC) after. */
export type Days = `${number}d`;

/**
 * Days after which what is left of an interrupted upload goes, unless it is said: `prune` does the same. No upload of this package lives as
 * long, since a run that packs gives up after 23 hours.
 */
const usualAbortDays = 1;
/** S3's own longest. https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleExpiration.html */
const mostDays = 2_147_483_647;

const daysSchema = z.string('is no number of days such as "30d"').transform((text, context) => {
  const days = Number(/^(\d+)d$/.exec(text)?.[1] ?? Number.NaN);
  if (days >= 1 && days <= mostDays) return days;
  context.addIssue(`${JSON.stringify(text)} is no number of days such as "30d": whole ones, at least 1`);
  return z.NEVER;
});

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html A name with a dot fits no certificate of S3's. */
const bucketNameSchema = z
  .string(
    'is no plain name of a bucket: stores are looked at before anything is made, so it has to be known then, such as "my-comfyui-snapshots"',
  )
  .regex(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/, {
    error: ({ input }) =>
      `${JSON.stringify(input)} is not the name of a bucket with TLS: 3 to 63 of a-z, 0-9 and inner hyphens`,
  });

export const prefixSchema = z.string('is no prefix such as "comfyui"').superRefine((prefix, context) => {
  try {
    parseS3Location(formatS3Location({ bucket: "bucket", prefix }));
  } catch (error) {
    context.addIssue((error as Error).message);
  }
  if (/[*?$]/.test(prefix))
    context.addIssue(`${JSON.stringify(prefix)} has "*", "?" or "$", which mean more in policies`);
});

/** Policies name a key by its ARN, not by an alias. */
export const keyArnSchema = z.string().regex(/^arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key\/[A-Za-z0-9-]+$/, {
  error: ({ input }) =>
    `${JSON.stringify(input)} is not the ARN of a KMS key, such as "arn:aws:kms:eu-central-1:123456789012:key/…"`,
});

const settingsSchema = z.strictObject({
  bucketName: bucketNameSchema,
  prefix: prefixSchema.default(""),
  kmsKeyArn: keyArnSchema.optional(),
  region: z.string().min(1, "is empty: name a region, or leave it out").optional(),
  abortUploadsAfter: daysSchema.prefault(`${usualAbortDays}d`),
  versioning: z.strictObject({ retention: daysSchema }, 'is no versioning: use { retention: "30d" }').optional(),
});

export type BucketSettings = z.output<typeof settingsSchema>;

/** What of the arguments is looked at: the rest is Pulumi's to take. */
export function bucketSettings(args: object): {
  readonly settings: BucketSettings | undefined;
  readonly problems: readonly Problem[];
} {
  const { bucketName, prefix, kmsKeyArn, region, abortUploadsAfter, versioning } = args as Record<string, unknown>;
  const given = { bucketName, prefix, kmsKeyArn: ifKnown(kmsKeyArn), region, abortUploadsAfter, versioning };
  const { value, problems } = parse(settingsSchema, given);
  return { settings: value, problems };
}

/** What is known only later is AWS's to refuse. */
export function ifKnown(value: unknown): unknown {
  return typeof value === "object" ? undefined : value;
}

/** A document of IAM's policy language. */
export interface PolicyDocument {
  readonly Version: "2012-10-17";
  readonly Statement: readonly object[];
}

/**
 * Refuses whoever comes without TLS, or with one older than 1.2; allows nobody anything.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
 */
export function tlsOnly(arn: string): PolicyDocument {
  const everything = { Effect: "Deny", Principal: "*", Action: "s3:*", Resource: [arn, `${arn}/*`] };
  return {
    Version: "2012-10-17",
    Statement: [
      { Sid: "TlsOnly", ...everything, Condition: { Bool: { "aws:SecureTransport": "false" } } },
      { Sid: "Tls12OrLater", ...everything, Condition: { NumericLessThan: { "s3:TlsVersion": "1.2" } } },
    ],
  };
}

/**
 * What S3 removes by itself. No rule is about the current version of an object: what a snapshot needs is `prune`'s alone to judge, which
 * knows the releases and whoever packs just now. Old versions are what `prune` has removed already, and are kept for the retention.
 */
export function lifecycleRules({ abortUploadsAfter, versioning }: BucketSettings) {
  const rule = { status: "Enabled", filter: { prefix: "" } };
  return [
    {
      ...rule,
      id: "abort-incomplete-uploads",
      abortIncompleteMultipartUpload: { daysAfterInitiation: abortUploadsAfter },
    },
    ...(versioning === undefined
      ? []
      : [
          {
            ...rule,
            id: "expire-removed-objects",
            noncurrentVersionExpiration: { noncurrentDays: versioning.retention },
            // Of a marker that hides no version any more.
            expiration: { expiredObjectDeleteMarker: true },
          },
        ]),
  ];
}

/** SSE-S3, or SSE-KMS with a key of the bucket's own below the given one, which saves requests to KMS. */
export function encryptionRule<Key>(kmsKeyArn: Key | undefined) {
  return kmsKeyArn === undefined
    ? { applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }
    : {
        applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: kmsKeyArn },
        bucketKeyEnabled: true,
      };
}
