import * as pulumi from "@pulumi/pulumi";
import { describe, expect, test } from "vitest";
import {
  anywhere,
  fixed,
  GpuNodeGroup,
  karpenter,
  keda,
  kubernetes,
  OnlineService,
  type OnlineServiceArgs,
  perRelease,
  range,
  shared,
} from "../../index";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, valueIn } from "../support/recording-mocks";

const snapshot = `s3://bucket/prefix#sha256:${"a".repeat(64)}`;
const platform = kubernetes({ context: "prod", namespace: "team", pod: { image: "registry/comfyui:1" } });
const releaseId = "ClusterRelease-studio-id";
const place = { context: "prod", namespace: "team", service: "studio" };
const displayUrn = (type: string) =>
  `urn:pulumi:stack::project::comfyui:index:OnlineService$pulumi-nodejs:dynamic/comfyui:${type}::studio`;

type Placed = OnlineServiceArgs["placement"];

async function declare(given: Placed | (() => Placed), more: Partial<OnlineServiceArgs> = {}) {
  const recording = recordDeclarations({
    ClusterServiceClaim: { since: "then", programs: "programs" },
    ClusterRelease: {
      settings: {
        gpu: { resource: "nvidia.com/gpu", count: 1 },
        resources: {},
        imagePullSecrets: [],
        tolerations: [],
        user: 1,
      },
      ...{ revision: 1, instance: "{}", programs: "programs", grace: 1860, startCount: 4 },
    },
    NodeCapacity: { nodes: 3 },
    Deployment: { metadata: { uid: "uid-of-deployment" } },
  });
  const placement = typeof given === "function" ? given() : given;
  const placed = placement === undefined ? {} : { placement };
  const service = new OnlineService("studio", { platform, snapshot, scaling: fixed(3), ...placed, ...more });
  await valueIn(service.url);
  await waitFor({
    what: "the switch, which comes last",
    deadline: 20_000,
    look: () => recording.declared.find(({ type }) => type.endsWith(":ClusterTrafficSwitch")),
  });
  return recording;
}

const native = (recording: Awaited<ReturnType<typeof declare>>) =>
  recording.declared.filter(({ type }) => type.startsWith("aws:")).map(({ type }) => type);

describe("nodes of a release's own", () => {
  const machine = {
    cluster: "prod",
    instanceTypes: ["g5.xlarge"],
    subnetIds: ["subnet-1"],
    role: "arn:aws:iam::1:role/nodes",
  };

  test("are a group that is named by the release, made empty, and left to the EKS API in its size", async () => {
    const recording = await declare(perRelease(machine));
    const { find } = recording;
    expect(native(recording)).toEqual(["aws:ec2/launchTemplate:LaunchTemplate", "aws:eks/nodeGroup:NodeGroup"]);
    const group = find("NodeGroup", "studio-nodes");
    expect(group.inputs).toEqual({
      clusterName: "prod",
      nodeGroupName: `studio-${releaseId}`,
      nodeRoleArn: "arn:aws:iam::1:role/nodes",
      subnetIds: ["subnet-1"],
      amiType: "AL2023_x86_64_NVIDIA",
      capacityType: "ON_DEMAND",
      instanceTypes: ["g5.xlarge"],
      launchTemplate: { id: "LaunchTemplate-studio-nodes-id", version: "1" },
      scalingConfig: { minSize: 0, maxSize: 1, desiredSize: 0 },
      labels: {},
      taints: [{ key: "nvidia.com/gpu", value: "present", effect: "NO_SCHEDULE" }],
      tags: {},
      updateConfig: { maxUnavailable: 1 },
    });
    expect(group.ignoreChanges).toEqual(["scalingConfig"]);
    expect(group.protect).toBe(false);
    expect(group.dependsOn).toEqual([
      "ClusterRelease studio",
      "ClusterServiceClaim studio",
      "LaunchTemplate studio-nodes",
    ]);
  });

  test("are waited for between the release and its instances, and go after them", async () => {
    const { find } = await declare(perRelease({ ...machine, timeout: "30m" }));
    const release = find("ClusterRelease", "studio");
    expect(release.inputs.placement).toEqual({
      kind: "perRelease",
      cluster: "prod",
      machine: expect.stringMatching(/^[0-9a-f]{8}$/),
    });
    const capacity = find("NodeCapacity", "studio");
    expect(capacity.inputs).toEqual({
      ...place,
      displayUrn: displayUrn("NodeCapacity"),
      release: releaseId,
      nodeGroup: { cluster: "prod", nodeGroup: `studio-${releaseId}` },
      ...{ count: 3, least: 3, most: 3 },
      gpu: {},
      machine: { instanceTypes: ["g5.xlarge"] },
      timeout: "30m",
    });
    expect(capacity.dependsOn).toEqual(["ClusterRelease studio", "NodeGroup studio-nodes"]);
    expect(find("Deployment", "studio-instances").dependsOn).toContain("NodeCapacity studio");
    const gate = find("ClusterHealthGate", "studio");
    expect(gate.inputs.nodes).toBe(3);
    expect(gate.dependsOn).toEqual(expect.arrayContaining(["Deployment studio-instances", "NodeCapacity studio"]));
    // What the pods are told does not wait for machines.
    expect(find("ConfigMap", "studio-instance").dependsOn).not.toContain("NodeCapacity studio");
  });

  test("begin at an autoscaler's start count, within its bounds, and are not trimmed", async () => {
    const { find } = await declare(perRelease({ ...machine, instancesPerNode: 2 }), {
      scaling: range({ min: 2, max: 8, by: keda() }),
      pod: { gpus: 2, gpuResource: "nvidia.com/mig-1g.5gb" },
    });
    expect(find("NodeCapacity", "studio").inputs).toMatchObject({
      ...{ count: 4, least: 2, most: 8 },
      gpu: { resource: "nvidia.com/mig-1g.5gb", count: 2 },
      machine: { instanceTypes: ["g5.xlarge"], instancesPerNode: 2 },
    });
    expect(find("ClusterHealthGate", "studio").inputs).not.toHaveProperty("nodes");
  });

  test("are in the region and of the profile of the stack", async () => {
    pulumi.runtime.setAllConfig({ "aws:region": "eu-central-1", "aws:profile": "prod" });
    const { find } = await declare(perRelease(machine));
    pulumi.runtime.setAllConfig({});
    const where = { cluster: "prod", region: "eu-central-1", profile: "prod" };
    expect(find("NodeCapacity", "studio").inputs.nodeGroup).toEqual({ ...where, nodeGroup: `studio-${releaseId}` });
    expect(find("ClusterRelease", "studio").inputs.placement).toMatchObject(where);
  });

  test("of other machines are another release, and of other labels, tags and times are not", async () => {
    const machineOf = async (more: object) =>
      (await declare(perRelease({ ...machine, ...more }))).find("ClusterRelease", "studio").inputs.placement;
    const plain = await machineOf({});
    expect(await machineOf({ labels: { a: "b" }, tags: { c: "d" }, timeout: "5m", instancesPerNode: 1 })).toEqual(
      plain,
    );
    expect(await machineOf({ instanceTypes: ["g5.2xlarge"] })).not.toEqual(plain);
    expect(await machineOf({ ami: { release: "1.33.5-20251112" } })).not.toEqual(plain);
    expect(await machineOf({ disk: { size: "300Gi" } })).not.toEqual(plain);
  });
});

