import { AutoScaling } from "@aws-sdk/client-auto-scaling";
import { EKS } from "@aws-sdk/client-eks";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { FakeAws } from "../support/fake-aws";

/** Milliseconds after which no test looks. */
const forever = 3_600_000;

let aws: FakeAws;
let eks: EKS;
let autoScaling: AutoScaling;

beforeEach(async () => {
  aws = await FakeAws.start({ delays: { create: 1, update: 1, launch: 1, delete: 1 } });
  const settings = {
    region: "eu-west-1",
    endpoint: aws.url,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
    maxAttempts: 1,
  };
  eks = new EKS(settings);
  autoScaling = new AutoScaling(settings);
});

afterEach(async () => {
  await aws[Symbol.asyncDispose]();
});

const id = { clusterName: "lab", nodegroupName: "gpu" };
const spec = {
  ...id,
  nodeRole: "arn:aws:iam::111122223333:role/nodes",
  subnets: ["subnet-a"],
  scalingConfig: { minSize: 0, maxSize: 3, desiredSize: 0 },
};

const describeGroup = async () => (await eks.describeNodegroup(id)).nodegroup;

function groupThat(what: string, holds: (group: Awaited<ReturnType<typeof describeGroup>>) => boolean) {
  return waitFor({
    what,
    deadline: 10_000,
    interval: 5,
    look: async () => {
      const group = await describeGroup();
      return holds(group) ? group : undefined;
    },
  });
}

async function instances() {
  const [name = ""] = (await describeGroup())?.resources?.autoScalingGroups?.map((group) => group.name ?? "") ?? [];
  const { AutoScalingGroups = [] } = await autoScaling.describeAutoScalingGroups({ AutoScalingGroupNames: [name] });
  return AutoScalingGroups[0]?.Instances ?? [];
}

async function withNodes(count: number) {
  await eks.createNodegroup(spec);
  await groupThat("to be made", (group) => group?.status === "ACTIVE");
  await eks.updateNodegroupConfig({ ...id, scalingConfig: { minSize: 0, maxSize: 3, desiredSize: count } });
  await waitFor({
    what: "instances",
    deadline: 10_000,
    interval: 5,
    look: async () =>
      (await instances()).filter(({ LifecycleState }) => LifecycleState === "InService").length === count || undefined,
  });
  await groupThat("to be updated", (group) => group?.status === "ACTIVE");
}

