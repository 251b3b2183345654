import type * as awsSdk from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { namespaceSchema, objectNameSchema } from "../../providers/declarations/pod";
import { parse } from "../../providers/parsing";
import { InvalidInputError, type Problem } from "../../runtime/problems";
import { parseS3Location } from "../../runtime/store";
import { declare } from "../declarations";
import { type KubernetesPlatform, publicPlatform } from "../platforms";
import { plugin } from "../platforms/kubernetes/metadata";
import { nativeProvider } from "../platforms/kubernetes/place";
import { k8s } from "../platforms/kubernetes/sdk";
import { sdk } from "../sdk";
import { ifKnown, keyArnSchema, prefixSchema } from "./bucket-parts";
import { clusterName } from "./cluster";
import { aws } from "./sdk";
import type { Irsa, PodIdentity } from "./service-account-identity";
import { SnapshotBucket } from "./snapshot-bucket";
import {
  type AccessKind,
  accessPolicy,
  issuerOf,
  podIdentityTrust,
  type StoreResource,
  webIdentityTrust,
} from "./store-access";

/** A store in a bucket that is made elsewhere. */
export interface StorePlace {
  /** `s3://bucket/prefix` */
  readonly url: string;
  /** The key that encrypts what is written. @default S3's own */
  readonly kmsKeyArn?: pulumi.Input<string>;
}

/** Arguments of {@link SnapshotAccess}. Everything but the identity's namespace and account changes in place. */
export interface SnapshotAccessArgs {
  /** The `SnapshotBucket`, or where the store is. */
  readonly bucket: SnapshotBucket | StorePlace;
  /** `"read"`: what instances need, and a workstation that is filled from a snapshot. `"pack"`: what packs as well; it cannot delete. */
  readonly access: AccessKind;
  /** Access ends here: nothing outside of it can be read, listed or written. @default the store's own prefix */
  readonly prefix?: string;
  /** Which service account it is for, and how its pods get the credentials: `podIdentity({ … })` or `irsa({ … })`. */
  readonly identity: PodIdentity | Irsa;
  /**
   * Makes the service account, too, in this platform's cluster and namespace. Preview then does not miss it.
   * @default it is there already, or made by others; with `irsa` they annotate it with `annotations`
   */
  readonly platform?: KubernetesPlatform;
  readonly tags?: Readonly<Record<string, pulumi.Input<string>>>;
}

/**
 * Lets the agents of one service account's pods read snapshots below one prefix, or pack to it. Only the agent's container gets the
 * credentials: ComfyUI's, in which plugins run, is left out by an annotation of the pods.
 *
 *     const access = new SnapshotAccess("readers", {
 *       bucket, access: "read", platform,
 *       identity: podIdentity({ cluster, namespace: "studio", serviceAccount: "comfyui-reader" }),
 *     });
 *     new OnlineService("studio", { snapshot, platform, scaling, pod: { serviceAccount: access.serviceAccount } }, { dependsOn: access });
 */
export class SnapshotAccess extends sdk.ComponentResource {
  readonly role: awsSdk.iam.Role;
  /** What `pod.serviceAccount` takes. Name this component in `dependsOn` as well: pods that start earlier have no credentials. */
  readonly serviceAccount: string;
  /** What the service account has to be annotated with: nothing for Pod Identity. */
  readonly annotations: pulumi.Output<Readonly<Record<string, string>>>;

  /** Throws `InvalidInputError` with everything that is wrong with the arguments. */
  constructor(name: string, args: SnapshotAccessArgs, opts?: pulumi.ComponentResourceOptions) {
    const problems = problemsOf(args);
    if (problems.length > 0) throw new InvalidInputError(problems.map(at(name)));
    super("comfyui:index:SnapshotAccess", name, {}, opts);
    const child = { parent: this };
    const { identity, platform } = args;
    const tags = args.tags === undefined ? {} : { tags: { ...args.tags } };

    this.role = roleOf(name, identity, tags, child);
    const allowed = policy(name, args, this.role, child);
    if (identity.kind === "podIdentity")
      association(name, identity, this.role, tags, { ...child, dependsOn: [allowed] });
    this.serviceAccount = identity.serviceAccount;
    this.annotations = annotationsOf(identity, this.role);
    if (platform !== undefined)
      serviceAccount(name, identity, this.annotations, platform, { ...child, dependsOn: [allowed] });
    this.registerOutputs({ serviceAccount: this.serviceAccount, roleArn: this.role.arn });
  }
}

const needs = "SnapshotAccess";
type Options = pulumi.CustomResourceOptions;
type Tags = { readonly tags?: Record<string, pulumi.Input<string>> };

const at =
  (name: string) =>
  ({ path, reason }: Problem) => ({ path: `SnapshotAccess ${JSON.stringify(name)} ${path}`, reason });

const accountSchema = z.object({
  kind: z.enum(["podIdentity", "irsa"], "is neither podIdentity({ … }) nor irsa({ … })"),
  namespace: namespaceSchema,
  serviceAccount: objectNameSchema,
});

