import type * as awsSdk from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import { InvalidInputError } from "../../runtime/problems";
import { formatS3Location } from "../../runtime/store";
import { sdk } from "../sdk";
import type { S3StoreArgs } from "../store";
import {
  type BucketSettings,
  bucketSettings,
  type Days,
  encryptionRule,
  lifecycleRules,
  tlsOnly,
} from "./bucket-parts";
import { aws } from "./sdk";

/** Arguments of {@link SnapshotBucket}. */
export interface SnapshotBucketArgs {
  /**
   * Name of the bucket, one of all of AWS's buckets. It is plain, and there is no default, since it is part of every snapshot's
   * reference, and of what a preview looks at before a bucket is made. Changing it makes another, empty bucket, and the old one is
   * deleted, which fails while there is anything in it: move the snapshots first.
   */
  readonly bucketName: string;
  /** Where in the bucket the store lies, without slashes at its ends. Changing it is another store; nothing is moved. @default the whole bucket */
  readonly prefix?: string;
  /**
   * ARN of the KMS key that encrypts what is written from now on; its policy must leave access to IAM, as a new key's does. Changes in
   * place. @default S3's own keys (SSE-S3)
   */
  readonly kmsKeyArn?: pulumi.Input<string>;
  /**
   * Keeps what was deleted or overwritten for `retention` days more, against mistakes: it is paid for as long. Changes in place; left out later, versioning is
   * suspended, and versions that there are stay for good. @default none: what `prune` removes is gone
   */
  readonly versioning?: { readonly retention: Days };
  /** After which time the parts of an upload that nobody completed are removed; at least 1 day, longer than any run packs. @default "1d" */
  readonly abortUploadsAfter?: Days;
  /** The bucket's region. Changing it makes another bucket. @default the stack's `aws:region`; name it where an explicit provider has another */
  readonly region?: string;
  /** Whether `destroy` deletes the snapshots as well. @default false: it fails while there are any */
  readonly forceDestroy?: boolean;
  readonly tags?: Readonly<Record<string, pulumi.Input<string>>>;
}

/**
 * A bucket for snapshots: private, encrypted, for TLS only. Needs `@pulumi/aws` in the program's dependencies.
 *
 *     const bucket = new SnapshotBucket("snapshots", { bucketName: "acme-comfyui-snapshots", prefix: "studio" }, { protect: true });
 *     const snapshot = new Snapshot("studio", { environment: workstation.environment, store: bucket });
 *
 * Snapshots are what a service is rolled back to: keep the bucket with `protect: true`, or with `retainOnDelete: true` beyond the stack's
 * life. Make no other lifecycle configuration for it: a bucket has one, and a rule that expires objects damages snapshots.
 */
export class SnapshotBucket extends sdk.ComponentResource {
  readonly bucket: awsSdk.s3.Bucket;
  /** The store, as `Snapshot` takes it. Given the `SnapshotBucket` itself, a `Snapshot` also waits until it is there. */
  readonly store: S3StoreArgs;
  /** Key that encrypts what is written, if it is not S3's own. */
  readonly kmsKeyArn: pulumi.Output<string> | undefined;
  /** Without slashes at its ends; empty when the store is the whole bucket. */
  readonly prefix: string;

  /** Throws `InvalidInputError` with everything that is wrong with the arguments. */
  constructor(name: string, args: SnapshotBucketArgs, opts?: pulumi.ComponentResourceOptions) {
    const { settings, problems } = bucketSettings(args);
    if (settings === undefined) throw new InvalidInputError(problems.map(at(name)));
    super("comfyui:index:SnapshotBucket", name, {}, opts);
    const child = { parent: this };
    const { prefix } = settings;
    const region = settings.region ?? new sdk.Config("aws").get("region");

    this.bucket = bucketOf(name, args, settings, child);
    const place = { bucket: this.bucket.bucket, ...regionOf(settings) };
    ownership(name, place, child);
    encryption(name, place, args, child);
    // Changes of one bucket at the same time are refused (`OperationAborted`), so that each of these waits for another.
    const isPrivate = noPublicAccess(name, place, child);
    policy(name, place, this.bucket.arn, { ...child, dependsOn: [isPrivate] });
    const versioned = versioning(name, place, settings, child);
    lifecycle(name, place, settings, { ...child, dependsOn: versioned });

    this.prefix = prefix;
    this.kmsKeyArn = args.kmsKeyArn === undefined ? undefined : sdk.output(args.kmsKeyArn);
    this.store = {
      url: formatS3Location({ bucket: settings.bucketName, prefix }),
      ...(region === undefined ? {} : { region }),
    };
    this.registerOutputs({ store: this.store });
  }
}

const needs = "SnapshotBucket";

const at =
  (name: string) =>
  ({ path, reason }: { readonly path: string; readonly reason: string }) => ({
    path: `SnapshotBucket ${JSON.stringify(name)} ${path}`,
    reason,
  });

const regionOf = ({ region }: BucketSettings) => (region === undefined ? {} : { region });

interface Place {
  readonly bucket: pulumi.Output<string>;
  readonly region?: string;
}

type Options = pulumi.CustomResourceOptions;

function bucketOf(name: string, args: SnapshotBucketArgs, settings: BucketSettings, opts: Options) {
  const { forceDestroy = false, tags } = args;
  return new (aws(needs).s3.Bucket)(
    name,
    {
      bucket: settings.bucketName,
      forceDestroy,
      ...regionOf(settings),
      ...(tags === undefined ? {} : { tags: { ...tags } }),
    },
    opts,
  );
}

/** Everything in it is the account's, by whomever it was written; access is by policies alone. */
function ownership(name: string, place: Place, opts: Options): void {
  new (aws(needs).s3.BucketOwnershipControls)(
    name,
    { ...place, rule: { objectOwnership: "BucketOwnerEnforced" } },
    opts,
  );
}

function encryption(name: string, place: Place, { kmsKeyArn }: SnapshotBucketArgs, opts: Options): void {
  new (aws(needs).s3.BucketServerSideEncryptionConfiguration)(
    name,
    { ...place, rules: [encryptionRule(kmsKeyArn)] },
    opts,
  );
}

function noPublicAccess(name: string, place: Place, opts: Options): pulumi.Resource {
  return new (aws(needs).s3.BucketPublicAccessBlock)(
    name,
    { ...place, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
    opts,
  );
}

function policy(name: string, place: Place, arn: pulumi.Output<string>, opts: Options): void {
  new (aws(needs).s3.BucketPolicy)(
    name,
    { ...place, policy: arn.apply((known) => JSON.stringify(tlsOnly(known))) },
    opts,
  );
}

function versioning(name: string, place: Place, settings: BucketSettings, opts: Options): pulumi.Resource[] {
  if (settings.versioning === undefined) return [];
  const resource = new (aws(needs).s3.BucketVersioning)(
    name,
    { ...place, versioningConfiguration: { status: "Enabled" } },
    opts,
  );
  return [resource];
}

function lifecycle(name: string, place: Place, settings: BucketSettings, opts: Options): void {
  new (aws(needs).s3.BucketLifecycleConfiguration)(name, { ...place, rules: lifecycleRules(settings) }, opts);
}
