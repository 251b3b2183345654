import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePort } from "../support/free-port";
import { declare, kubernetesProject } from "../support/kubernetes-stack";
import { type PulumiProject, stepsOf } from "../support/pulumi-project";

let project: PulumiProject;

beforeEach(() => {
  project = kubernetesProject();
});

afterEach(() => project[Symbol.asyncDispose]());

async function kubeconfig(): Promise<string> {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "gone", cluster: { server: `https://127.0.0.1:${await freePort()}` } }],
    users: [{ name: "gone", user: { token: "none" } }],
    contexts: [{ name: "gone", context: { cluster: "gone", user: "gone" } }],
    "current-context": "gone",
  });
}

const resources = [{ type: "core.v1.ConfigMap", name: "settings", args: { metadata: { name: "settings" }, data: {} } }];

describe("a cluster that cannot be reached", () => {
  it("lets a preview show what would be made, and fails what would make it", async () => {
    declare(project, { kubeconfig: await kubeconfig() }, resources);

    const preview = await project.preview();
    const run = await project.up();

    expect(preview.code, preview.output).toBe(0);
    expect(preview.output).toContain("3 to create");
    expect(run.code).not.toBe(0);
    expect(run.output).toContain(
      "configured Kubernetes cluster is unreachable: unable to load schema information from the API server",
    );
    expect(stepsOf(run)).not.toMatchObject({ create: 3 });
  });

  it("is named with its reason when the kubeconfig has no such context", async () => {
    declare(project, { kubeconfig: await kubeconfig(), context: "other" }, resources);

    const run = await project.up();

    expect(run.code).not.toBe(0);
    expect(run.output).toContain('context "other" does not exist');
  });
});
