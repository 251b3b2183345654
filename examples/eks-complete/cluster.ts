import * as aws from "@pulumi/aws";
import * as awsx from "@pulumi/awsx";
import * as eks from "@pulumi/eks";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { loadBalancerController } from "./load-balancer-controller";
import { roleFor } from "./role";

export interface Cluster {
  readonly cluster: eks.Cluster;
  readonly provider: k8s.Provider;
  /** For the nodes: what they reach goes out through the NAT gateway. */
  readonly privateSubnetIds: pulumi.Output<string[]>;
  /** What a service needs in the cluster, and what has to stay until it is gone. */
  readonly ready: readonly pulumi.Resource[];
}

export interface ClusterArgs {
  readonly region: string;
  readonly withLoadBalancers: boolean;
}

/** Network, cluster, the nodes of its own programs, and what those are. */
export function cluster(name: string, { region, withLoadBalancers }: ClusterArgs): Cluster {
  const network = new awsx.ec2.Vpc(name, {
    numberOfAvailabilityZones: 3,
    natGateways: { strategy: "Single" },
    enableDnsHostnames: true,
    subnetStrategy: "Auto",
    // By these the load balancer controller finds its subnets.
    subnetSpecs: [
      { type: "Private", tags: { "kubernetes.io/role/internal-elb": "1" } },
      { type: "Public", tags: { "kubernetes.io/role/elb": "1" } },
    ],
  });
  const { privateSubnetIds, publicSubnetIds, vpcId } = network;
  // Environments are large: by it they come from S3 without the NAT gateway, which costs by the byte.
  new aws.ec2.VpcEndpoint(`${name}-s3`, {
    vpcId,
    serviceName: `com.amazonaws.${region}.s3`,
    routeTableIds: network.routeTables.apply((tables) => pulumi.all(tables.map(({ id }) => id))),
  });
  const made = new eks.Cluster(name, {
    vpcId,
    privateSubnetIds,
    publicSubnetIds,
    authenticationMode: eks.AuthenticationMode.Api,
    // All nodes are managed ones, in the security group that EKS makes.
    skipDefaultNodeGroup: true,
    skipDefaultSecurityGroups: true,
    vpcCniOptions: { enableNetworkPolicy: true },
  });
  const provider = new k8s.Provider(name, { kubeconfig: made.kubeconfigJson, enableServerSideApply: true });
  const clusterName = made.eksCluster.name;
  const nodes = systemNodes(name, clusterName, privateSubnetIds);

  // Its programs find a node only now.
  const onNodes = { dependsOn: [made, nodes] };
  const identities = new aws.eks.Addon(
    `${name}-pod-identity`,
    { clusterName, addonName: "eks-pod-identity-agent" },
    onNodes,
  );
  const afterIdentities = { dependsOn: [identities] };
  const disks = new aws.eks.Addon(
    `${name}-disks`,
    {
      clusterName,
      addonName: "aws-ebs-csi-driver",
      podIdentityAssociations: [{ roleArn: diskRole(name).arn, serviceAccount: "ebs-csi-controller-sa" }],
    },
    afterIdentities,
  );
  const storage = new k8s.storage.v1.StorageClass(
    `${name}-gp3`,
    {
      metadata: { name: "gp3", annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
      provisioner: "ebs.csi.aws.com",
      parameters: { type: "gp3", encrypted: "true" },
      volumeBindingMode: "WaitForFirstConsumer",
      allowVolumeExpansion: true,
    },
    { provider, dependsOn: [disks] },
  );
  const controller = withLoadBalancers
    ? [loadBalancerController(name, { clusterName, vpcId }, { provider, dependsOn: [identities] })]
    : [];
  return { cluster: made, provider, privateSubnetIds, ready: [identities, storage, ...controller] };
}

/** Two small machines for what runs in every cluster: DNS, controllers, gateways. */
function systemNodes(name: string, clusterName: pulumi.Output<string>, subnetIds: pulumi.Output<string[]>) {
  const role = roleFor(`${name}-system`, "ec2.amazonaws.com", [
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKS_CNI_Policy",
  ]);
  return new aws.eks.NodeGroup(
    `${name}-system`,
    {
      clusterName,
      nodeRoleArn: role.arn,
      subnetIds,
      amiType: "AL2023_x86_64_STANDARD",
      instanceTypes: ["t3.large"],
      scalingConfig: { minSize: 2, maxSize: 2, desiredSize: 2 },
    },
    { dependsOn: role.policies },
  );
}

function diskRole(name: string) {
  return roleFor(`${name}-disks`, "pods.eks.amazonaws.com", ["service-role/AmazonEBSCSIDriverPolicy"]);
}
