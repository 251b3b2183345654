import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { ApiLink, ApiServer } from "../support/api-server";
import { useKubernetesPlugin } from "../support/kubernetes-plugin-path";
import { PulumiProject } from "../support/pulumi-project";

/*
 * A program whose cluster is a resource of its own, so that the kubeconfig is an output. A dynamic resource stands for the cluster, whose
 * API server is a real one; `generation` is something of it that changes in place.
 */
const program = `
const { readFileSync } = require("node:fs");
const pulumi = require("@pulumi/pulumi");
const { claim, DevWorkstation, fixed, kubernetes, OnlineService, Snapshot } = require("pulumi-comfyui");
const { path, generation, published, asPath } = JSON.parse(readFileSync("declaration.json", "utf8"));
const outsOf = ({ path, ...rest }) => {
  const kubeconfig = process.getBuiltinModule("node:fs").readFileSync(path, "utf8");
  return { path, ...rest, kubeconfig };
};
const provider = {
  create: async (inputs) => ({ id: "cluster", outs: outsOf(inputs) }),
  update: async (id, olds, inputs) => ({ outs: outsOf(inputs) }),
};
class Cluster extends pulumi.dynamic.Resource {
  constructor() {
    super(provider, "cluster", { path, generation, kubeconfig: undefined });
  }
}
const cluster = new Cluster();
const kubeconfig = asPath ? cluster.path : pulumi.secret(cluster.kubeconfig);
const platform = kubernetes({ kubeconfig, namespace: "studio", pod: { image: "registry/comfyui:1", gpus: 0 } });
const { environment } = new DevWorkstation("studio", { platform, environment: claim({ name: "given" }), state: "stopped" });
if (published) {
  const snapshot = new Snapshot("studio", { environment, store: "s3://bucket/studio" });
  new OnlineService("studio", { platform, scaling: fixed(2), snapshot });
}
`;

let server: ApiServer;
let link: ApiLink;
let project: PulumiProject;

beforeAll(async () => {
  useKubernetesPlugin();
  server = await ApiServer.start();
  link = await ApiLink.to(server.port);
  await server.api.request({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name: "studio" } } });
  await server.api.request({
    method: "POST",
    path: "/api/v1/namespaces/studio/persistentvolumeclaims",
    body: {
      metadata: { name: "given" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
    },
  });
  // Where a program finds a cluster that says nothing of one: it must not.
  vi.stubEnv("KUBECONFIG", server.kubeconfig("admin", link.port));
  project = PulumiProject.create({ program, name: "own-cluster" });
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await project?.[Symbol.asyncDispose]();
  link?.close();
  await server?.stop();
});

function declare(declaration: object): void {
  const path = server.kubeconfig("admin", link.port);
  writeFileSync(join(project.folder, "declaration.json"), JSON.stringify({ path, generation: 1, ...declaration }));
}

/** Runs a preview while the cluster cannot be reached. */
async function previewAlone(): Promise<string> {
  link.cut();
  try {
    const { code, output } = await project.preview("--diff");
    expect(code, output).toBe(0);
    return output;
  } finally {
    link.open();
  }
}

/** Nobody tells of Deployments on an API server alone, so that a workstation is looked at again; all else is as it was. */
const nothingNew = expect.objectContaining({ output: expect.stringMatching(/\n +~ 1 to update\n +13 unchanged\n/) });

test("is previewed with all that is to be in its cluster before there is one", async () => {
  declare({ published: true });
  const output = await previewAlone();
  expect(link.refused).toBe(0);
  for (const type of ["ClusterWorkstation", "ClusterSnapshot", "ClusterTrafficSwitch"]) {
    expect(output).toMatch(new RegExp(`\\+ pulumi-nodejs:dynamic/comfyui:${type}`));
  }
  expect(output).toContain("its cluster is not known yet: what is packed is known once it is");
});

test("is told of mistakes of its own, before there is a cluster to ask", async () => {
  declare({ published: true });
  const source = program.replace("fixed(2)", "fixed(0)").replace('image: "registry/comfyui:1", ', "");
  project.writeProgram(source);
  const { code, output } = await project.preview();
  project.writeProgram(program);
  expect(code).not.toBe(0);
  expect(output).toMatch(/OnlineService "studio" scaling\.count: is less than 1/);
  expect(output).toMatch(/OnlineService "studio" pod\.image: names no image/);
  expect(output).not.toContain("kubeconfig");
});

test("goes up, with the kubeconfig a secret of the state, and a second up changes nothing", async () => {
  declare({});
  await project.mustUp();
  const workstation = await server.api.request({
    path: "/apis/apps/v1/namespaces/studio/deployments/studio-workstation",
  });
  expect(workstation).toMatchObject({ spec: { replicas: 0 } });
  const { resources } = (await project.state()).deployment;
  const inCluster = resources.filter(({ type }) => type.includes("ClusterWorkstation"));
  expect(inCluster).toHaveLength(2);
  for (const { inputs, outputs } of inCluster) {
    for (const kubeconfig of [inputs?.kubeconfig, outputs?.kubeconfig]) {
      expect(kubeconfig).toMatchObject({ ciphertext: expect.any(String) });
    }
  }
  expect(await project.preview()).toEqual(nothingNew);
});

test("is previewed without asking its cluster while that changes, and then goes on there", async () => {
  declare({ generation: 2, published: true });
  expect(await previewAlone()).toMatch(/~ pulumi-nodejs:dynamic:Resource: \(update\)/);
  declare({ generation: 2 });
  await project.mustUp();
  expect(await project.preview()).toEqual(nothingNew);
});

test("may have its path as an output, which the state shows", async () => {
  declare({ generation: 2, asPath: true });
  await project.mustUp();
  const { resources } = (await project.state()).deployment;
  const [record] = resources.filter(({ type }) => type.endsWith(":ClusterWorkstationClaim"));
  expect(record?.inputs?.kubeconfig).toBe(server.kubeconfig("admin", link.port));
});
