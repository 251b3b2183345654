import * as aws from "@pulumi/aws";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { beforeEach, describe, expect, test } from "vitest";
import { GpuNodeGroup, type GpuNodeGroupArgs } from "../../index";
import { InvalidInputError } from "../../runtime/problems";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, valueIn } from "../support/recording-mocks";

const outputs = { Role: { arn: "arn:aws:iam::123456789012:role/made", name: "made" } };
const answers = {
  getCluster: { vpcConfig: { subnetIds: ["subnet-b", "subnet-a"] } },
  getPartition: { partition: "aws-cn" },
};

let recorded: ReturnType<typeof recordDeclarations>;
beforeEach(() => {
  recorded = recordDeclarations(outputs, answers);
});

const least = { cluster: "studio", instanceTypes: ["g6e.2xlarge"], size: 2 } as const satisfies GpuNodeGroupArgs;

/** Every option at once. */
const full = {
  cluster: "studio",
  instanceTypes: ["g5.12xlarge", "g6.12xlarge"],
  capacity: "onDemand",
  capacityReservation: "cr-0123456789abcdef0",
  disk: { size: "200G", kmsKeyId: "arn:aws:kms:eu-central-1:123456789012:key/1", iops: 6000, throughput: 500 },
  ami: { type: "BOTTLEROCKET_x86_64_NVIDIA", release: "1.50.0-abcdef" },
  kubernetesVersion: "1.33",
  subnetIds: ["subnet-1", "subnet-2"],
  role: "arn:aws:iam::123456789012:role/own",
  labels: { team: "studio" },
  taints: [{ key: "team", value: "studio", effect: "NoExecute" }],
  tags: { "cost-center": "7" },
  region: "eu-central-1",
  size: { min: 1, max: 6, desired: 3 },
} as const satisfies GpuNodeGroupArgs;

/** Declares a group and gives it once everything of it is declared. */
async function made(args: GpuNodeGroupArgs, name = "gpus") {
  const { complete } = recorded;
  const group = new GpuNodeGroup(name, args);
  const nodeGroupName = await valueIn(group.nodeGroupName);
  await waitFor({
    what: "the end of what is declared",
    deadline: 20_000,
    look: () => complete.find((component) => component === `GpuNodeGroup ${name}`),
  });
  return { group, name: nodeGroupName };
}

/** The hash in the name of a group of these arguments. */
async function hashOf(args: GpuNodeGroupArgs): Promise<string> {
  const { name } = await made(args);
  return name.replace(/^gpus-/, "");
}

