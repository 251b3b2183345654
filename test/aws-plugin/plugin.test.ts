import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { FakeAws } from "../support/fake-aws";
import { PulumiProject } from "../support/pulumi-project";
import { useStandInPlugin } from "../support/stand-in-plugin";

const program = `
const { readFileSync } = require("node:fs");
const aws = require("@pulumi/aws");
const { nodeGroup, ignoreChanges, template } = JSON.parse(readFileSync("declaration.json", "utf8"));
const cluster = aws.eks.getClusterOutput({ name: "lab" });
const nodes = new aws.ec2.LaunchTemplate("nodes", template);
const group = new aws.eks.NodeGroup("gpu", {
  clusterName: cluster.name,
  subnetIds: cluster.vpcConfig.subnetIds,
  nodeRoleArn: "arn:aws:iam::111122223333:role/nodes",
  launchTemplate: { id: nodes.id, version: "1" },
  ...nodeGroup,
}, { ignoreChanges });
module.exports = { id: group.id, status: group.status, autoScalingGroup: group.resources[0].autoscalingGroups[0].name };
`;

const nodeGroup = {
  nodeGroupName: "gpu-1",
  instanceTypes: ["g6.xlarge"],
  scalingConfig: { minSize: 0, maxSize: 2, desiredSize: 0 },
  taints: [{ key: "nvidia.com/gpu", value: "present", effect: "NO_SCHEDULE" }],
  labels: { release: "one" },
};

let aws: FakeAws;
let project: PulumiProject;

beforeEach(async () => {
  useStandInPlugin("aws");
  aws = await FakeAws.start();
  Object.assign(process.env, aws.environmentVariables);
  project = PulumiProject.create({ program, name: "aws-plugin-test" });
});

afterEach(async () => {
  await project[Symbol.asyncDispose]();
  await aws[Symbol.asyncDispose]();
});

function declare(
  change: object = {},
  { template = {}, ...more }: { template?: object; ignoreChanges?: string[] } = {},
) {
  const declaration = { nodeGroup: { ...nodeGroup, ...change }, template: { name: "nodes", ...template }, ...more };
  writeFileSync(join(project.folder, "declaration.json"), JSON.stringify(declaration));
}

const what = () => aws.groups.events.map((event) => `${event.what} ${event.of}`);

/** What the next update would do to the group: `update`, `replace`, `same`. */
async function foreseen(): Promise<string> {
  const { stdout, output } = await project.preview("--json");
  if (!stdout.startsWith("{")) throw new Error(output);
  const { steps } = JSON.parse(stdout) as { steps: readonly { op: string; urn: string }[] };
  return steps.find(({ urn }) => urn.endsWith("NodeGroup::gpu"))?.op ?? "same";
}