const argsSchema = z.object({
  access: z.enum(["read", "pack"], 'is neither "read" nor "pack"'),
  prefix: prefixSchema.optional(),
  bucket: z.object({ kmsKeyArn: keyArnSchema.optional() }),
  identity: accountSchema,
});

function problemsOf({ bucket, access, prefix, identity, platform }: SnapshotAccessArgs): readonly Problem[] {
  const kmsKeyArn = ifKnown(bucket.kmsKeyArn);
  const problems = [...parse(argsSchema, { access, prefix, bucket: { kmsKeyArn }, identity }).problems];
  if (!(bucket instanceof SnapshotBucket)) problems.push(...thrown("bucket.url", () => parseS3Location(bucket.url)));
  const provider = identity?.kind === "irsa" ? identity.oidcProviderArn : undefined;
  if (typeof provider === "string") problems.push(...thrown("identity.oidcProviderArn", () => issuerOf(provider)));
  if (platform !== undefined && platform.namespace !== identity?.namespace) {
    const reason = `${JSON.stringify(platform.namespace)} is not the namespace of the service account, ${JSON.stringify(identity?.namespace)}: use one`;
    problems.push({ path: "platform.namespace", reason });
  }
  return problems;
}

function thrown(path: string, check: () => unknown): readonly Problem[] {
  try {
    check();
    return [];
  } catch (error) {
    return [{ path, reason: (error as Error).message }];
  }
}

function roleOf(name: string, identity: PodIdentity | Irsa, tags: Tags, opts: Options): awsSdk.iam.Role {
  const trust =
    identity.kind === "podIdentity"
      ? clusterName(identity.cluster).apply((cluster) => podIdentityTrust(cluster, identity))
      : sdk.output(identity.oidcProviderArn).apply((provider) => webIdentityTrust(provider, identity));
  const { namespace, serviceAccount } = identity;
  return new (aws(needs).iam.Role)(
    name,
    {
      description: `Snapshots of ComfyUI, for the service account ${namespace}/${serviceAccount}`,
      assumeRolePolicy: trust.apply((document) => JSON.stringify(document)),
      ...tags,
    },
    opts,
  );
}

function policy(name: string, args: SnapshotAccessArgs, role: awsSdk.iam.Role, opts: Options): pulumi.Resource {
  return new (aws(needs).iam.RolePolicy)(
    name,
    {
      role: role.name,
      policy: resourceOf(args, opts).apply((resource) => JSON.stringify(accessPolicy(args.access, resource))),
    },
    opts,
  );
}

function resourceOf({ bucket, prefix }: SnapshotAccessArgs, opts: Options): pulumi.Output<StoreResource> {
  if (bucket instanceof SnapshotBucket) {
    return sdk.all([bucket.bucket.arn, bucket.kmsKeyArn]).apply(([bucketArn, kmsKeyArn]) => ({
      ...{ bucketArn, kmsKeyArn },
      prefix: prefix ?? bucket.prefix,
    }));
  }
  const location = parseS3Location(bucket.url);
  const { partition } = aws(needs).getPartitionOutput({}, opts);
  return sdk.all([partition, bucket.kmsKeyArn]).apply(([known, kmsKeyArn]) => ({
    bucketArn: `arn:${known}:s3:::${location.bucket}`,
    kmsKeyArn,
    prefix: prefix ?? location.prefix,
  }));
}

function association(name: string, identity: PodIdentity, role: awsSdk.iam.Role, tags: Tags, opts: Options): void {
  const { cluster, namespace, serviceAccount } = identity;
  new (aws(needs).eks.PodIdentityAssociation)(
    name,
    { clusterName: clusterName(cluster), namespace, serviceAccount, roleArn: role.arn, ...tags },
    opts,
  );
}

function annotationsOf(
  identity: PodIdentity | Irsa,
  role: awsSdk.iam.Role,
): pulumi.Output<Readonly<Record<string, string>>> {
  return role.arn.apply(
    (arn): Readonly<Record<string, string>> => (identity.kind === "irsa" ? { "eks.amazonaws.com/role-arn": arn } : {}),
  );
}

function serviceAccount(
  name: string,
  { namespace, serviceAccount }: PodIdentity | Irsa,
  annotations: pulumi.Output<Readonly<Record<string, string>>>,
  platform: KubernetesPlatform,
  opts: Options,
): void {
  // Read by the checks of whatever uses it.
  void declare("SnapshotAccess", name, { platform: publicPlatform(platform), serviceAccount });
  const provider = nativeProvider(`${name}-cluster`, platform, opts);
  new (k8s().core.v1.ServiceAccount)(
    name,
    {
      metadata: {
        name: serviceAccount,
        namespace,
        annotations: annotations.apply((own) => ({ ...plugin.adopt, ...own })),
      },
      automountServiceAccountToken: false,
    },
    { ...opts, provider },
  );
}