describe("a group with nothing but the least", () => {
  test("is declared with every argument that keeps its nodes safe", async () => {
    const { group, name } = await made(least);

    expect(recorded.find("GpuNodeGroup", "gpus").type).toBe("comfyui:index:GpuNodeGroup");
    const template = recorded.find("LaunchTemplate", "gpus-nodes");
    expect(template.parent).toBe("GpuNodeGroup gpus");
    expect(template.ignoreChanges).toEqual(["tagSpecifications"]);
    expect(template.inputs).toEqual({
      name: expect.stringMatching(/^gpus-[0-9a-f]{8}$/),
      blockDeviceMappings: [
        {
          deviceName: "/dev/xvda",
          ebs: { volumeType: "gp3", volumeSize: 100, encrypted: "true", deleteOnTermination: "true" },
        },
      ],
      metadataOptions: {
        httpEndpoint: "enabled",
        httpTokens: "required",
        httpPutResponseHopLimit: 1,
        instanceMetadataTags: "disabled",
      },
      tagSpecifications: ["instance", "volume", "network-interface"].map((resourceType) => ({
        resourceType,
        tags: { Name: "gpus" },
      })),
      tags: { Name: "gpus" },
    });
    const role = recorded.find("Role", "gpus-nodes");
    expect(role.parent).toBe("GpuNodeGroup gpus");
    expect(role.inputs).toEqual({
      description: "Nodes with GPUs of gpus",
      assumeRolePolicy:
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}',
      tags: {},
    });
    expect(attachments()).toEqual([
      ["made", "arn:aws-cn:iam::aws:policy/AmazonEKSWorkerNodePolicy"],
      ["made", "arn:aws-cn:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"],
    ]);
    const nodes = recorded.find("NodeGroup", "gpus-nodes");
    expect(nodes).toMatchObject({ parent: "GpuNodeGroup gpus", ignoreChanges: [] });
    expect(nodes.dependsOn).toEqual(
      expect.arrayContaining([
        "RolePolicyAttachment gpus-nodes-AmazonEC2ContainerRegistryPullOnly",
        "RolePolicyAttachment gpus-nodes-AmazonEKSWorkerNodePolicy",
      ]),
    );
    expect(nodes.inputs).toEqual({
      clusterName: "studio",
      nodeGroupName: name,
      nodeRoleArn: "arn:aws:iam::123456789012:role/made",
      subnetIds: ["subnet-b", "subnet-a"],
      amiType: "AL2023_x86_64_NVIDIA",
      capacityType: "ON_DEMAND",
      instanceTypes: ["g6e.2xlarge"],
      launchTemplate: { id: "LaunchTemplate-gpus-nodes-id", version: "1" },
      scalingConfig: { minSize: 2, maxSize: 2, desiredSize: 2 },
      labels: {},
      taints: [{ key: "nvidia.com/gpu", value: "present", effect: "NO_SCHEDULE" }],
      tags: {},
      updateConfig: { maxUnavailable: 1 },
    });
    expect(recorded.declared.filter(({ type }) => /:(DaemonSet|Provider)$/.test(type))).toEqual([]);

    expect([group.instanceTypes, group.gpusPerNode]).toEqual([["g6e.2xlarge"], 1]);
    expect(group.taints).toEqual([{ key: "nvidia.com/gpu", value: "present", effect: "NoSchedule" }]);
    expect(await valueIn(group.labels)).toEqual({ "eks.amazonaws.com/nodegroup": name });
    expect(await valueIn(group.roleArn)).toBe("arn:aws:iam::123456789012:role/made");
  });

  // Another hash of the same arguments would replace every group that there is.
  test("keeps its name from one version of this package to the next", async () => {
    expect((await made(least)).name).toBe("gpus-9269f04a");
    recorded = recordDeclarations(outputs, answers);
    expect((await made(full)).name).toBe("gpus-969ecd74");
  });
});

