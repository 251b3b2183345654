import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { loadYaml } from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { podSettings } from "../../providers/declarations/pod";
import { waitFor } from "../../runtime/waiting";
import { loadExample } from "../support/example-program";
import { recordDeclarations } from "../support/recording-mocks";

const examples = resolve(__dirname, "../../examples");
const pin = `s3://acme-comfyui-snapshots#sha256:${"a".repeat(64)}`;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "examples-on-eks-"));
  writeFileSync(join(folder, "iam_policy.json"), '{"Version":"2012-10-17","Statement":[]}');
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "example");
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const subnetIds = ["subnet-1", "subnet-2"];
const cluster = { name: "made", arn: "arn:aws:eks:eu-central-1:111122223333:cluster/made", vpcConfig: { subnetIds } };

/** The settings of a stack as its file has them, and others over it. */
function settingsOf(example: string, stack: string, more: Readonly<Record<string, unknown>>) {
  const file = readFileSync(join(examples, example, `Pulumi.${stack}.yaml`), "utf8");
  const settings = { ...loadYaml<{ config: Record<string, unknown> }>(file).config, ...more };
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
  );
}

/** Runs an example as one of its stacks, until the last component of it is declared. */
async function run(example: string, stack: string, last: string, more: Readonly<Record<string, unknown>> = {}) {
  const recording = recordDeclarations(
    {
      ClusterRelease: {
        settings: podSettings({ image: "registry/comfyui:1" }, {}),
        ...{ instance: "{}", programs: "p", grace: 60, startCount: 1 },
      },
      Deployment: { metadata: { uid: "uid" } },
      ClusterSnapshot: { reference: pin },
      StackReference: { outputs: { snapshot: pin } },
      Vpc: {
        vpcId: "vpc-1",
        privateSubnetIds: subnetIds,
        publicSubnetIds: ["subnet-3"],
        routeTables: [{ id: "rtb-1" }],
      },
      Cluster: { eksCluster: cluster, kubeconfigJson: '{"apiVersion":"v1"}' },
      Bucket: { arn: "arn:aws:s3:::acme-comfyui-snapshots" },
      Role: { arn: "arn:aws:iam::111122223333:role/a" },
    },
    { getCluster: { ...cluster, vpcConfig: { subnetIds } }, getPartition: { partition: "aws" } },
    stack,
  );
  pulumi.runtime.setAllConfig(settingsOf(example, stack, more));
  const program = (await loadExample(example, folder)) as () => Promise<Record<string, unknown>>;
  const outputs = await program();
  await waitFor({
    what: `${last} of ${example} in ${stack}`,
    deadline: 60_000,
    look: () => recording.complete.includes(last) || undefined,
    seen: () => recording.complete.join(", "),
  });
  const short = (type: string) => type.replace(/^.*[:/]/, "");
  const declared = recording.declared
    .filter(({ type }) => !type.startsWith("pulumi:providers:"))
    .map(({ type, name }) => `${short(type)} ${name}`);
  const inAws = recording.declared.filter(({ type }) => /^(aws|awsx|eks):/.test(type));
  return { ...recording, declared, inAws: inAws.map(({ type, name }) => `${short(type)} ${name}`).sort(), outputs };
}

/** Nodes, with what their role may do. */
const nodesOf = (name: string, ...more: readonly string[]) => [
  ...["LaunchTemplate", "NodeGroup", "Role"].map((type) => `${type} ${name}-nodes`),
  ...["AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodePolicy", ...more].map(
    (policy) => `RolePolicyAttachment ${name}-nodes-${policy}`,
  ),
];
const accessOf = (name: string) => [`PodIdentityAssociation ${name}`, `Role ${name}`, `RolePolicy ${name}`];
const bucket = [
  ...["Bucket", "BucketLifecycleConfiguration", "BucketOwnershipControls", "BucketPolicy", "BucketPublicAccessBlock"],
  "BucketServerSideEncryptionConfiguration",
].map((type) => `${type} snapshots`);

