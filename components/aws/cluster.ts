import type * as awsSdk from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import { sdk } from "../sdk";
import { aws } from "./sdk";

/** An EKS cluster: `aws.eks.Cluster`, the `Cluster` of `@pulumi/eks`, or the name of one that there is. */
export type EksCluster =
  | awsSdk.eks.Cluster
  | { readonly eksCluster: pulumi.Output<awsSdk.eks.Cluster> }
  | pulumi.Input<string>;

/** What of a cluster its nodes need. */
export interface ClusterFacts {
  readonly name: pulumi.Output<string>;
  /** Those of the cluster itself. */
  readonly subnetIds: pulumi.Output<readonly string[]>;
}

/** Asks AWS where only the name is known. */
export function clusterFacts(
  cluster: EksCluster,
  region: pulumi.Input<string> | undefined,
  opts: pulumi.InvokeOptions,
): ClusterFacts {
  if (isName(cluster)) {
    const name = sdk.output(cluster);
    const found = aws("an EKS cluster").eks.getClusterOutput(
      { name, ...(region === undefined ? {} : { region }) },
      opts,
    );
    return { name, subnetIds: found.vpcConfig.subnetIds };
  }
  const resource: pulumi.Output<awsSdk.eks.Cluster> =
    "eksCluster" in cluster ? cluster.eksCluster : sdk.output(cluster);
  return { name: resource.name, subnetIds: resource.vpcConfig.subnetIds };
}

/** Asks nobody. */
export function clusterName(cluster: EksCluster): pulumi.Output<string> {
  if (isName(cluster)) return sdk.output(cluster);
  return "eksCluster" in cluster ? cluster.eksCluster.name : cluster.name;
}

export function isName(cluster: EksCluster): cluster is pulumi.Input<string> {
  return typeof cluster === "string" || cluster instanceof Promise || sdk.Output.isInstance(cluster);
}
