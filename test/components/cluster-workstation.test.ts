import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { claim, DevWorkstation, kubernetes } from "../../index";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, secret, valueIn } from "../support/recording-mocks";

const recording = recordDeclarations({
  ClusterWorkstationClaim: { since: "2026-01-01T00:00:00Z", programs: "studio-workstation-program-0123456789" },
});

const owner = { organization: "organization", project: "project", stack: "stack" };
const component = "DevWorkstation studio";
const platform = kubernetes({
  context: "prod",
  namespace: "studios",
  pod: {
    image: "registry/comfyui:1",
    storage: "80Gi",
    nodeCache: { path: "/var/lib/comfyui-restores" },
    nodeSelector: { pool: "gpu" },
    models: { claim: "models", folder: "shared" },
    storeCredentials: "store",
  },
});
const place = { context: "prod", namespace: "studios", workstation: "studio" };

const displayUrn = (type: string) =>
  `urn:pulumi:stack::project::comfyui:index:DevWorkstation$pulumi-nodejs:dynamic/comfyui:${type}::studio`;

const labels = {
  "app.kubernetes.io/name": "comfyui",
  "app.kubernetes.io/instance": "studio",
  "app.kubernetes.io/component": "workstation",
  "app.kubernetes.io/managed-by": "pulumi-comfyui",
};
const metadata = (name: string, annotations: object = {}) => ({
  name,
  namespace: "studios",
  labels,
  annotations: {
    "pulumi-comfyui/owner": "organization/project/stack",
    "pulumi.com/patchForce": "true",
    ...annotations,
  },
});
const noWait = { "pulumi.com/skipAwait": "true" };

async function declared(type: string, name: string) {
  return waitFor({
    what: `${type} ${name} to be declared`,
    deadline: 10_000,
    interval: 10,
    look: () => recording.declared.find((one) => one.type.endsWith(`:${type}`) && one.name === name),
  });
}

const settings = {
  workstation: "studio",
  owner: "organization/project/stack",
  layout: {
    comfyui: "ComfyUI",
    plugins: "ComfyUI/custom_nodes",
    dependencies: "venv311",
    cache: ".cache",
    models: "ComfyUI/models",
  },
  models: "/comfyui/models",
  arguments: ["--fp16-vae"],
  idleStop: 1_800_000,
  stopDeadline: 300_000,
  ports: { comfyui: 8188, agent: 8199, relay: 8190 },
};