describe("examples/eks", () => {
  test("dev has the bucket, nodes that it shares, and a workstation on them that may pack", async () => {
    const { find, inAws, declared, outputs } = await run("eks", "dev", "DevWorkstation studio");
    expect(inAws).toEqual([...bucket, ...nodesOf("gpus"), ...accessOf("packers")].sort());
    expect(declared).not.toContain("OnlineService studio");
    expect(find("Bucket", "snapshots").inputs.bucket).toBe("acme-comfyui-snapshots");
    expect(find("Bucket", "snapshots").protect).toBe(true);
    expect(find("NodeGroup", "gpus-nodes").inputs).toMatchObject({
      clusterName: "tools",
      instanceTypes: ["g6e.2xlarge"],
      scalingConfig: { minSize: 3, maxSize: 3, desiredSize: 3 },
      labels: { "comfyui/pool": "dev" },
    });
    expect(find("PodIdentityAssociation", "packers").inputs).toMatchObject({
      ...{ clusterName: "tools", namespace: "studio-dev", serviceAccount: "studio-packers" },
    });
    const { spec } = find("Deployment", "studio-workstation").inputs as {
      spec: { template: { spec: { nodeSelector: object; serviceAccountName: string } } };
    };
    expect(spec.template.spec).toMatchObject({
      nodeSelector: { "comfyui/pool": "dev" },
      serviceAccountName: "studio-packers",
    });
    expect(outputs.bucket).toBe("s3://acme-comfyui-snapshots");
  });

  test("dev publishes what the workstation has, to a service on the same nodes", async () => {
    const more = { "comfyui:publish": true };
    const { find, inAws, declared } = await run("eks", "dev", "OnlineService studio", more);
    expect(inAws).toEqual([...bucket, ...nodesOf("gpus"), ...accessOf("packers"), ...accessOf("readers")].sort());
    expect(find("ClusterSnapshot", "studio").inputs.store).toBe("s3://acme-comfyui-snapshots");
    const release = find("ClusterRelease", "studio");
    expect(release.inputs).toMatchObject({ snapshot: pin, placement: { kind: "shared" } });
    expect(release.inputs.servicePod).toEqual({ serviceAccount: "studio-readers" });
    expect(release.propertyDependencies.snapshot).toContain("ClusterSnapshot studio");
    expect(find("Command", "studio").inputs.create).toContain("node acceptance.mjs");
    expect(declared).not.toContain("Ingress studio-entrance");
  });

  test.each([
    ["staging", ["g6.2xlarge", "g5.2xlarge"], "SPOT", 1],
    ["prod", ["g6e.2xlarge"], "ON_DEMAND", 3],
  ] as const)("%s serves what dev has published, on nodes of each release's own", async (stack, types, kind, count) => {
    const { find, inAws, declared } = await run("eks", stack, "OnlineService studio");
    expect(inAws).toEqual([...accessOf("readers"), ...nodesOf("studio")].sort());
    expect(declared).not.toContain("DevWorkstation studio");
    expect(find("NodeGroup", "studio-nodes").inputs).toMatchObject({ instanceTypes: types, capacityType: kind });
    expect(find("NodeCapacity", "studio").inputs).toMatchObject({ count });
    expect(find("ClusterRelease", "studio").inputs).toMatchObject({
      ...{
        snapshot: pin,
        store: { region: "eu-central-1" },
        placement: { kind: "perRelease", cluster: expect.any(String) },
      },
    });
    expect(declared.includes("Ingress studio-entrance")).toBe(stack === "prod");
  });

  test("prod has an internal load balancer with TLS, and a pin that needs nothing of dev", async () => {
    const earlier = `s3://acme-comfyui-snapshots#sha256:${"b".repeat(64)}`;
    const { find } = await run("eks", "prod", "OnlineService studio", {
      "comfyui:pin": earlier,
      "comfyui:devStack": "",
      "comfyui:placement": "karpenter",
      "comfyui:nodePool": "gpus",
    });
    expect(find("ClusterRelease", "studio").inputs).toMatchObject({
      ...{ snapshot: earlier, placement: { kind: "karpenter", nodePool: "gpus" } },
    });
    const { metadata } = find("Ingress", "studio-entrance").inputs as { metadata: { annotations: object } };
    expect(metadata.annotations).toMatchObject({
      "alb.ingress.kubernetes.io/scheme": "internal",
      "alb.ingress.kubernetes.io/certificate-arn": expect.stringContaining("arn:aws:acm:"),
    });
  });
});

