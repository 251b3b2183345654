import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as aws from "@pulumi/aws";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { roleFor } from "./role";

/** What the controller may do: from its own project, of the version that runs. README.md says where it is. */
const policyFile = join(__dirname, "iam_policy.json");
const namespace = "kube-system";
const serviceAccount = "aws-load-balancer-controller";

/** The AWS load balancer controller, which makes a load balancer of the service's entrance. */
export function loadBalancerController(
  name: string,
  { clusterName, vpcId }: { readonly clusterName: pulumi.Output<string>; readonly vpcId: pulumi.Output<string> },
  opts: pulumi.CustomResourceOptions,
): pulumi.Resource {
  if (!existsSync(policyFile)) {
    throw new pulumi.RunError(
      `comfyui:host needs the load balancer controller, and it its policy: README.md says how to fetch ${policyFile}`,
    );
  }
  const role = roleFor(`${name}-load-balancers`, "pods.eks.amazonaws.com", []);
  const policy = new aws.iam.RolePolicy(`${name}-load-balancers`, {
    role: role.name,
    policy: readFileSync(policyFile, "utf8"),
  });
  const identity = new aws.eks.PodIdentityAssociation(
    `${name}-load-balancers`,
    { clusterName, namespace, serviceAccount, roleArn: role.arn },
    { dependsOn: [policy] },
  );
  return new k8s.helm.v3.Release(
    `${name}-load-balancers`,
    {
      name: serviceAccount,
      namespace,
      chart: serviceAccount,
      repositoryOpts: { repo: "https://aws.github.io/eks-charts" },
      values: { clusterName, vpcId, serviceAccount: { name: serviceAccount } },
    },
    { ...opts, dependsOn: [identity, ...([opts.dependsOn ?? []].flat() as pulumi.Resource[])] },
  );
}
