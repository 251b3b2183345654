import { describe, expect, test } from "vitest";
import { claim, DevWorkstation, kubernetes, local, Snapshot } from "../../index";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, secret, valueIn } from "../support/recording-mocks";

const reference = `s3://bucket/studio#sha256:${"b".repeat(64)}`;
const recording = recordDeclarations({
  ClusterSnapshot: { reference },
  ClusterWorkstationClaim: { programs: "studio-workstation-program-0123456789" },
});

const owner = { organization: "organization", project: "project", stack: "stack" };
const displayUrn = (name: string) =>
  `urn:pulumi:stack::project::comfyui:index:Snapshot$pulumi-nodejs:dynamic/comfyui:ClusterSnapshot::${name}`;

function find(name: string) {
  return waitFor({
    what: `ClusterSnapshot ${name} to be declared`,
    deadline: 10_000,
    interval: 10,
    look: () => recording.declared.find((one) => one.type.endsWith(":ClusterSnapshot") && one.name === name),
  });
}

const toleration = { key: "gpu", operator: "Exists", effect: "NoSchedule" } as const;
const pod = {
  image: "registry/comfyui:1",
  agentImage: "registry/node:24",
  gpus: 2,
  nodeSelector: { pool: "gpu" },
  tolerations: [toleration],
  models: { claim: "models", folder: "v1" },
  serviceAccount: "publisher",
  storeCredentials: "store",
  imagePullSecrets: ["registry"],
  priorityClass: "low",
  runtimeClass: "nvidia",
  user: 1234,
};
/** What a packer has of that pod: neither its image nor its GPUs. */
const packer = {
  agentImage: "registry/node:24",
  nodeSelector: { pool: "gpu" },
  tolerations: [toleration],
  models: { claim: "models", folder: "v1" },
  serviceAccount: "publisher",
  storeCredentials: "store",
  imagePullSecrets: ["registry"],
  priorityClass: "low",
  user: 1234,
};

describe("a snapshot of a claim declares", () => {
  test("one resource with the workstation's claim, place and pod, which waits for the workstation", async () => {
    const workstation = new DevWorkstation("studio", {
      platform: kubernetes({ kubeconfig: "kubeconfig", context: "dev", namespace: "art", pod }),
      environment: claim({ size: "200Gi", storageClass: "fast", layout: { dependencies: "venv311" } }),
      state: "stopped",
      pod: { user: 4321 },
    });
    const snapshot = new Snapshot("studio", {
      environment: workstation.environment,
      store: { url: "s3://bucket/studio", region: "eu-central-1" },
      models: "referenced",
      publish: "whenStopped",
      packing: { timeout: "2h", resources: { limits: { memory: "8Gi" } } },
    });
    expect(await valueIn(snapshot.reference)).toBe(reference);
    expect(snapshot.store).toEqual({ region: "eu-central-1" });

    const { inputs, parent, dependsOn, protect } = await find("studio");
    const { declarations, ...rest } = inputs;
    expect(parent).toBe("Snapshot studio");
    expect(protect).toBe(false);
    expect(dependsOn).toContain("ClusterWorkstation studio");
    expect(rest).toEqual({
      kubeconfig: "kubeconfig",
      context: "dev",
      namespace: "art",
      workstation: { name: "studio", state: "stopped" },
      pod: { ...packer, user: 4321 },
      claim: "studio-environment",
      layout: { dependencies: "venv311" },
      store: "s3://bucket/studio",
      access: { region: "eu-central-1" },
      models: "referenced",
      publish: "whenStopped",
      packing: { timeout: "2h", resources: { limits: { memory: "8Gi" } } },
      owner,
      displayUrn: displayUrn("studio"),
    });
    expect(declarations).toContainEqual({
      kind: "Snapshot",
      name: "studio",
      arguments: {
        environment: { kind: "claim", name: "studio-environment", layout: { dependencies: "venv311" } },
        workstation: "studio",
        store: "s3://bucket/studio",
        access: { region: "eu-central-1" },
        models: "referenced",
        publish: "whenStopped",
        packing: { timeout: "2h", resources: { limits: { memory: "8Gi" } } },
      },
    });
  });

  test("the claim that a workstation was given", async () => {
    const workstation = new DevWorkstation("desk", {
      platform: kubernetes({ namespace: "art", pod }),
      environment: claim({ name: "shared" }),
    });
    new Snapshot("desk", { environment: workstation.environment, store: "s3://bucket/desk" });
    const { inputs } = await find("desk");
    expect(inputs).toMatchObject({ claim: "shared", workstation: { name: "desk", state: "running" }, pod: packer });
    expect(inputs).not.toHaveProperty("packing");
  });

  test("where a claim is that no workstation of the program works in, a kubeconfig's content as a secret", async () => {
    const kubeconfig = "apiVersion: v1\nkind: Config\n";
    new Snapshot("elsewhere", {
      environment: claim({ name: "shared" }),
      platform: kubernetes({ kubeconfig, namespace: "art", pod }),
      store: "s3://bucket/elsewhere",
    });
    const { inputs, dependsOn } = await find("elsewhere");
    const { declarations, ...rest } = inputs;
    expect(dependsOn).toEqual([]);
    expect(rest).toEqual({
      kubeconfig: secret(kubeconfig),
      namespace: "art",
      pod: packer,
      claim: "shared",
      store: "s3://bucket/elsewhere",
      owner,
      displayUrn: displayUrn("elsewhere"),
    });
    expect(JSON.stringify(declarations)).not.toContain("kind: Config");
  });

  test("nothing of a cluster where the environment is a folder", async () => {
    const workstation = new DevWorkstation("local", {
      platform: local({ directory: ".comfyui" }),
      environment: "env",
    });
    new Snapshot("local", { environment: workstation.environment, store: "store" });
    await waitFor({
      what: "the snapshot to be declared",
      deadline: 10_000,
      interval: 10,
      look: () => recording.declared.find((one) => one.type.endsWith(":Snapshot") && one.name === "local"),
    });
    const types = recording.declared.filter(({ name }) => name === "local").map(({ type }) => type);
    expect(types.filter((type) => type.includes("Cluster"))).toEqual([]);
  });
});
