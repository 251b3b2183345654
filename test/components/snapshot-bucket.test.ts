import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, test } from "vitest";
import { claim, DevWorkstation, kubernetes, Snapshot, SnapshotBucket, type SnapshotBucketArgs } from "../../index";
import { InvalidInputError } from "../../runtime/problems";
import { waitFor } from "../../runtime/waiting";
import { type Declared, recordDeclarations, valueIn } from "../support/recording-mocks";

const arn = "arn:aws:s3:::acme-snapshots";
const key = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000";
const tlsOnly = {
  Version: "2012-10-17",
  Statement: [
    {
      Sid: "TlsOnly",
      Effect: "Deny",
      Principal: "*",
      Action: "s3:*",
      Resource: [arn, `${arn}/*`],
      Condition: { Bool: { "aws:SecureTransport": "false" } },
    },
    {
      Sid: "Tls12OrLater",
      Effect: "Deny",
      Principal: "*",
      Action: "s3:*",
      Resource: [arn, `${arn}/*`],
      Condition: { NumericLessThan: { "s3:TlsVersion": "1.2" } },
    },
  ],
};

const itself = "SnapshotBucket snapshots";

/** Type, inputs, parent and dependencies of all that a bucket is declared with. */
async function declared(args: SnapshotBucketArgs, count: number, opts: pulumi.ComponentResourceOptions = {}) {
  const recording = recordDeclarations({ Bucket: { arn } });
  const bucket = new SnapshotBucket("snapshots", args, opts);
  await waitFor({
    what: `${count} resources to be declared`,
    deadline: 20_000,
    interval: 10,
    look: () => (recording.declared.length >= count && recording.complete.includes(itself) ? true : undefined),
  });
  return { bucket, resources: recording.declared };
}

const shown = ({ type, name, inputs, parent, dependsOn, protect }: Declared) => [
  `${type} ${name}`,
  inputs,
  parent,
  dependsOn,
  protect,
];
const bucketOnly = ["Bucket snapshots"];

describe("a bucket of which only the name is said", () => {
  let bucket: SnapshotBucket;
  let resources: readonly Declared[];
  beforeAll(async () => {
    ({ bucket, resources } = await declared({ bucketName: "acme-snapshots" }, 7));
  });

  test("is private, encrypted with S3's keys, for TLS only, and rid of stale uploads; with all its arguments", () => {
    expect(resources.map(shown).sort()).toEqual([
      ["aws:s3/bucket:Bucket snapshots", { bucket: "acme-snapshots", forceDestroy: false }, itself, [], null],
      [
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration snapshots",
        {
          bucket: "acme-snapshots",
          rules: [
            {
              id: "abort-incomplete-uploads",
              status: "Enabled",
              filter: { prefix: "" },
              abortIncompleteMultipartUpload: { daysAfterInitiation: 1 },
            },
          ],
        },
        itself,
        bucketOnly,
        null,
      ],
      [
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls snapshots",
        { bucket: "acme-snapshots", rule: { objectOwnership: "BucketOwnerEnforced" } },
        itself,
        bucketOnly,
        null,
      ],
      [
        "aws:s3/bucketPolicy:BucketPolicy snapshots",
        { bucket: "acme-snapshots", policy: JSON.stringify(tlsOnly) },
        itself,
        ["Bucket snapshots", "BucketPublicAccessBlock snapshots"],
        null,
      ],
      [
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock snapshots",
        {
          bucket: "acme-snapshots",
          blockPublicAcls: true,
          blockPublicPolicy: true,
          ignorePublicAcls: true,
          restrictPublicBuckets: true,
        },
        itself,
        bucketOnly,
        null,
      ],
      [
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration snapshots",
        { bucket: "acme-snapshots", rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }] },
        itself,
        bucketOnly,
        null,
      ],
      ["comfyui:index:SnapshotBucket snapshots", {}, null, [], null],
    ]);
  });

  test("is a store without further settings", () => {
    expect(bucket.store).toEqual({ url: "s3://acme-snapshots" });
    expect(bucket.prefix).toBe("");
    expect(bucket.kmsKeyArn).toBeUndefined();
  });
});

