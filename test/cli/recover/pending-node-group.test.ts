import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { symlinkSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { packageRoot } from "../../../runtime/package-root";
import { makeStack, pathWithPulumi } from "../../support/cli-pulumi";
import { runCli } from "../../support/cli-run";
import { pending, stackState } from "../../support/cli-stack-state";
import { writeFiles } from "../../support/cli-surroundings";
import { FakeAws } from "../../support/fake-aws";

const plugin = () =>
  execFileSync(process.execPath, [resolve(packageRoot(), "scripts/setup/stand-in-plugin.mjs"), "aws"], {
    encoding: "utf8",
  }).trim();

let account: FakeAws;
beforeEach(async () => {
  account = await FakeAws.start();
  // The command runs in this process.
  for (const [key, value] of Object.entries(account.environmentVariables)) vi.stubEnv(key, value);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await account[Symbol.asyncDispose]();
});

const name = "studio-r2-abcde";
const inputs = {
  clusterName: "lab",
  nodeGroupName: name,
  nodeRoleArn: "arn:aws:iam::123456789012:role/nodes",
  subnetIds: ["subnet-a"],
  scalingConfig: { minSize: 0, maxSize: 1, desiredSize: 0 },
};

/** What the state has when a run was killed while it created a node group. */
function killedStack() {
  const provider = "urn:pulumi:dev::studio::pulumi:providers:aws::default";
  const type = "aws:eks/nodeGroup:NodeGroup";
  const group = {
    ...{ urn: `urn:pulumi:dev::studio::${type}::studio-nodes`, type, custom: true, inputs, outputs: {} },
    provider: `${provider}::0f0f0f0f-0000-4000-8000-000000000000`,
  };
  const aws = {
    ...{ urn: provider, type: "pulumi:providers:aws", custom: true, id: "0f0f0f0f-0000-4000-8000-000000000000" },
    ...{ inputs: { version: "7.48.0" }, outputs: { version: "7.48.0" } },
  };
  const path = [plugin(), pathWithPulumi, join(packageRoot(), "node_modules", "@pulumi", "pulumi")].join(delimiter);
  const state = stackState({ resources: [aws], pending: [pending("creating", group)] });
  // The engine refuses a state whose mark is not made of its version.
  const version = "v3.259.0";
  const manifest = { ...state.deployment.manifest, version, magic: createHash("sha256").update(version).digest("hex") };
  const stack = makeStack(path, { ...state, deployment: { ...state.deployment, manifest } });
  writeFiles(stack.project, { "package.json": "{}" });
  symlinkSync(join(packageRoot(), "node_modules"), join(stack.project, "node_modules"));
  const environment = { ...stack.environment, ...account.environmentVariables };
  return { stack, context: { cwd: stack.project, environment }, urn: group.urn };
}

const make = async () => {
  const response = await fetch(`${account.url}/clusters/lab/node-groups`, {
    method: "POST",
    body: JSON.stringify({ ...inputs, nodegroupName: name, nodeRole: inputs.nodeRoleArn, subnets: inputs.subnetIds }),
  });
  expect(response.status).toBe(200);
};

describe.skipIf(pathWithPulumi === null)("a node group that a killed run was creating", () => {
  it("goes into the state when it exists, so that its name is in nobody's way", async () => {
    const { stack, context, urn } = killedStack();
    await make();

    const dry = await runCli(["recover", "--dry-run", "--json"], context);
    const real = await runCli(["recover", "--yes", "--json"], context);

    expect([dry.code, real.code]).toEqual([3, 0]);
    expect(real.json).toMatchObject({
      pendingOperations: [{ operation: "creating", urn, mayBeLost: false, cleared: true }],
    });
    const { deployment } = stack.exportState();
    expect(deployment.pending_operations ?? []).toEqual([]);
    expect(deployment.resources).toContainEqual(
      expect.objectContaining({ urn, id: `lab:${name}`, outputs: expect.objectContaining({ status: "ACTIVE" }) }),
    );
  });

  it("is cleared when it was never made", async () => {
    const { stack, context } = killedStack();

    const { code } = await runCli(["recover", "--yes", "--json"], context);

    expect(code).toBe(0);
    const { deployment } = stack.exportState();
    expect(deployment.pending_operations ?? []).toEqual([]);
    expect(JSON.stringify(deployment.resources)).not.toContain("NodeGroup");
  });

  it("stays pending when AWS cannot be asked", async () => {
    const { stack, context, urn } = killedStack();
    await make();
    account.groups.faults.throttled = 1_000;

    const { code, stderr } = await runCli(["recover", "--yes"], context);

    expect(code).toBe(3);
    expect(stderr).toContain("whether it exists could not be found out");
    expect(stack.exportState().deployment.pending_operations).toContainEqual(
      expect.objectContaining({ resource: expect.objectContaining({ urn }) }),
    );
  });
});