describe("the stand-in of the aws plugin, in the real engine", () => {
  it("creates, changes in place, replaces by name and deletes as the released plugin does", async () => {
    declare();
    await project.mustUp();
    expect(await project.outputs()).toMatchObject({ id: "lab:gpu-1", status: "ACTIVE" });
    expect(await foreseen()).toBe("same");

    declare({ labels: { release: "two" }, scalingConfig: { minSize: 0, maxSize: 3, desiredSize: 1 }, taints: [] });
    expect(await foreseen()).toBe("update");
    await project.mustUp();
    expect(aws.groups.find("lab", "gpu-1").spec).toMatchObject({
      labels: { release: "two" },
      taints: [],
      scalingConfig: { maxSize: 3, desiredSize: 1 },
    });

    for (const change of [
      { nodeGroupName: "gpu-2" },
      { instanceTypes: ["g6.2xlarge"] },
      { amiType: "AL2023_x86_64_NVIDIA" },
      { capacityType: "SPOT" },
      { diskSize: 50 },
      { nodeRoleArn: "arn:aws:iam::111122223333:role/other" },
      { subnetIds: ["subnet-c"] },
    ]) {
      declare(change);
      expect([change, await foreseen()]).toEqual([change, "replace"]);
    }

    declare({ nodeGroupName: "gpu-2" });
    await project.mustUp();
    expect(what().filter((event) => !event.startsWith("node") && !event.startsWith("group scaled"))).toEqual([
      "group created gpu-1",
      "group created gpu-2",
      "group deleting gpu-1",
      "group gone gpu-1",
    ]);
    const destroyed = await project.destroy();
    expect(destroyed.code, destroyed.output).toBe(0);
    expect(aws.groups.all()).toEqual([]);
    expect(aws.things.all()).toEqual([]);
  });

  it("fails to make a group whose name is taken, one that does not come up, and a replacement that keeps its name", async () => {
    declare();
    aws.groups.create("lab", { nodegroupName: "gpu-1", scalingConfig: nodeGroup.scalingConfig });
    expect((await project.up()).output).toContain("ResourceInUseException: NodeGroup already exists with name gpu-1");

    declare({ nodeGroupName: "gpu-2" });
    aws.groups.faults.create = true;
    const failed = await project.up();
    expect(failed.output).toContain("unexpected state 'CREATE_FAILED', wanted target 'ACTIVE'");
    expect(failed.output).toContain("Instances failed to join the kubernetes cluster");
    // It is in the state, so that it is removed.
    aws.groups.faults.create = false;
    declare({ nodeGroupName: "gpu-3" });
    await project.mustUp();
    expect(aws.groups.all().map(({ name }) => name)).toEqual(["gpu-1", "gpu-3"]);

    declare({ nodeGroupName: "gpu-3", instanceTypes: ["g6.2xlarge"] });
    expect((await project.up()).output).toContain("ResourceInUseException: NodeGroup already exists with name gpu-3");
  });

  it("sends sizes that are ignored as the state has them, whatever they have become", async () => {
    const ignoreChanges = ["scalingConfig.desiredSize"];
    declare({}, { ignoreChanges });
    await project.mustUp();
    const group = aws.groups.find("lab", "gpu-1");
    aws.groups.update(group, "ConfigUpdate", { scalingConfig: { minSize: 0, maxSize: 2, desiredSize: 2 } });
    await waitFor({ what: "two nodes", deadline: 10_000, look: async () => group.instances.size === 2 || undefined });
    expect(await foreseen()).toBe("same");

    declare({ scalingConfig: { minSize: 0, maxSize: 5, desiredSize: 0 } }, { ignoreChanges });
    await project.mustUp();
    expect(group.spec.scalingConfig).toEqual({ minSize: 0, maxSize: 5, desiredSize: 0 });
  });

  it("reads what there is: by refresh, and by an import of a group that a killed engine left while it was being made", async () => {
    declare();
    aws.groups.delays.create = 3_000;
    const run = project.start("up", "--yes", "--skip-preview");
    await waitFor({
      what: "the group to be begun",
      deadline: 60_000,
      look: async () => aws.groups.all().length > 0 || undefined,
    });
    await run.killAll();
    const group = aws.groups.find("lab", "gpu-1");
    await waitFor({
      what: "the group to be active",
      deadline: 10_000,
      look: async () => group.status === "ACTIVE" || undefined,
    });
    await project.run("cancel", "--yes");
    expect((await project.up()).output).toContain("ResourceInUseException");

    const id = ["aws:eks/nodeGroup:NodeGroup", "gpu", "lab:gpu-1"];
    const imported = await project.run(
      "import",
      ...id,
      "--yes",
      "--skip-preview",
      "--protect=false",
      "--generate-code=false",
    );
    expect(imported.code, imported.output).toBe(0);
    await project.mustUp();
    expect(what().filter((event) => event.startsWith("group created"))).toEqual(["group created gpu-1"]);

    aws.groups.update(group, "ConfigUpdate", { labels: { release: "by hand" } });
    const refreshed = await project.run("refresh", "--yes", "--skip-preview");
    expect(refreshed.code, refreshed.output).toBe(0);
    expect(await foreseen()).toBe("update");
  });
});
