import { describe, expect, test } from "vitest";
import { accessPolicy } from "../../components/aws/store-access";
import { irsa, kubernetes, podIdentity, SnapshotAccess, type SnapshotAccessArgs, SnapshotBucket } from "../../index";
import type { InvalidInputError } from "../../runtime/problems";
import { waitFor } from "../../runtime/waiting";
import { type Declared, recordDeclarations, valueIn } from "../support/recording-mocks";

const bucketArn = "arn:aws:s3:::acme-snapshots";
const roleArn = "arn:aws:iam::123456789012:role/readers";
const key = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000";
const issuer = "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE";
const oidcProviderArn = `arn:aws:iam::123456789012:oidc-provider/${issuer}`;
const account = { namespace: "studio", serviceAccount: "comfyui-reader" };

const outputs = {
  Bucket: { arn: bucketArn },
  Role: { arn: roleArn, name: "readers-1234567" },
};

const itself = "SnapshotAccess readers";

/** Waits for so many resources, with the component itself. */
async function declared(args: () => SnapshotAccessArgs, count: number) {
  const recording = recordDeclarations(outputs, { getPartition: { partition: "aws-us-gov" } });
  const access = new SnapshotAccess("readers", args());
  const resources = await waitFor({
    what: `${count} resources to be declared`,
    deadline: 20_000,
    interval: 10,
    look: () => {
      const own = recording.declared.filter(({ name }) => name.startsWith("readers"));
      return own.length >= count && recording.complete.includes(itself) ? own : undefined;
    },
  });
  return { access, resources };
}

const shown = ({ type, name, inputs, parent, dependsOn }: Declared) => [`${type} ${name}`, inputs, parent, dependsOn];
const description = "Snapshots of ComfyUI, for the service account studio/comfyui-reader";

describe("what a policy allows", () => {
  const neverReplace = (objects: string) => ({
    Sid: "NeverReplace",
    Effect: "Deny",
    Action: ["s3:PutObject"],
    Resource: `${bucketArn}/${objects}`,
    Condition: { Null: { "s3:if-none-match": "true" }, Bool: { "s3:ObjectCreationOperation": "true" } },
  });
  const store = { bucketArn, prefix: "studio", kmsKeyArn: undefined };

  test("to a reader: to list and read what is below the prefix", () => {
    expect(accessPolicy("read", store)).toEqual({
      Version: "2012-10-17",
      Statement: [
        {
          Sid: "List",
          Effect: "Allow",
          Action: ["s3:ListBucket"],
          Resource: bucketArn,
          Condition: { StringLike: { "s3:prefix": "studio/*" } },
        },
        { Sid: "Read", Effect: "Allow", Action: ["s3:GetObject"], Resource: `${bucketArn}/studio/*` },
      ],
    });
  });

  test("to a packer: also to write there what is not there yet, and to remove nothing but probes", () => {
    const read = accessPolicy("read", store).Statement;
    expect(accessPolicy("pack", store)).toEqual({
      Version: "2012-10-17",
      Statement: [
        ...read,
        {
          Sid: "Write",
          Effect: "Allow",
          Action: ["s3:PutObject", "s3:AbortMultipartUpload"],
          Resource: `${bucketArn}/studio/*`,
        },
        neverReplace("studio/*"),
        { Sid: "RemoveProbes", Effect: "Allow", Action: ["s3:DeleteObject"], Resource: `${bucketArn}/studio/probes/*` },
      ],
    });
  });

  test("of a store that is a whole bucket: that bucket", () => {
    const { Statement } = accessPolicy("pack", { ...store, prefix: "" });
    expect(Statement).toEqual([
      { Sid: "List", Effect: "Allow", Action: ["s3:ListBucket"], Resource: bucketArn },
      { Sid: "Read", Effect: "Allow", Action: ["s3:GetObject"], Resource: `${bucketArn}/*` },
      {
        Sid: "Write",
        Effect: "Allow",
        Action: ["s3:PutObject", "s3:AbortMultipartUpload"],
        Resource: `${bucketArn}/*`,
      },
      neverReplace("*"),
      { Sid: "RemoveProbes", Effect: "Allow", Action: ["s3:DeleteObject"], Resource: `${bucketArn}/probes/*` },
    ]);
  });

  test.each([
    ["read", ["kms:Decrypt"]],
    ["pack", ["kms:Decrypt", "kms:GenerateDataKey"]],
  ] as const)("of a key, to %s: through S3 and for this store alone", (access, actions) => {
    expect(accessPolicy(access, { ...store, kmsKeyArn: key }).Statement.at(-1)).toEqual({
      Sid: "UseKey",
      Effect: "Allow",
      Action: actions,
      Resource: key,
      Condition: {
        StringLike: {
          "kms:ViaService": "s3.*",
          "kms:EncryptionContext:aws:s3:arn": [bucketArn, `${bucketArn}/studio/*`],
        },
      },
    });
  });
});