describe("the fake of EKS and Auto Scaling, asked by the AWS SDK", () => {
  it("tells of its cluster, and of no other", async () => {
    expect((await eks.describeCluster({ name: "lab" })).cluster?.resourcesVpcConfig?.subnetIds).toEqual([
      "subnet-a",
      "subnet-b",
    ]);
    await expect(eks.describeCluster({ name: "other" })).rejects.toMatchObject({ name: "ResourceNotFoundException" });
    await expect(describeGroup()).rejects.toMatchObject({ name: "ResourceNotFoundException" });
  });

  it("makes a group in a while, whose name is taken at once", async () => {
    aws.groups.delays.create = forever;
    const { nodegroup } = await eks.createNodegroup(spec);

    expect(nodegroup).toMatchObject({ status: "CREATING", nodegroupName: "gpu", scalingConfig: { desiredSize: 0 } });
    await expect(eks.createNodegroup(spec)).rejects.toMatchObject({ name: "ResourceInUseException" });
    await expect(eks.updateNodegroupConfig({ ...id, scalingConfig: { desiredSize: 1 } })).rejects.toMatchObject({
      name: "ResourceInUseException",
      message: expect.stringContaining("not in Active State"),
    });
    await expect(eks.deleteNodegroup(id)).rejects.toMatchObject({ name: "ResourceInUseException" });
  });

  it("launches and ends instances as its size changes, and refuses sizes that EKS refuses", async () => {
    await withNodes(2);
    const update = { ...id, scalingConfig: { minSize: 0, maxSize: 3, desiredSize: 4 } };
    await expect(eks.updateNodegroupConfig(update)).rejects.toMatchObject({ name: "InvalidParameterException" });

    await eks.updateNodegroupConfig({ ...id, scalingConfig: { minSize: 0, maxSize: 3, desiredSize: 0 } });
    await waitFor({
      what: "no instance",
      deadline: 10_000,
      interval: 5,
      look: async () => (await instances()).length === 0 || undefined,
    });
    expect(aws.groups.events.map(({ what, detail }) => (what === "group scaled" ? detail : what))).toEqual([
      "group created",
      "0 to 2",
      "node joined",
      "node joined",
      "2 to 0",
      "node gone",
      "node gone",
    ]);
  });

  it("ends the instance that is named, and wants one less", async () => {
    await withNodes(2);
    const [first, second] = await instances();
    await autoScaling.terminateInstanceInAutoScalingGroup({
      InstanceId: second?.InstanceId,
      ShouldDecrementDesiredCapacity: true,
    });

    const group = await groupThat("to want one", (seen) => seen?.scalingConfig?.desiredSize === 1);
    expect(group?.scalingConfig).toEqual({ minSize: 0, maxSize: 3, desiredSize: 1 });
    await waitFor({
      what: "one instance",
      deadline: 10_000,
      interval: 5,
      look: async () => (await instances()).length === 1 || undefined,
    });
    expect((await instances()).map(({ InstanceId }) => InstanceId)).toEqual([first?.InstanceId]);
  });

  it("says in EC2's words why there are no instances, and has them once there is room; a group that lacked them stays degraded meanwhile", async () => {
    await withNodes(0);
    aws.groups.faults.launch = "capacity";
    await eks.updateNodegroupConfig({ ...id, scalingConfig: { minSize: 0, maxSize: 3, desiredSize: 1 } });

    const group = await groupThat("to be degraded", (seen) => seen?.status === "DEGRADED");
    expect(group?.health?.issues?.[0]).toMatchObject({
      code: "AsgInstanceLaunchFailures",
      message: expect.stringContaining("do not have sufficient g6.xlarge capacity"),
    });
    const AutoScalingGroupName = group?.resources?.autoScalingGroups?.[0]?.name;
    const { Activities } = await autoScaling.describeScalingActivities({ AutoScalingGroupName, MaxRecords: 5 });
    expect(Activities?.[0]).toMatchObject({
      StatusCode: "Failed",
      StatusMessage: expect.stringContaining("do not have sufficient g6.xlarge capacity"),
    });

    delete aws.groups.faults.launch;
    await groupThat("to be active", (seen) => seen?.status === "ACTIVE" && seen.health?.issues?.length === 0);
    expect(await instances()).toHaveLength(1);
  });

  it("changes one thing at a time", async () => {
    await withNodes(1);
    aws.groups.delays.update = forever;
    await eks.updateNodegroupConfig({ ...id, labels: { addOrUpdateLabels: { a: "b" } } });

    expect(await describeGroup()).toMatchObject({ status: "UPDATING", labels: { a: "b" } });
    await expect(eks.deleteNodegroup(id)).rejects.toMatchObject({ name: "ResourceInUseException" });
    await expect(eks.updateNodegroupConfig({ ...id, labels: {} })).rejects.toMatchObject({
      name: "ResourceInUseException",
    });
  });

  it("deletes a group once its instances have gone", async () => {
    await withNodes(1);
    expect((await eks.deleteNodegroup(id)).nodegroup?.status).toBe("DELETING");
    await waitFor({
      what: "the group to be gone",
      deadline: 10_000,
      interval: 5,
      look: () =>
        eks.describeNodegroup(id).then(
          () => undefined,
          ({ name }) => name === "ResourceNotFoundException" || undefined,
        ),
    });
    expect(aws.groups.events.slice(-3).map(({ what }) => what)).toEqual(["group deleting", "node gone", "group gone"]);
  });

  it("fails to make groups and throttles when it is told to", async () => {
    aws.groups.faults.create = true;
    await eks.createNodegroup(spec);
    const group = await groupThat("to have failed", (seen) => seen?.status === "CREATE_FAILED");
    expect(group?.health?.issues).toHaveLength(1);

    aws.groups.faults.throttled = 2;
    await expect(describeGroup()).rejects.toMatchObject({ name: "ThrottlingException" });
    await expect(autoScaling.describeAutoScalingGroups({})).rejects.toMatchObject({ name: "Throttling" });
    await expect(describeGroup()).resolves.toMatchObject({ status: "CREATE_FAILED" });
  });
});