describe("examples/eks-complete", () => {
  const gpus = nodesOf("gpus", "AmazonEKS_CNI_Policy");
  const networkAndCluster = (name: string) => [
    ...[
      `Vpc ${name}`,
      `VpcEndpoint ${name}-s3`,
      `Cluster ${name}`,
      `NodeGroup ${name}-system`,
      `Role ${name}-system`,
      `Role ${name}-disks`,
    ],
    ...["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"].map(
      (policy) => `RolePolicyAttachment ${name}-system-${policy}`,
    ),
    ...[
      `Addon ${name}-pod-identity`,
      `Addon ${name}-disks`,
      `RolePolicyAttachment ${name}-disks-AmazonEBSCSIDriverPolicy`,
    ],
  ];

  test("dev has network, cluster, what runs in it, nodes with GPUs, bucket and workstation", async () => {
    const { find, inAws, declared } = await run("eks-complete", "dev", "DevWorkstation studio");
    const name = "comfyui-dev";
    expect(inAws).toEqual([...networkAndCluster(name), ...gpus, ...bucket, ...accessOf("packers")].sort());
    expect(declared.filter((known) => known.startsWith("Release "))).toEqual([]);
    expect(find("Vpc", name).inputs).toMatchObject({
      natGateways: { strategy: "Single" },
      numberOfAvailabilityZones: 3,
    });
    expect(find("VpcEndpoint", `${name}-s3`).inputs).toEqual({
      ...{ vpcId: "vpc-1", serviceName: "com.amazonaws.eu-central-1.s3", routeTableIds: ["rtb-1"] },
    });
    expect(find("Cluster", name).inputs).toMatchObject({
      ...{ vpcId: "vpc-1", authenticationMode: "API", skipDefaultNodeGroup: true, privateSubnetIds: subnetIds },
    });
    expect(find("NodeGroup", "gpus-nodes").inputs).toMatchObject({ clusterName: "made", subnetIds });
    expect(find("DaemonSet", "gpus-device-plugin").inputs.metadata).toMatchObject({ namespace: "kube-system" });
    expect(find("StorageClass", `${name}-gp3`).inputs).toMatchObject({ provisioner: "ebs.csi.aws.com" });
    expect(find("Addon", `${name}-disks`).dependsOn).toContain(`Addon ${name}-pod-identity`);
    expect(find("Namespace", "studio").dependsOn).toContain(`Addon ${name}-pod-identity`);
    expect(find("ClusterWorkstationClaim", "studio").propertyDependencies.kubeconfig).toEqual(
      expect.arrayContaining([`Cluster ${name}`, "Namespace studio"]),
    );
  });

  test("prod serves a pin on shared nodes behind a load balancer, whose controller goes after the service", async () => {
    const { find, inAws, declared } = await run("eks-complete", "prod", "OnlineService studio", { "comfyui:pin": pin });
    const controller = "comfyui-prod-load-balancers";
    const ofController = ["PodIdentityAssociation", "Role", "RolePolicy"].map((type) => `${type} ${controller}`);
    expect(inAws).toEqual(
      [...networkAndCluster("comfyui-prod"), ...gpus, ...bucket, ...accessOf("readers"), ...ofController].sort(),
    );
    expect(declared).not.toContain("DevWorkstation studio");
    expect(find("Release", controller).inputs).toMatchObject({
      chart: "aws-load-balancer-controller",
      values: { clusterName: "made", vpcId: "vpc-1" },
    });
    expect(find("OnlineService", "studio").dependsOn).toContain(`Release ${controller}`);
    expect(find("ClusterRelease", "studio").inputs).toMatchObject({ snapshot: pin, placement: { kind: "shared" } });
    expect(declared).toContain("Ingress studio-entrance");
  });
});