function attachments() {
  return recorded.declared
    .filter(({ type }) => type === "aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    .map(({ inputs }) => [inputs.role, inputs.policyArn]);
}

describe("a group with everything", () => {
  test("is declared with every argument that it was given", async () => {
    const { group, name } = await made(full);

    const tags = { Name: "gpus", "cost-center": "7" };
    const volume = {
      volumeType: "gp3",
      encrypted: "true",
      deleteOnTermination: "true",
      kmsKeyId: "arn:aws:kms:eu-central-1:123456789012:key/1",
    };
    expect(recorded.find("LaunchTemplate", "gpus-nodes").inputs).toEqual({
      region: "eu-central-1",
      name: expect.stringMatching(/^gpus-[0-9a-f]{8}$/),
      blockDeviceMappings: [
        { deviceName: "/dev/xvda", ebs: volume },
        // 200 GB are 186.3 GiB.
        { deviceName: "/dev/xvdb", ebs: { ...volume, volumeSize: 187, iops: 6000, throughput: 500 } },
      ],
      metadataOptions: {
        httpEndpoint: "enabled",
        httpTokens: "required",
        httpPutResponseHopLimit: 1,
        instanceMetadataTags: "disabled",
      },
      capacityReservationSpecification: {
        capacityReservationTarget: { capacityReservationId: "cr-0123456789abcdef0" },
      },
      tagSpecifications: ["instance", "volume", "network-interface"].map((resourceType) => ({ resourceType, tags })),
      tags,
    });
    const nodes = recorded.find("NodeGroup", "gpus-nodes");
    expect(nodes.ignoreChanges).toEqual(["scalingConfig.desiredSize"]);
    expect(nodes.inputs).toEqual({
      region: "eu-central-1",
      clusterName: "studio",
      nodeGroupName: name,
      nodeRoleArn: "arn:aws:iam::123456789012:role/own",
      subnetIds: ["subnet-1", "subnet-2"],
      amiType: "BOTTLEROCKET_x86_64_NVIDIA",
      releaseVersion: "1.50.0-abcdef",
      version: "1.33",
      capacityType: "ON_DEMAND",
      instanceTypes: ["g5.12xlarge", "g6.12xlarge"],
      launchTemplate: { id: "LaunchTemplate-gpus-nodes-id", version: "1" },
      scalingConfig: { minSize: 1, maxSize: 6, desiredSize: 3 },
      labels: { team: "studio" },
      taints: [
        { key: "nvidia.com/gpu", value: "present", effect: "NO_SCHEDULE" },
        { key: "team", value: "studio", effect: "NO_EXECUTE" },
      ],
      tags: { "cost-center": "7" },
      updateConfig: { maxUnavailable: 1 },
    });
    expect(recorded.declared.filter(({ type }) => type.startsWith("aws:iam/"))).toEqual([]);
    expect(group.gpusPerNode).toBe(4);
    expect(await valueIn(group.labels)).toEqual({ team: "studio", "eks.amazonaws.com/nodegroup": name });
  });

  test("on time bought in advance has its instance type in the template", async () => {
    const { cluster, size } = least;
    const capacityReservation = "cr-0123456789abcdef0";
    const subnetIds = ["subnet-1"];
    await made({
      ...{ cluster, size, subnetIds, capacityReservation },
      instanceTypes: ["p5.48xlarge"],
      capacity: "capacityBlock",
    });

    expect(recorded.find("LaunchTemplate", "gpus-nodes").inputs).toMatchObject({
      instanceType: "p5.48xlarge",
      instanceMarketOptions: { marketType: "capacity-block" },
      capacityReservationSpecification: { capacityReservationTarget: { capacityReservationId: capacityReservation } },
    });
    const { inputs } = recorded.find("NodeGroup", "gpus-nodes");
    expect([inputs.capacityType, inputs.instanceTypes]).toEqual(["CAPACITY_BLOCK", undefined]);
  });

  test.each([
    [{ instanceTypes: ["g5g.xlarge"] }, { amiType: "AL2023_ARM_64_NVIDIA", capacityType: "ON_DEMAND" }],
    [{ capacity: "spot" }, { amiType: "AL2023_x86_64_NVIDIA", capacityType: "SPOT" }],
    [{ size: { min: 0, max: 4 } }, { scalingConfig: { minSize: 0, maxSize: 4, desiredSize: 0 } }],
  ] as const)("%j", async (args, inputs) => {
    await made({ ...least, ...args });
    expect(recorded.find("NodeGroup", "gpus-nodes").inputs).toMatchObject(inputs);
  });

  test("takes the reservations of a resource group", async () => {
    const capacityReservation = "arn:aws:resource-groups:eu-central-1:123456789012:group/gpus";
    await made({ ...least, capacityReservation });
    const { capacityReservationSpecification } = recorded.find("LaunchTemplate", "gpus-nodes").inputs;
    expect(capacityReservationSpecification).toEqual({
      capacityReservationTarget: { capacityReservationResourceGroupArn: capacityReservation },
    });
  });

  test("gives its role the rights of the network plugin only where that is asked for", async () => {
    await made({ ...least, cniPolicy: true });
    expect(attachments().map(([, policy]) => policy)).toContain("arn:aws-cn:iam::aws:policy/AmazonEKS_CNI_Policy");
  });

  test("takes an instance type that the table does not have, once it is told of its GPUs", async () => {
    const args = { ...least, instanceTypes: ["g9.4xlarge"], gpusPerNode: 2 };
    const { group } = await made({ ...args, ami: { type: "AL2023_x86_64_NVIDIA" } });
    expect(group.gpusPerNode).toBe(2);
  });
});

describe("a cluster", () => {
  test("of @pulumi/aws tells its name and subnets itself, as one of @pulumi/eks does", async () => {
    const args = { roleArn: "arn:aws:iam::123456789012:role/cluster", vpcConfig: { subnetIds: ["subnet-own"] } };
    const cluster = new aws.eks.Cluster("made", { name: "in-aws", ...args });
    await made({ ...least, cluster }, "plain");
    await made({ ...least, cluster: { eksCluster: pulumi.output(cluster) } }, "component");

    for (const name of ["plain-nodes", "component-nodes"]) {
      const { inputs } = recorded.find("NodeGroup", name);
      expect([inputs.clusterName, inputs.subnetIds]).toEqual(["in-aws", ["subnet-own"]]);
    }
  });

  test("may be named by what is known later", async () => {
    await made({ ...least, cluster: pulumi.output(Promise.resolve("later")) });
    expect(recorded.find("NodeGroup", "gpus-nodes").inputs.clusterName).toBe("later");
  });
});

describe("what EKS would change under running pods", () => {
  const changes: readonly (readonly [string, Partial<GpuNodeGroupArgs>])[] = [
    ["the cluster", { cluster: "other" }],
    ["an instance type", { instanceTypes: ["g5.12xlarge"] }],
    ["the order of instance types", { instanceTypes: ["g6.12xlarge", "g5.12xlarge"] }],
    ["the reservation", { capacityReservation: "cr-1123456789abcdef0" }],
    ["the disk's size", { disk: { ...full.disk, size: "300Gi" } }],
    ["the disk's key", { disk: { ...full.disk, kmsKeyId: "arn:aws:kms:eu-central-1:123456789012:key/2" } }],
    ["the disk's operations", { disk: { ...full.disk, iops: 7000 } }],
    ["the disk's throughput", { disk: { ...full.disk, throughput: 600 } }],
    ["the AMI's type", { ami: { ...full.ami, type: "AL2023_x86_64_NVIDIA" } }],
    ["the AMI's release", { ami: { ...full.ami, release: "1.51.0-abcdef" } }],
    ["the version of Kubernetes", { kubernetesVersion: "1.34" }],
    ["the subnets", { subnetIds: ["subnet-1"] }],
    ["the role", { role: "arn:aws:iam::123456789012:role/other" }],
    ["the taints", { taints: [] }],
  ];

  test.each(changes)("makes another group: %s", async (_, change) => {
    const before = await hashOf(full);
    recorded = recordDeclarations(outputs, answers);
    const after = await hashOf({ ...full, ...change });

    expect(before).toMatch(/^[0-9a-f]{8}$/);
    expect(after).toMatch(/^[0-9a-f]{8}$/);
    expect(after).not.toBe(before);
  });

  test("makes another group: capacity", async () => {
    const before = await hashOf(least);
    recorded = recordDeclarations(outputs, answers);
    expect(await hashOf({ ...least, capacity: "spot" })).not.toBe(before);
  });

  test("makes another template where the template changes, and keeps it where it does not", async () => {
    const templateOf = async (args: GpuNodeGroupArgs) => {
      recorded = recordDeclarations(outputs, answers);
      await made(args);
      return recorded.find("LaunchTemplate", "gpus-nodes").inputs.name;
    };
    const before = await templateOf(full);

    expect(await templateOf({ ...full, ami: { ...full.ami, release: "1.51.0-abcdef" } })).toBe(before);
    expect(await templateOf({ ...full, tags: {} })).toBe(before);
    expect(await templateOf({ ...full, disk: { ...full.disk, iops: 7000 } })).not.toBe(before);
    // Names of templates are the account's, those of groups a cluster's.
    expect(await templateOf({ ...full, cluster: "other" })).not.toBe(before);
  });

  test.each([
    ["size", { size: { min: 0, max: 9 } }],
    ["labels", { labels: { team: "other" } }],
    ["tags", { tags: { "cost-center": "8" } }],
    ["the order of subnets", { subnetIds: ["subnet-2", "subnet-1"] }],
    ["how the disk's size is written", { disk: { ...full.disk, size: "187Gi" } }],
  ] as const)("does not include %s, which leaves the group what it is", async (_, change) => {
    const before = await hashOf(full);
    recorded = recordDeclarations(outputs, answers);
    expect(await hashOf({ ...full, ...change })).toBe(before);
  });
});

describe("the device plugin", () => {
  test("runs on the nodes of its group, and what is placed there comes after it", async () => {
    const provider = new k8s.Provider("cluster", { kubeconfig: "{}" });
    const { group, name } = await made({ ...least, devicePlugin: { provider } });
    await valueIn(new aws.s3.Bucket("after", { bucket: group.nodeGroupName }).id);

    const daemon = recorded.find("DaemonSet", "gpus-device-plugin");
    expect(daemon.parent).toBe("GpuNodeGroup gpus");
    expect(daemon.provider).toMatch(/::cluster::kubernetes-cluster-id$/);
    const labels = { "app.kubernetes.io/name": "nvidia-device-plugin", "app.kubernetes.io/instance": name };
    expect(daemon.inputs).toEqual({
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata: {
        name: `nvidia-device-plugin-${name}`,
        namespace: "kube-system",
        labels,
        annotations: { "pulumi.com/patchForce": "true", "pulumi.com/skipAwait": "true" },
      },
      spec: {
        selector: { matchLabels: labels },
        updateStrategy: { type: "RollingUpdate" },
        template: {
          metadata: { labels },
          spec: {
            nodeSelector: { "eks.amazonaws.com/nodegroup": name },
            tolerations: [{ operator: "Exists" }],
            priorityClassName: "system-node-critical",
            automountServiceAccountToken: false,
            containers: [
              {
                name: "nvidia-device-plugin",
                image: "nvcr.io/nvidia/k8s-device-plugin:v0.17.4",
                env: [{ name: "FAIL_ON_INIT_ERROR", value: "false" }],
                securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
                volumeMounts: [{ name: "device-plugin", mountPath: "/var/lib/kubelet/device-plugins" }],
              },
            ],
            volumes: [{ name: "device-plugin", hostPath: { path: "/var/lib/kubelet/device-plugins" } }],
          },
        },
      },
    });
    expect(recorded.find("Bucket", "after").dependsOn).toEqual(
      expect.arrayContaining(["DaemonSet gpus-device-plugin", "NodeGroup gpus-nodes"]),
    );
  });

  test("is of the version that is named", async () => {
    const provider = new k8s.Provider("cluster", { kubeconfig: "{}" });
    await made({ ...least, devicePlugin: { provider, version: "0.18.0" } });
    await valueIn(new aws.s3.Bucket("after", {}).id);
    expect(JSON.stringify(recorded.find("DaemonSet", "gpus-device-plugin").inputs)).toContain(":v0.18.0");
  });
});

describe("bad input", () => {
  function problemsOf(args: object, name = "gpus"): readonly string[] {
    try {
      new GpuNodeGroup(name, args as GpuNodeGroupArgs);
    } catch (error) {
      if (!(error instanceof InvalidInputError)) throw error;
      expect(recorded.declared).toEqual([]);
      return error.problems.map(({ path, reason }) => `${path}: ${reason}`);
    }
    throw new Error("nothing was wrong with it");
  }

  test("is told all at once, before anything is declared", () => {
    const wrong = {
      cluster: "",
      instanceTypes: ["g5.xlarge", "g5g.16xlarge", "m7i.large", "g5.xlarge"],
      capacity: "spot",
      capacityReservation: "reserved",
      gpusPerNode: 3,
      disk: { size: "10Gi", iops: 4000, throughput: 1500 },
      ami: { type: "AL2023_ARM_64_NVIDIA", release: "" },
      kubernetesVersion: "v1.33",
      subnetIds: [],
      role: "nodes",
      cniPolicy: true,
      labels: { "eks.amazonaws.com/nodegroup": "x", team: "a b" },
      taints: [{ key: "nvidia.com/gpu", effect: "NoSchedule" }],
      tags: { "aws:thing": "x" },
      region: "Frankfurt",
      size: { min: 3, max: 2, desired: 4 },
      devicePlugin: { provider: {}, version: "latest" },
      unheardOf: 1,
    };

    const problems = problemsOf(wrong, "-gpus");
    const expected = [
      'name: "-gpus" cannot name a node group: use up to 54 letters, digits and hyphens, the first no hyphen',
      'cluster: is no name of an EKS cluster, found ""',
      'capacityReservation: "reserved" is neither the id of a capacity reservation, such as "cr-0123456789abcdef0", nor the ARN of a resource group, found "reserved"',
      'disk.size: "10Gi" is less than the 20Gi of the AMI itself',
      'ami.release: is empty: leave it out for the newest, found ""',
      'kubernetesVersion: is no version of Kubernetes as EKS names them, such as "1.33", found "v1.33"',
      "subnetIds: names no subnet: leave it out for the cluster's own, found []",
      'role: is no ARN of a role, found "nodes"',
      "labels.eks.amazonaws.com/nodegroup: is a label that EKS sets",
      'labels.team: "a b" is no value of a label: up to 63 letters, digits, ".", "_" and "-", found "a b"',
      "taints[0].key: is the taint that every node has anyway",
      'tags.aws:thing: begins with "aws:", which AWS keeps for itself',
      'region: is no region, such as "eu-central-1", found "Frankfurt"',
      'devicePlugin.version: is no version of the device plugin, such as "0.17.4", found "latest"',
      'Unrecognized key: "unheardOf"',
      'instanceTypes[3]: "g5.xlarge" is named twice',
      "instanceTypes: are of several architectures, which no AMI is for: g5.xlarge has x86_64, g5g.16xlarge has arm64",
      "instanceTypes: differ in their GPUs, so that nobody could say how many instances a node takes: g5.xlarge has 1, g5g.16xlarge has 2",
      "gpusPerNode: 3 is not what g5.xlarge has, 1: leave it out for types that are known",
      "ami.type: AL2023_ARM_64_NVIDIA does not run on g5.xlarge, which is x86_64",
      'capacityReservation: reserves on-demand capacity, which "spot" does not use',
      "disk.throughput: 1500 needs disk.iops of 6000 or more",
      "cniPolicy: is for the role that is made where none is given: give it to that role",
      "size.max: 2 is less than size.min, 3",
      "size.desired: 4 is not between size.min and size.max, 3 and 2",
    ];
    const component = 'GpuNodeGroup "-gpus"';
    expect(problems).toEqual(
      expected.map((problem) => `${component}${problem.startsWith("Unrecognized") ? ":" : ""} ${problem}`),
    );
  });

  test.each([
    [{ instanceTypes: [] }, "instanceTypes: names no instance type"],
    [{ instanceTypes: ["p7.48xlarge"] }, "families with GPUs that are known: g4dn"],
    [{ instanceTypes: ["g5.xlarge", "g5.12xlarge"] }, "differ in their GPUs"],
    [{ instanceTypes: ["g5.xlarge", "g5g.xlarge"] }, "are of several architectures"],
    [{ capacity: "capacityBlock" }, "capacityReservation: is missing: name the capacity block"],
    [
      { capacity: "capacityBlock", capacityReservation: "cr-1", instanceTypes: ["g5.xlarge", "g6.xlarge"] },
      "instanceTypes: are several, and a capacity block is of one type",
    ],
    [{ disk: { size: "20Gi", iops: 20_000 } }, "disk.iops: 20000 is more than the 500 for each GiB"],
    [{ size: 0 }, "size: is less than 1"],
    [{ size: "2" }, "size: is neither a number of nodes nor { min, max }"],
    [{ size: { min: 0, max: 0 } }, "size.max: is less than 1"],
    [
      { ami: { type: "BOTTLEROCKET_x86_64_NVIDIA" }, devicePlugin: { provider: {} } },
      "devicePlugin: comes with BOTTLEROCKET_x86_64_NVIDIA: leave it out",
    ],
  ])("%j: %s", (args, reason) => {
    const problems = problemsOf({ ...least, ...args });
    expect(problems).toEqual([expect.stringContaining(reason)]);
  });

  test("is not what is known later", async () => {
    const later = <T>(value: T) => pulumi.output(Promise.resolve(value));
    await made({
      ...least,
      cluster: later("studio"),
      role: later("arn:aws:iam::123456789012:role/own"),
      subnetIds: [later("subnet-1")],
      capacityReservation: later("cr-1"),
      disk: { kmsKeyId: later("arn:aws:kms:eu-central-1:123456789012:key/1") },
    });
    expect(recorded.find("NodeGroup", "gpus-nodes").inputs.subnetIds).toEqual(["subnet-1"]);
  });
});