describe("a bucket of which everything is said", () => {
  let bucket: SnapshotBucket;
  let resources: readonly Declared[];
  const place = { bucket: "acme-snapshots", region: "eu-central-1" };
  beforeAll(async () => {
    ({ bucket, resources } = await declared(
      {
        bucketName: "acme-snapshots",
        prefix: "teams/studio",
        kmsKeyArn: pulumi.output(key),
        versioning: { retention: "30d" },
        abortUploadsAfter: "3d",
        region: "eu-central-1",
        forceDestroy: true,
        tags: { team: "art" },
      },
      8,
      { protect: true },
    ));
  });
  const find = (type: string) => resources.find((one) => one.type.endsWith(`:${type}`));

  test("is in its region with all that belongs to it, and protected with it", () => {
    expect(resources.map(({ type }) => type.replace(/^.*:/, "")).sort()).toEqual([
      "Bucket",
      "BucketLifecycleConfiguration",
      "BucketOwnershipControls",
      "BucketPolicy",
      "BucketPublicAccessBlock",
      "BucketServerSideEncryptionConfiguration",
      "BucketVersioning",
      "SnapshotBucket",
    ]);
    for (const { type, inputs, protect } of resources) {
      if (!type.startsWith("comfyui:")) expect(inputs, type).toMatchObject(place);
      expect(protect, type).toBe(true);
    }
    expect(find("Bucket")?.inputs).toEqual({ ...place, forceDestroy: true, tags: { team: "art" } });
  });

  test("is encrypted with its key, through a key of the bucket's own", () => {
    expect(find("BucketServerSideEncryptionConfiguration")?.inputs).toEqual({
      ...place,
      rules: [
        {
          applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: key },
          bucketKeyEnabled: true,
        },
      ],
    });
  });

  test("keeps what is removed for the retention, and expires nothing that is current", () => {
    expect(find("BucketVersioning")?.inputs).toEqual({ ...place, versioningConfiguration: { status: "Enabled" } });
    expect(find("BucketLifecycleConfiguration")?.dependsOn).toContain("BucketVersioning snapshots");
    expect(find("BucketLifecycleConfiguration")?.inputs).toEqual({
      ...place,
      rules: [
        {
          id: "abort-incomplete-uploads",
          status: "Enabled",
          filter: { prefix: "" },
          abortIncompleteMultipartUpload: { daysAfterInitiation: 3 },
        },
        {
          id: "expire-removed-objects",
          status: "Enabled",
          filter: { prefix: "" },
          noncurrentVersionExpiration: { noncurrentDays: 30 },
          expiration: { expiredObjectDeleteMarker: true },
        },
      ],
    });
  });

  test("is a store that knows its region, and leaves the key to the bucket", async () => {
    expect(bucket.store).toEqual({ url: "s3://acme-snapshots/teams/studio", region: "eu-central-1" });
    expect(bucket.prefix).toBe("teams/studio");
    expect(bucket.kmsKeyArn && (await valueIn(bucket.kmsKeyArn))).toBe(key);
  });
});

test("the region is the stack's, unless it is said", async () => {
  pulumi.runtime.setConfig("aws:region", "eu-west-1");
  try {
    const { bucket, resources } = await declared({ bucketName: "acme-snapshots" }, 7);
    expect(bucket.store).toEqual({ url: "s3://acme-snapshots", region: "eu-west-1" });
    expect(resources.some(({ inputs }) => "region" in inputs)).toBe(false);
  } finally {
    pulumi.runtime.setAllConfig({});
  }
});

test("a snapshot in the bucket waits for all of it", async () => {
  const recording = recordDeclarations({ Bucket: { arn }, ClusterWorkstationClaim: { programs: "studio-program" } });
  const bucket = new SnapshotBucket("snapshots", { bucketName: "acme-snapshots", region: "eu-central-1" });
  const { environment } = new DevWorkstation("studio", {
    platform: kubernetes({ namespace: "art", pod: { image: "registry/comfyui:1" } }),
    environment: claim({ size: "200Gi" }),
  });
  const snapshot = new Snapshot("studio", { environment, store: bucket });
  expect(snapshot.store).toEqual({ region: "eu-central-1" });

  const { inputs, dependsOn } = await waitFor({
    what: "the snapshot to be declared",
    deadline: 20_000,
    interval: 10,
    look: () => recording.declared.find(({ type }) => type.endsWith(":ClusterSnapshot")),
  });
  expect(inputs).toMatchObject({ store: "s3://acme-snapshots", access: { region: "eu-central-1" } });
  expect(dependsOn).toEqual(
    expect.arrayContaining(["Bucket snapshots", "BucketPolicy snapshots", "ClusterWorkstation studio"]),
  );
});

describe("what cannot be a bucket for snapshots is refused before anything is declared", () => {
  const problemsOf = (args: object) => {
    const recording = recordDeclarations();
    try {
      new SnapshotBucket("snapshots", args as SnapshotBucketArgs);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidInputError);
      expect(recording.declared).toEqual([]);
      return (error as InvalidInputError).problems.map(({ path, reason }) => `${path}: ${reason}`);
    }
    return [];
  };

  test("all problems at once", () => {
    const problems = problemsOf({
      bucketName: "Acme.Snapshots",
      prefix: "/studio",
      versioning: { retention: "0d" },
      abortUploadsAfter: "12h",
      region: "",
    });
    expect(problems).toEqual([
      `SnapshotBucket "snapshots" bucketName: "Acme.Snapshots" is not the name of a bucket with TLS: 3 to 63 of a-z, 0-9 and inner hyphens, found "Acme.Snapshots"`,
      expect.stringMatching(/^SnapshotBucket "snapshots" prefix: .*its prefix has an empty segment/),
      expect.stringMatching(/^SnapshotBucket "snapshots" region: is empty/),
      expect.stringMatching(/^SnapshotBucket "snapshots" abortUploadsAfter: "12h" is no number of days such as "30d"/),
      expect.stringMatching(
        /^SnapshotBucket "snapshots" versioning.retention: "0d" is no number of days such as "30d"/,
      ),
    ]);
  });

  test.each([
    ["a retention without versions to keep", { versioning: {} }, /versioning.retention: is no number of days/],
    ["half a day, which is shorter than a run may pack", { abortUploadsAfter: "0.5d" }, /abortUploadsAfter: "0.5d"/],
    [
      "a rule of lifecycle that is not one of these",
      { versioning: { retention: "3d", expire: "1d" } },
      /versioning: is no versioning/,
    ],
    [
      "an alias of a key, which policies cannot name",
      { kmsKeyArn: "alias/studio" },
      /kmsKeyArn: "alias\/studio" is not/,
    ],
    ["a prefix that means more in a policy", { prefix: "studio*" }, /prefix: .*mean more in policies/],
    ["a name that is known later", { bucketName: pulumi.output("later") }, /bucketName: is no plain name/],
  ])("%s", (_, args, message) => {
    expect(problemsOf({ bucketName: "acme-snapshots", ...args }).join("\n")).toMatch(message);
  });
});
