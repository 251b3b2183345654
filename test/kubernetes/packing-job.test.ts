import { describe, expect, it } from "vitest";
import { type PackingJob, packingIdentity, packingJob, packingJobName } from "../../runtime/kubernetes/packing-job";

const job: PackingJob = {
  workstation: "studio",
  owner: { organization: "organization", project: "project", stack: "dev" },
  snapshot: "urn:pulumi:dev::project::comfyui:index:Snapshot$x::studio",
  contentId: "a".repeat(64),
  claim: "studio-environment",
  pod: {
    agentImage: "registry/node:24",
    nodeSelector: { pool: "gpu" },
    tolerations: [{ key: "gpu", operator: "Exists", effect: "NoSchedule" }],
    models: { claim: "models", folder: "v1" },
    serviceAccount: "publisher",
    storeCredentials: "store",
    imagePullSecrets: ["registry"],
    priorityClass: "low",
    user: 1234,
  },
  resources: { requests: { cpu: "1", memory: "1Gi" }, limits: { memory: "4Gi" } },
  spec: '{"store":"s3://bucket/studio"}',
  timeout: 90_500,
};

describe("the Job that packs a claim", () => {
  const made = packingJob(job, "abc123", "node-1");
  const pod = made.spec?.template.spec;

  it("is named by content and snapshot, and labelled so that it is found again", () => {
    const name = packingJobName(job);
    expect(name).toMatch(/^studio-pack-[0-9a-f]{12}$/);
    expect(packingJobName({ ...job, contentId: "b".repeat(64) })).not.toBe(name);
    expect(packingJobName({ ...job, snapshot: "urn:other" })).not.toBe(name);
    expect(packingJobName({ ...job, owner: { ...job.owner, stack: "prod" } })).not.toBe(name);
    expect(made.metadata).toEqual({
      name,
      labels: {
        "app.kubernetes.io/name": "comfyui",
        "app.kubernetes.io/instance": "studio",
        "app.kubernetes.io/component": "packer",
        "app.kubernetes.io/managed-by": "pulumi-comfyui",
        "pulumi-comfyui/snapshot": expect.stringMatching(/^[0-9a-f]{12}$/),
      },
      annotations: {
        "pulumi-comfyui/owner": "organization/project/dev",
        "pulumi-comfyui/spec": packingIdentity(job),
        "pulumi-comfyui/run": "abc123",
      },
    });
    expect(made.spec?.template.metadata?.labels).toEqual(made.metadata?.labels);
  });

  it("does not try again by itself, ends in time, and goes by itself", () => {
    expect(made.spec).toMatchObject({ backoffLimit: 0, activeDeadlineSeconds: 91, ttlSecondsAfterFinished: 600 });
    expect(pod?.restartPolicy).toBe("Never");
  });

  it("has what the workstation's pod has to be where it is, and neither its image nor a token", () => {
    expect(pod).toMatchObject({
      serviceAccountName: "publisher",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      priorityClassName: "low",
      nodeSelector: { pool: "gpu" },
      imagePullSecrets: [{ name: "registry" }],
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["node-1"] }] }],
          },
        },
      },
    });
    expect(pod?.tolerations).toContainEqual({ key: "gpu", operator: "Exists", effect: "NoSchedule" });
    expect(pod?.containers).toHaveLength(1);
    expect(pod?.containers[0]).toMatchObject({
      image: "registry/node:24",
      command: ["node", "/comfyui/program/start.cjs", "agent.js", "pack"],
      envFrom: [{ secretRef: { name: "store" } }],
      resources: { requests: { cpu: "1", memory: "1Gi" }, limits: { memory: "4Gi" } },
    });
    expect(packingJob(job, "abc123", null).spec?.template.spec?.affinity).toBeUndefined();
  });

  it("may do as little as a restricted namespace lets it, and cannot write to the claims", () => {
    expect(pod?.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 1234,
      fsGroup: 1234,
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(pod?.containers[0]?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      readOnlyRootFilesystem: true,
    });
    const mounts = pod?.containers[0]?.volumeMounts?.filter(({ name }) => /^(environment|models)$/.test(name));
    expect(mounts).toEqual([
      { name: "environment", mountPath: "/comfyui/environment", readOnly: true },
      { name: "models", mountPath: "/comfyui/models", subPath: "v1", readOnly: true },
    ]);
    const claims = pod?.volumes?.flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? []);
    expect(claims).toEqual(["studio-environment", "models"]);
  });

  it("is equal to another one whatever its run and node, and to none that packs otherwise", () => {
    const identity = packingIdentity(job);
    expect(packingIdentity({ ...job })).toBe(identity);
    for (const other of [
      { claim: "another" },
      { spec: "{}" },
      { timeout: 1 },
      { pod: { ...job.pod, user: 1 } },
      { resources: { requests: {}, limits: {} } },
    ]) {
      expect(packingIdentity({ ...job, ...other })).not.toBe(identity);
    }
  });
});
