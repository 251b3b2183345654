import type * as pulumi from "@pulumi/pulumi";
import type { EksCluster } from "./cluster";

interface AccountArgs {
  /** Namespace of the service account, which must exist. */
  readonly namespace: string;
  /** Name of the service account. One account has one role: give readers and packers an account each. */
  readonly serviceAccount: string;
}

/** Arguments of {@link podIdentity}. */
export interface PodIdentityArgs extends AccountArgs {
  /** `aws.eks.Cluster`, the `Cluster` of `@pulumi/eks`, or the name of a cluster that there is. */
  readonly cluster: EksCluster;
}

/** See {@link podIdentity}. */
export interface PodIdentity extends PodIdentityArgs {
  readonly kind: "podIdentity";
}

/** Arguments of {@link irsa}. */
export interface IrsaArgs extends AccountArgs {
  /** ARN of the IAM OIDC provider of the cluster. */
  readonly oidcProviderArn: pulumi.Input<string>;
}

/** See {@link irsa}. */
export interface Irsa extends IrsaArgs {
  readonly kind: "irsa";
}

/**
 * By EKS Pod Identity: the cluster's add-on `eks-pod-identity-agent` hands the role's credentials to pods of the account. Nothing is written
 * to the service account. Pods that are there already get them when they are made anew.
 */
export function podIdentity(args: PodIdentityArgs): PodIdentity {
  return { kind: "podIdentity", ...args };
}

/** By IAM roles for service accounts: the account is annotated with the role, and its pods exchange a token for credentials at AWS STS. */
export function irsa(args: IrsaArgs): Irsa {
  return { kind: "irsa", ...args };
}