describe("a workstation in a cluster declares", () => {
  let workstation: DevWorkstation;

  beforeAll(async () => {
    workstation = new DevWorkstation("studio", {
      platform,
      environment: claim({ size: "200Gi", storageClass: "fast", layout: { dependencies: "venv311" } }),
      from: { reference: `s3://bucket/store#sha256:${"a".repeat(64)}`, store: { region: "eu-west-1" } },
      state: "stopped",
      idleStop: "30m",
      port: 80,
      pod: { gpus: 2 },
      arguments: ["--fp16-vae"],
      environmentVariables: { HF_HOME: "/hub" },
      startTimeout: "1h",
      stopTimeout: "5m",
    });
    await declared("ClusterWorkstation", "studio");
  });

  test("its children, and nothing else", () => {
    expect(recording.declared.map(({ type, name, parent }) => [type, name, parent]).sort()).toEqual([
      ["comfyui:index:DevWorkstation", "studio", null],
      ["kubernetes:apps/v1:Deployment", "studio-workstation", component],
      ["kubernetes:core/v1:ConfigMap", "studio-settings", component],
      ["kubernetes:core/v1:PersistentVolumeClaim", "studio-environment", component],
      ["kubernetes:core/v1:Secret", "studio-environment-variables", component],
      ["kubernetes:core/v1:Service", "studio-workstation", component],
      ["kubernetes:core/v1:ServiceAccount", "studio-workstation", component],
      ["kubernetes:networking.k8s.io/v1:NetworkPolicy", "studio-workstation", component],
      ["kubernetes:rbac.authorization.k8s.io/v1:Role", "studio-workstation", component],
      ["kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", "studio-workstation", component],
      ["pulumi-nodejs:dynamic/comfyui:ClusterWorkstation", "studio", component],
      ["pulumi-nodejs:dynamic/comfyui:ClusterWorkstationClaim", "studio", component],
      ["pulumi:providers:kubernetes", "studio-cluster", component],
    ]);
  });

  test("a claim of its name that depends on nothing and carries all plain values", async () => {
    const { inputs, dependsOn } = await declared("ClusterWorkstationClaim", "studio");
    expect(dependsOn).toEqual([]);
    const { declarations, ...rest } = inputs;
    expect(rest).toEqual({ ...place, owner, displayUrn: displayUrn("ClusterWorkstationClaim") });
    expect(declarations).toEqual([
      {
        kind: "DevWorkstation",
        name: "studio",
        arguments: {
          platform,
          environment: { kind: "claim", size: "200Gi", storageClass: "fast", layout: { dependencies: "venv311" } },
          from: `s3://bucket/store#sha256:${"a".repeat(64)}`,
          store: { region: "eu-west-1" },
          state: "stopped",
          idleStop: "30m",
          port: 80,
          pod: { gpus: 2 },
          arguments: ["--fp16-vae"],
          environmentVariables: { HF_HOME: "/hub" },
          startTimeout: "1h",
          stopTimeout: "5m",
        },
      },
    ]);
  });

  test("a volume claim for the environment, which nobody waits for", async () => {
    expect((await declared("PersistentVolumeClaim", "studio-environment")).inputs).toMatchObject({
      metadata: metadata("studio-environment", noWait),
      spec: {
        accessModes: ["ReadWriteOnce"],
        storageClassName: "fast",
        resources: { requests: { storage: "200Gi" } },
      },
    });
  });

  test("what the agent is told, the snapshot apart, and ComfyUI's environment variables as a secret", async () => {
    const { inputs } = await declared("ConfigMap", "studio-settings");
    expect(inputs.metadata).toEqual(metadata("studio-workstation-settings"));
    const data = inputs.data as Record<string, string>;
    expect(Object.keys(data).sort()).toEqual(["from.json", "workstation.json"]);
    expect(JSON.parse(data["workstation.json"] ?? "")).toEqual(settings);
    expect(JSON.parse(data["from.json"] ?? "")).toEqual({
      reference: `s3://bucket/store#sha256:${"a".repeat(64)}`,
      store: { region: "eu-west-1" },
    });
    expect((await declared("Secret", "studio-environment-variables")).inputs).toMatchObject({
      metadata: metadata("studio-workstation"),
      stringData: secret({ HF_HOME: "/hub" }),
    });
  });

  test("rights of the agent that are no more than it needs", async () => {
    expect((await declared("ServiceAccount", "studio-workstation")).inputs).toMatchObject({
      metadata: metadata("studio-workstation"),
      automountServiceAccountToken: false,
    });
    const names = { resourceNames: ["studio-workstation"] };
    expect((await declared("Role", "studio-workstation")).inputs.rules).toEqual([
      { apiGroups: [""], resources: ["configmaps"], ...names, verbs: ["get", "patch"] },
      { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
      { apiGroups: ["apps"], resources: ["deployments/scale"], ...names, verbs: ["get", "patch"] },
    ]);
    expect((await declared("RoleBinding", "studio-workstation")).inputs).toMatchObject({
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "studio-workstation" },
      subjects: [{ kind: "ServiceAccount", name: "studio-workstation", namespace: "studios" }],
    });
  });

  test("a way in that leads to the agent's relay alone", async () => {
    expect((await declared("Service", "studio-workstation")).inputs).toMatchObject({
      metadata: metadata("studio-workstation", noWait),
      spec: { selector: labels, ports: [{ name: "http", port: 80, targetPort: 8190, appProtocol: "http" }] },
    });
    expect((await declared("NetworkPolicy", "studio-workstation")).inputs.spec).toMatchObject({
      podSelector: { matchLabels: labels },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ ports: [{ port: 8190 }] }],
    });
    expect(await valueIn(workstation.url)).toBe("http://studio-workstation.studios.svc");
  });

  test("a Deployment without a pod, whose count is left to others", async () => {
    const { inputs, dependsOn } = await declared("Deployment", "studio-workstation");
    expect(dependsOn).toEqual(
      expect.arrayContaining([
        "ClusterWorkstationClaim studio",
        "ConfigMap studio-settings",
        "PersistentVolumeClaim studio-environment",
        "RoleBinding studio-workstation",
        "Secret studio-environment-variables",
      ]),
    );
    expect(inputs.metadata).toEqual(
      metadata("studio-workstation", { "pulumi.com/waitFor": "jsonpath={.metadata.uid}" }),
    );
    const { template, ...spec } = inputs.spec as { template: { metadata: object; spec: Record<string, unknown> } };
    expect(spec).toEqual({
      replicas: 0,
      revisionHistoryLimit: 0,
      progressDeadlineSeconds: 2_147_483_647,
      strategy: { type: "Recreate" },
      selector: { matchLabels: labels },
    });
    expect(template.metadata).toMatchObject({
      labels,
      annotations: {
        "eks.amazonaws.com/skip-containers": "comfyui",
        "pulumi-comfyui/settings": createHash("sha256").update(JSON.stringify(settings)).digest("hex"),
      },
    });
  });

  test("a pod of ComfyUI on the claim, with the agent beside it, whose token ComfyUI does not get", async () => {
    const { inputs } = await declared("Deployment", "studio-workstation");
    const { spec } = (inputs.spec as { template: { spec: Record<string, unknown> } }).template;
    const { initContainers, containers, volumes, ...pod } = spec as {
      initContainers: Record<string, unknown>[];
      containers: Record<string, unknown>[];
      volumes: { name: string }[];
    };
    expect(pod).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      serviceAccountName: "studio-workstation",
      nodeSelector: { pool: "gpu" },
      tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
      // The stop's five minutes, and what the last scan gets.
      terminationGracePeriodSeconds: 480,
    });
    const [agent] = initContainers;
    expect(agent).toMatchObject({
      name: "agent",
      image: "docker.io/library/node:24-slim",
      restartPolicy: "Always",
      command: ["node", "/comfyui/program/start.cjs", "agent.js", "workstation"],
      env: [{ name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
      envFrom: [{ secretRef: { name: "store" } }],
      ports: [
        { name: "agent", containerPort: 8199 },
        { name: "relay", containerPort: 8190 },
      ],
      startupProbe: { httpGet: { path: "/started?wait=25", port: 8199 } },
      readinessProbe: { httpGet: { path: "/ready?wait=25", port: 8199 } },
    });
    const [comfyui] = containers;
    expect(comfyui).toMatchObject({
      name: "comfyui",
      image: "registry/comfyui:1",
      envFrom: [{ secretRef: { name: "studio-workstation" } }],
      lifecycle: { preStop: { httpGet: { path: "/drain", port: 8199 } } },
      // Not the platform's storage, which is for restored environments.
      resources: { requests: { "nvidia.com/gpu": "2" }, limits: { "nvidia.com/gpu": "2" } },
      volumeMounts: [
        { name: "environment", mountPath: "/comfyui/environment" },
        { name: "own", mountPath: "/comfyui/own" },
        { name: "launcher", mountPath: "/comfyui/launcher" },
        { name: "models", mountPath: "/comfyui/models", subPath: "shared", readOnly: false },
      ],
    });
    expect(comfyui).not.toHaveProperty("livenessProbe");
    expect(agent?.volumeMounts).toContainEqual(expect.objectContaining({ name: "token", readOnly: true }));
    // Nor its nodes' cache: the environment is on the claim.
    expect(JSON.stringify([initContainers, volumes])).not.toContain("node-cache");
    const byName = Object.fromEntries(volumes.map(({ name, ...source }) => [name, source]));
    expect(byName).toMatchObject({
      program: { configMap: { name: "studio-workstation-program-0123456789" } },
      told: { configMap: { name: "studio-workstation-settings" } },
      environment: { persistentVolumeClaim: { claimName: "studio-environment" } },
      models: { persistentVolumeClaim: { claimName: "models", readOnly: false } },
      token: {
        projected: {
          sources: expect.arrayContaining([expect.objectContaining({ serviceAccountToken: expect.anything() })]),
        },
      },
    });
  });

  test("last the resource that has the pod run or not, after the Deployment and the Service", async () => {
    const { inputs, dependsOn } = await declared("ClusterWorkstation", "studio");
    expect(dependsOn).toEqual(["Deployment studio-workstation", "Service studio-workstation"]);
    expect(inputs).toMatchObject({
      ...place,
      owner,
      state: "stopped",
      startTimeout: "1h",
      stopTimeout: "5m",
      pod: {
        image: "registry/comfyui:1",
        gpu: { resource: "nvidia.com/gpu", count: 2 },
        nodeSelector: { pool: "gpu" },
      },
      displayUrn: displayUrn("ClusterWorkstation"),
    });
  });

  test("no claim where it is given one, and no account where it is given one", async () => {
    new DevWorkstation("given", {
      platform: kubernetes({ namespace: "studios", pod: { image: "registry/comfyui:1", serviceAccount: "reader" } }),
      environment: claim({ name: "mine" }),
    });
    const { inputs } = await declared("Deployment", "given-workstation");
    await declared("ClusterWorkstation", "given");
    expect(JSON.stringify(inputs)).toContain('{"claimName":"mine"}');
    expect(JSON.stringify(inputs)).toContain('"serviceAccountName":"reader"');
    const ofIt = recording.declared.filter(({ parent }) => parent === "DevWorkstation given").map(({ type }) => type);
    expect(ofIt.filter((type) => /PersistentVolumeClaim|ServiceAccount$/.test(type))).toEqual([]);
    expect((await declared("RoleBinding", "given-workstation")).inputs.subjects).toMatchObject([{ name: "reader" }]);
  });
});