test("by Pod Identity: a role that EKS may take on for this account of this cluster, and their association", async () => {
  const { access, resources } = await declared(
    () => ({
      bucket: new SnapshotBucket("snapshots", { bucketName: "acme-snapshots", prefix: "studio", kmsKeyArn: key }),
      access: "read",
      identity: podIdentity({ cluster: "prod", ...account }),
      tags: { team: "art" },
    }),
    4,
  );

  const trust = {
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Principal: { Service: "pods.eks.amazonaws.com" },
        Action: ["sts:AssumeRole", "sts:TagSession"],
        Condition: {
          StringEquals: {
            "aws:RequestTag/eks-cluster-name": "prod",
            "aws:RequestTag/kubernetes-namespace": "studio",
            "aws:RequestTag/kubernetes-service-account": "comfyui-reader",
          },
        },
      },
    ],
  };
  const policy = accessPolicy("read", { bucketArn, prefix: "studio", kmsKeyArn: key });
  expect(resources.map(shown).sort()).toEqual([
    [
      "aws:eks/podIdentityAssociation:PodIdentityAssociation readers",
      { clusterName: "prod", ...account, roleArn, tags: { team: "art" } },
      itself,
      ["Role readers", "RolePolicy readers"],
    ],
    [
      "aws:iam/role:Role readers",
      { description, assumeRolePolicy: JSON.stringify(trust), tags: { team: "art" } },
      itself,
      [],
    ],
    [
      "aws:iam/rolePolicy:RolePolicy readers",
      { role: "readers-1234567", policy: JSON.stringify(policy) },
      itself,
      ["Bucket snapshots", "Role readers"],
    ],
    ["comfyui:index:SnapshotAccess readers", {}, null, []],
  ]);
  expect(access.serviceAccount).toBe("comfyui-reader");
  expect(await valueIn(access.annotations)).toEqual({});
});

test("by IRSA: a role for this account's tokens for STS, and the annotation that names it", async () => {
  const { access, resources } = await declared(
    () => ({
      bucket: { url: "s3://acme-snapshots/studio", kmsKeyArn: key },
      access: "pack",
      prefix: "studio/nightly",
      identity: irsa({ oidcProviderArn, ...account }),
    }),
    3,
  );

  const trust = {
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Principal: { Federated: oidcProviderArn },
        Action: ["sts:AssumeRoleWithWebIdentity"],
        Condition: {
          StringEquals: {
            [`${issuer}:aud`]: "sts.amazonaws.com",
            [`${issuer}:sub`]: "system:serviceaccount:studio:comfyui-reader",
          },
        },
      },
    ],
  };
  const policy = accessPolicy("pack", {
    bucketArn: "arn:aws-us-gov:s3:::acme-snapshots",
    prefix: "studio/nightly",
    kmsKeyArn: key,
  });
  expect(resources.map(shown).sort()).toEqual([
    ["aws:iam/role:Role readers", { description, assumeRolePolicy: JSON.stringify(trust) }, itself, []],
    [
      "aws:iam/rolePolicy:RolePolicy readers",
      { role: "readers-1234567", policy: JSON.stringify(policy) },
      itself,
      ["Role readers"],
    ],
    ["comfyui:index:SnapshotAccess readers", {}, null, []],
  ]);
  expect(await valueIn(access.annotations)).toEqual({ "eks.amazonaws.com/role-arn": roleArn });
});

test("with a platform, the service account as well, annotated, once the role may do something", async () => {
  const { resources } = await declared(
    () => ({
      bucket: { url: "s3://acme-snapshots" },
      access: "read",
      identity: irsa({ oidcProviderArn, ...account }),
      platform: kubernetes({ context: "prod", namespace: "studio" }),
    }),
    5,
  );

  const made = resources.find(({ type }) => type === "kubernetes:core/v1:ServiceAccount");
  expect(made?.inputs).toEqual({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: {
      name: "comfyui-reader",
      namespace: "studio",
      annotations: { "pulumi.com/patchForce": "true", "eks.amazonaws.com/role-arn": roleArn },
    },
    automountServiceAccountToken: false,
  });
  expect(made?.parent).toBe(itself);
  expect(made?.provider).toContain("pulumi:providers:kubernetes::readers-cluster::");
  expect(made?.dependsOn).toEqual(["Role readers", "RolePolicy readers"]);
});

test("what cannot be given access is refused before anything is declared, all problems at once", () => {
  const recording = recordDeclarations(outputs);
  const wrong = {
    bucket: { url: "acme-snapshots", kmsKeyArn: "alias/studio" },
    access: "write",
    prefix: "/",
    identity: { kind: "none", namespace: "Studio", serviceAccount: "Reader" },
    platform: kubernetes({ namespace: "art" }),
  } as unknown as SnapshotAccessArgs;
  let problems: readonly string[] = [];
  try {
    new SnapshotAccess("readers", wrong);
  } catch (error) {
    problems = (error as InvalidInputError).problems.map(({ path }) => path);
  }
  expect(problems).toEqual(
    [
      "access",
      "prefix",
      "bucket.kmsKeyArn",
      "identity.kind",
      "identity.namespace",
      "identity.serviceAccount",
      "bucket.url",
      "platform.namespace",
    ].map((path) => `SnapshotAccess "readers" ${path}`),
  );
  expect(recording.declared).toEqual([]);
});

test("what is no OIDC provider of IAM is refused: its issuer is read from its name", () => {
  recordDeclarations(outputs);
  const identity = irsa({ oidcProviderArn: `https://${issuer}`, ...account });
  expect(
    () => new SnapshotAccess("readers", { bucket: { url: "s3://acme-snapshots" }, access: "read", identity }),
  ).toThrow(
    `SnapshotAccess "readers" identity.oidcProviderArn: "https://${issuer}" is not the ARN of an IAM OIDC provider, such as "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"`,
  );
});