describe("a placement that makes nothing in AWS", () => {
  test.each([
    ["a shared group of a name", shared({ name: "gpus" }), { kind: "shared", nodeGroup: "gpus" }],
    [
      "a shared group that another resource makes",
      shared({ nodeGroupName: pulumi.output("made") }),
      { kind: "shared", nodeGroup: "made" },
    ],
    ["a group alone", { name: pulumi.output("alone") }, { kind: "shared", nodeGroup: "alone" }],
    ["Karpenter", karpenter({ nodePool: "gpu" }), { kind: "karpenter", nodePool: "gpu" }],
    ["anywhere", anywhere(), undefined],
    ["none", undefined, undefined],
  ])("is told to the release: %s", async (_, placement, told) => {
    const recording = await declare(placement);
    expect(recording.find("ClusterRelease", "studio").inputs.placement).toEqual(told);
    expect(native(recording)).toEqual([]);
    expect(recording.declared.map(({ type }) => type)).not.toContainEqual(expect.stringContaining("NodeCapacity"));
  });
});

test("a GpuNodeGroup alone is shared: its name, which changes with its machines, is part of the release", async () => {
  const placedOn = async (instanceTypes: readonly string[]) => {
    const args = {
      cluster: "prod",
      instanceTypes,
      size: 1,
      subnetIds: ["subnet-1"],
      role: "arn:aws:iam::123456789012:role/n",
    };
    const recording = await declare(() => new GpuNodeGroup("gpus", args));
    const { nodeGroupName } = recording.find("NodeGroup", "gpus-nodes").inputs;
    expect(recording.find("ClusterRelease", "studio").inputs.placement).toEqual({
      kind: "shared",
      nodeGroup: nodeGroupName,
    });
    expect(recording.find("ClusterRelease", "studio").dependsOn).toContain("NodeGroup gpus-nodes");
    const { declarations } = recording.find("ClusterServiceClaim", "studio").inputs;
    expect((declarations as readonly { readonly arguments: object }[]).at(-1)?.arguments).toMatchObject({
      placement: { kind: "shared", gpusPerNode: 1, taints: [{ key: "nvidia.com/gpu" }] },
    });
    return nodeGroupName;
  };
  expect(await placedOn(["g5.xlarge"])).not.toBe(await placedOn(["g5.2xlarge"]));
});

test("what is declared names clusters and groups, and holds no resources", async () => {
  const declared = async (placement: OnlineServiceArgs["placement"]) => {
    const { find } = await declare(placement);
    const all = find("ClusterServiceClaim", "studio").inputs.declarations as readonly {
      readonly arguments: { readonly placement?: unknown };
    }[];
    return all.at(-1)?.arguments.placement;
  };
  const cluster = pulumi.output("made-here");
  expect(await declared(perRelease({ cluster, instanceTypes: ["g5.xlarge"], subnetIds: ["s"], role: "r" }))).toEqual({
    kind: "perRelease",
    cluster: expect.stringContaining("known-later"),
    ...{ instanceTypes: ["g5.xlarge"], subnetIds: ["s"], role: "r" },
  });
  expect(await declared(shared({ name: "gpus" }))).toEqual({ kind: "shared", nodeGroup: "gpus" });
});
