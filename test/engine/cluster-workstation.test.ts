import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ApiServer } from "../support/api-server";
import { useKubernetesPlugin } from "../support/kubernetes-plugin-path";
import { PulumiProject } from "../support/pulumi-project";

// What needs an API server, and no node: test/cluster has the rest.

const program = `
const { readFileSync } = require("node:fs");
const pulumi = require("@pulumi/pulumi");
const { DevWorkstation, kubernetes, local, claim } = require("pulumi-comfyui");
const { workstations } = JSON.parse(readFileSync("declaration.json", "utf8"));
for (const { name, platform, environment, under, ...args } of workstations) {
  const parent = under && new pulumi.ComponentResource("test:index:" + under, under);
  new DevWorkstation(name, {
    platform: platform.kind === "local" ? local(platform) : kubernetes(platform),
    environment: typeof environment === "string" ? environment : claim(environment),
    ...args,
  }, { parent });
}
`;

let server: ApiServer;
let project: PulumiProject;
const folder = "/api/v1/namespaces/default";

beforeAll(async () => {
  useKubernetesPlugin();
  server = await ApiServer.start();
  await server.api.request({
    method: "POST",
    path: `${folder}/persistentvolumeclaims`,
    body: {
      metadata: { name: "given" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
    },
  });
  await server.api.request({
    method: "POST",
    path: "/apis/storage.k8s.io/v1/storageclasses",
    body: { metadata: { name: "fast" }, provisioner: "example.com/none" },
  });
  project = PulumiProject.create({ program, name: "workstations" });
});

afterAll(async () => {
  await project?.[Symbol.asyncDispose]();
  await server?.stop();
});

function declare(...workstations: readonly object[]): void {
  const platform = {
    kubeconfig: server.kubeconfig("admin"),
    namespace: "default",
    pod: { image: "registry/comfyui:1", gpus: 0 },
  };
  const all = workstations.map((more) => ({ name: "studio", platform, environment: { name: "given" }, ...more }));
  writeFileSync(join(project.folder, "declaration.json"), JSON.stringify({ workstations: all }));
}

describe("a preview", () => {
  it("tells all that is wrong with workstations in a cluster at once", async () => {
    const local = { kind: "local", directory: "platform" };
    declare(
      { name: "missing", environment: { name: "missing" } },
      { name: "slow", environment: { size: "1Gi", storageClass: "slow" } },
      { name: "unnamed", environment: { size: "1Gi" } },
      { name: "lots", environment: { size: "lots" }, pod: { storage: "much" } },
      { name: "neither", environment: {} },
      { name: "both", environment: { name: "given", size: "1Gi" } },
      { name: "folder", environment: "studio" },
      { name: "Capital", idleStop: "soon", from: "somewhere" },
      { name: "desk-workstation" },
      { name: "twice", under: "One" },
      { name: "twice", under: "Other" },
      { name: "desk", platform: local, environment: { size: "1Gi" }, idleStop: "30m", pod: { gpus: 1 } },
    );
    const { code, output } = await project.preview();
    expect(code).not.toBe(0);
    for (const problem of [
      /"missing" environment\.name: the namespace default of .* has no claim "missing"/,
      /"slow" environment\.storageClass: .* has no storage class "slow"; it has fast/,
      /"unnamed" environment\.storageClass: names none, and .* has no default one; it has fast/,
      /"lots" environment\.size: "lots" is no quantity/,
      /"lots" pod\.storage: "much" is no quantity/,
      /"neither" environment: names neither a claim that is there nor the size of one to make/,
      /"both" environment\.size: is of a claim to be made, and "given" is one that is there/,
      /"folder" environment: "studio" is a folder of this machine, which pods do not reach/,
      /"Capital" name: "Capital" cannot name it in a cluster/,
      /"Capital" idleStop: /,
      /"Capital" from: /,
      /"desk-workstation" name: .*objects of workstations end in "-workstation"/,
      /"twice" name: 2 components DevWorkstation "twice" share the platform/,
      /"desk" environment: is a claim, which only kubernetes/,
      /"desk" idleStop: is for a workstation on kubernetes/,
      /"desk" pod: is for a workstation on kubernetes/,
    ]) {
      expect(output).toMatch(problem);
    }
  });
});

describe("a workstation that is declared stopped", () => {
  it("is previewed before anything of it is there", async () => {
    declare({ state: "stopped" });
    const { code, output } = await project.preview();
    expect(code, output).toBe(0);
    expect(output).toMatch(/\+ .*ClusterWorkstation +studio +create/);
  });

  it("is made without a pod, is its stack's, and changes in place", async () => {
    declare({ state: "stopped", environmentVariables: { MARK: "here" } });
    await project.mustUp();
    const path = "/apis/apps/v1/namespaces/default/deployments/studio-workstation";
    const made = await server.api.request({ path });
    expect(made).toMatchObject({ spec: { replicas: 0 } });

    const other = await project.withStack("other").up();
    expect(other.code).not.toBe(0);
    expect(other.output).toContain(
      "workstation studio in the namespace default is owned by organization/workstations/test",
    );

    declare({ state: "stopped", environmentVariables: { MARK: "there" }, arguments: ["--fp16-vae"] });
    await project.mustUp();
    const changed = (await server.api.request({ path })) as { spec: { replicas: number } };
    expect(changed.spec.replicas).toBe(0);
    const secret = (await server.api.request({ path: `${folder}/secrets/studio-workstation` })) as {
      data: Record<string, string>;
    };
    expect(Buffer.from(secret.data.MARK ?? "", "base64").toString()).toBe("there");
    const template = (deployment: unknown) =>
      (deployment as { spec: { template: { metadata: { annotations: object } } } }).spec.template.metadata.annotations;
    // Both had it started anew, had it run.
    expect(template(changed)).not.toEqual(template(made));
    expect(Object.keys(template(changed))).toEqual(Object.keys(template(made)));
  });
});
