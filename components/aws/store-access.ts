import type { PolicyDocument } from "./bucket-parts";

/** `"read"` is what instances need, `"pack"` what a run needs that packs: it reads as well. */
export type AccessKind = "read" | "pack";

/** A store as IAM's policies name it. */
export interface StoreResource {
  /** The bucket's ARN. */
  readonly bucketArn: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
  /** The key that encrypts what is written, if it is not S3's own. */
  readonly kmsKeyArn: string | undefined;
}

/** Refuses whatever writes an object without `If-None-Match`, as this package never does. */
export const neverReplace = "NeverReplace";

/**
 * What a reader, or a packer, may do: no more than it does (docs/s3.md). Neither can delete or replace anything of a snapshot; of what is
 * a packer's alone, the probe by which it learns whether the server honours `If-None-Match`, it removes its own.
 */
export function accessPolicy(access: AccessKind, { bucketArn, prefix, kmsKeyArn }: StoreResource): PolicyDocument {
  const below = (part: string) => `${bucketArn}/${prefix === "" ? "" : `${prefix}/`}${part}`;
  const allow = (Sid: string, Action: readonly string[], Resource: string, Condition?: object) => ({
    ...{ Sid, Effect: "Allow", Action, Resource },
    ...(Condition === undefined ? {} : { Condition }),
  });
  const packs = access === "pack";
  return {
    Version: "2012-10-17",
    Statement: [
      allow(
        "List",
        ["s3:ListBucket"],
        bucketArn,
        prefix === "" ? undefined : { StringLike: { "s3:prefix": `${prefix}/*` } },
      ),
      allow("Read", ["s3:GetObject"], below("*")),
      ...(packs
        ? [
            allow("Write", ["s3:PutObject", "s3:AbortMultipartUpload"], below("*")),
            // Of what is s3:PutObject, parts of an object cannot be conditional.
            // https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
            {
              ...{ Sid: neverReplace, Effect: "Deny", Action: ["s3:PutObject"], Resource: below("*") },
              Condition: { Null: { "s3:if-none-match": "true" }, Bool: { "s3:ObjectCreationOperation": "true" } },
            },
            allow("RemoveProbes", ["s3:DeleteObject"], below("probes/*")),
          ]
        : []),
      ...(kmsKeyArn === undefined
        ? []
        : [
            // Whoever writes in parts reads them as well.
            allow("UseKey", packs ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"], kmsKeyArn, {
              StringLike: {
                "kms:ViaService": "s3.*",
                // With a bucket's own key this is the bucket, otherwise the object. https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
                "kms:EncryptionContext:aws:s3:arn": [bucketArn, below("*")],
              },
            }),
          ]),
    ],
  };
}

/** A service account in a cluster. */
export interface Account {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/**
 * Trusts EKS, when it says that it speaks for this account of this cluster: it tells by tags of the session.
 * https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
 */
export function podIdentityTrust(cluster: string, { namespace, serviceAccount }: Account): PolicyDocument {
  return {
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Principal: { Service: "pods.eks.amazonaws.com" },
        Action: ["sts:AssumeRole", "sts:TagSession"],
        Condition: {
          StringEquals: {
            "aws:RequestTag/eks-cluster-name": cluster,
            "aws:RequestTag/kubernetes-namespace": namespace,
            "aws:RequestTag/kubernetes-service-account": serviceAccount,
          },
        },
      },
    ],
  };
}

/**
 * Trusts the cluster's own issuer of tokens, for this account's and STS's alone.
 * https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html
 */
export function webIdentityTrust(oidcProviderArn: string, { namespace, serviceAccount }: Account): PolicyDocument {
  const issuer = issuerOf(oidcProviderArn);
  return {
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Principal: { Federated: oidcProviderArn },
        Action: ["sts:AssumeRoleWithWebIdentity"],
        Condition: {
          StringEquals: {
            [`${issuer}:aud`]: "sts.amazonaws.com",
            [`${issuer}:sub`]: `system:serviceaccount:${namespace}:${serviceAccount}`,
          },
        },
      },
    ],
  };
}

/** Of `arn:aws:iam::123456789012:oidc-provider/<issuer without https://>`; throws for anything else. */
export function issuerOf(oidcProviderArn: string): string {
  const issuer = /^arn:[a-z-]+:iam::\d{12}:oidc-provider\/(.+)$/.exec(oidcProviderArn)?.[1];
  if (issuer !== undefined) return issuer;
  throw new Error(
    `${JSON.stringify(oidcProviderArn)} is not the ARN of an IAM OIDC provider, such as "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"`,
  );
}
