import { createHash } from "node:crypto";
import { resolve } from "node:path";
import type { V1PodSpec } from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, test, vi } from "vitest";
import {
  type Autoscaler,
  externalMetric,
  fixed,
  keda,
  kubernetes,
  OnlineService,
  type OnlineServiceArgs,
  range,
} from "../../index";
import type { PodSettings } from "../../runtime/deployment";
import { waitFor } from "../../runtime/waiting";
import { type Declared, recordDeclarations, secret, valueIn } from "../support/recording-mocks";

const owner = { organization: "organization", project: "project", stack: "stack" };
const snapshot = `s3://bucket/prefix#sha256:${"a".repeat(64)}`;
const id = (name: string) => `ClusterRelease-${name}-id`;

/** What a release says of its pods when nothing is declared but their image. */
const plainPod: PodSettings = {
  image: "registry/comfyui:1",
  agentImage: "docker.io/library/node:24-slim",
  gpu: { resource: "nvidia.com/gpu", count: 1 },
  resources: { requests: {}, limits: {} },
  nodeSelector: {},
  tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
  storage: "50Gi",
  nodeCache: null,
  models: null,
  serviceAccount: null,
  storeCredentials: null,
  imagePullSecrets: [],
  priorityClass: null,
  runtimeClass: null,
  user: 1000,
};

const fullPod: PodSettings = {
  image: "registry/comfyui:2",
  agentImage: "registry/agent:1",
  gpu: { resource: "amd.com/gpu", count: 2 },
  resources: { requests: { cpu: "2", memory: "8Gi" }, limits: { memory: "16Gi" } },
  nodeSelector: { pool: "gpu" },
  tolerations: [{ key: "pool", operator: "Equal", value: "gpu", effect: "NoExecute", tolerationSeconds: 30 }],
  storage: "80Gi",
  nodeCache: { path: "/var/lib/comfyui-restores", keep: 3 },
  models: { claim: "models", folder: "checkpoints" },
  serviceAccount: "store-reader",
  storeCredentials: "store",
  imagePullSecrets: ["registry"],
  priorityClass: "online",
  runtimeClass: "nvidia",
  user: 4242,
};

const labels = (service: string, component: string) => ({
  "app.kubernetes.io/name": "comfyui",
  "app.kubernetes.io/instance": service,
  "app.kubernetes.io/component": component,
  "app.kubernetes.io/managed-by": "pulumi-comfyui",
});
const annotations = { "pulumi-comfyui/owner": "organization/project/stack", "pulumi.com/patchForce": "true" };
const noWait = { "pulumi.com/skipAwait": "true" };
const waitForUid = { "pulumi.com/waitFor": "jsonpath={.metadata.uid}" };

/** Metadata of an object of the service `studio` with a fixed name, or of one of its release. */
const metadata = (name: string, component: string, more: object = {}, service = "studio") => ({
  name,
  namespace: "team",
  labels: labels(service, component),
  annotations: { ...annotations, ...more },
});
const releaseLabels = (service: string) => ({
  ...labels(service, "instance"),
  "pulumi-comfyui/release": id(service),
});
const releaseMetadata = (more: object = {}, service = "studio") => ({
  ...metadata(`${service}-${id(service)}`, "instance", more, service),
  labels: releaseLabels(service),
});

type Recording = ReturnType<typeof recordDeclarations>;

/** Declares a service, and waits for the last of what it declares. */
async function declare(
  pod: PodSettings,
  name: string,
  args: Pick<OnlineServiceArgs, "platform"> & Partial<OnlineServiceArgs>,
  opts = {},
): Promise<{ recording: Recording; url: string; release: string }> {
  const recording = recordDeclarations({
    ClusterServiceClaim: { since: "then", programs: "studio-program-0123456789" },
    ClusterRelease: {
      revision: 1,
      settings: pod,
      instance: '{"service":"studio"}',
      programs: "studio-program-of-release",
      grace: 1860,
      startCount: 4,
    },
    Deployment: { metadata: { uid: "uid-of-deployment" } },
  });
  const service = new OnlineService(name, { snapshot, scaling: fixed(3), ...args }, opts);
  const url = await valueIn(service.url);
  const release = await valueIn(service.release);
  await waitFor({
    what: "the switch, the last to be asked for, since it waits for the gate",
    deadline: 20_000,
    look: () => recording.declared.find(({ type }) => type.endsWith(":ClusterTrafficSwitch")),
  });
  return { recording, url, release };
}

/** All that this process has declared stands in every claim; these are those of one service. */
const own = (declarations: unknown, name: string) =>
  (declarations as { readonly name: string }[]).filter((declaration) => declaration.name === name);

const displayUrn = (type: string, name = "studio") =>
  `urn:pulumi:stack::project::comfyui:index:OnlineService$pulumi-nodejs:dynamic/comfyui:${type}::${name}`;

/** What a restricted container is allowed. */
const restricted = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
const podSecurity = (user: number) => ({
  runAsNonRoot: true,
  runAsUser: user,
  runAsGroup: user,
  fsGroup: user,
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
});
const spread = (matchLabels: object) => [
  {
    maxSkew: 1,
    topologyKey: "kubernetes.io/hostname",
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels },
  },
];
const fieldOf = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
const programVolumes = (configMap: string) => [
  { name: "program", configMap: { name: configMap } },
  { name: "run", emptyDir: { sizeLimit: "64Mi" } },
];
const programMounts = [
  { name: "program", mountPath: "/comfyui/program", readOnly: true },
  { name: "run", mountPath: "/comfyui/run" },
];

describe("a service of which only the image is declared", () => {
  let recording: Recording;
  let url = "";
  let release = "";
  const find = (type: string, name = "studio") => recording.find(type, name);
  const provider =
    "urn:pulumi:stack::project::comfyui:index:OnlineService$pulumi:providers:kubernetes::studio-cluster::kubernetes-studio-cluster-id";

  beforeAll(async () => {
    ({ recording, url, release } = await declare(plainPod, "studio", {
      platform: kubernetes({ namespace: "team", pod: { image: "registry/comfyui:1" } }),
    }));
  });

  test("declares these resources as its children, through a provider of its own, and nothing else", () => {
    const shown = ({ type, name, parent, provider: by, dependsOn, protect }: Declared) => [
      `${type.replace(/^(pulumi-nodejs:dynamic\/comfyui|kubernetes:[^:]*):/, "")} ${name}`,
      parent,
      by === provider,
      dependsOn,
      protect,
    ];
    const studio = "OnlineService studio";
    const claim = "ClusterServiceClaim studio";
    const rest = "ClusterRelease studio";
    expect(recording.declared.map(shown).sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))).toEqual([
      [
        "ClusterHealthGate studio",
        studio,
        false,
        [
          rest,
          "Deployment studio-gateway",
          "Deployment studio-instances",
          "PodDisruptionBudget studio-gateway",
          "Service studio-gateway",
        ],
        false,
      ],
      ["ClusterRelease studio", studio, false, [claim], false],
      ["ClusterServiceClaim studio", studio, false, [], null],
      [
        "ClusterTrafficSwitch studio",
        studio,
        false,
        [
          "ClusterHealthGate studio",
          rest,
          "Deployment studio-gateway",
          "NetworkPolicy studio-instance",
          "PodDisruptionBudget studio-gateway",
          "Service studio-gateway",
        ],
        null,
      ],
      ["ConfigMap studio-instance", studio, true, [rest, claim], false],
      [
        "Deployment studio-gateway",
        studio,
        true,
        [
          claim,
          "RoleBinding studio-gateway",
          "Role studio-gateway",
          "Secret studio-gateway",
          "ServiceAccount studio-gateway",
        ].sort(),
        null,
      ],
      [
        "Deployment studio-instances",
        studio,
        true,
        [rest, "ConfigMap studio-instance", "Secret studio-environment"],
        false,
      ],
      ["NetworkPolicy studio-instance", studio, true, [claim], null],
      ["PodDisruptionBudget studio-gateway", studio, true, [claim], null],
      ["PodDisruptionBudget studio-instances", studio, true, [rest, claim], false],
      ["Role studio-gateway", studio, true, [claim], null],
      ["RoleBinding studio-gateway", studio, true, ["Role studio-gateway", "ServiceAccount studio-gateway"], null],
      ["Secret studio-environment", studio, true, [rest, claim], false],
      ["Secret studio-gateway", studio, true, [claim], null],
      ["Service studio-gateway", studio, true, [claim], null],
      ["ServiceAccount studio-gateway", studio, true, [claim], null],
      ["comfyui:index:OnlineService studio", null, false, [], null],
      ["pulumi:providers:kubernetes studio-cluster", studio, false, [claim], null],
    ]);
  });

  test("a claim that carries all plain values", () => {
    expect(find("ClusterServiceClaim").inputs).toEqual({
      namespace: "team",
      service: "studio",
      owner,
      declarations: [
        {
          kind: "OnlineService",
          name: "studio",
          arguments: {
            platform: { kind: "kubernetes", namespace: "team", pod: { image: "registry/comfyui:1" } },
            snapshot,
            scaling: { kind: "fixed", count: 3 },
          },
        },
      ],
      displayUrn: displayUrn("ClusterServiceClaim"),
    });
  });

  test("a provider that adopts what a killed run left", () => {
    expect(find("kubernetes", "studio-cluster").inputs).toEqual({
      namespace: "team",
      enableConfigMapMutable: "true",
      enableSecretMutable: "true",
      enableServerSideApply: "true",
      upsertExistingObjects: "true",
    });
  });

  test("a release with everything that pods start with", () => {
    expect(find("ClusterRelease").inputs).toEqual({
      namespace: "team",
      service: "studio",
      owner,
      snapshot,
      health: {},
      pod: { image: "registry/comfyui:1" },
      scaling: { kind: "fixed", count: 3 },
      environmentVariables: {},
      displayUrn: displayUrn("ClusterRelease"),
    });
  });

  test("the gateway's settings as a secret", () => {
    expect(find("Secret", "studio-gateway").inputs).toEqual({
      apiVersion: "v1",
      kind: "Secret",
      metadata: metadata("studio-gateway", "gateway"),
      stringData: secret({
        "settings.json": JSON.stringify({
          apiKeyHashes: [],
          maximumBodySize: 100 * 2 ** 20,
          resultRetention: 3_600_000,
          maximumSpoolSize: 10 * 2 ** 30,
        }),
      }),
    });
  });

  test("the gateway's rights, by name where a rule can have names", () => {
    expect(find("ServiceAccount", "studio-gateway").inputs).toEqual({
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: metadata("studio-gateway", "gateway"),
    });
    expect(find("Role", "studio-gateway").inputs).toEqual({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: metadata("studio-gateway", "gateway"),
      rules: [
        {
          apiGroups: [""],
          resources: ["configmaps"],
          resourceNames: ["studio-target"],
          verbs: ["get", "list", "watch"],
        },
        {
          apiGroups: [""],
          resources: ["configmaps"],
          resourceNames: ["studio-gateway-status"],
          verbs: ["get", "update"],
        },
        { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
        {
          apiGroups: [""],
          resources: ["secrets"],
          resourceNames: ["studio-gateway", "studio-deployer"],
          verbs: ["get", "list", "watch"],
        },
        { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch", "patch"] },
        {
          apiGroups: ["coordination.k8s.io"],
          resources: ["leases"],
          resourceNames: ["studio-gateway"],
          verbs: ["get", "list", "watch", "update"],
        },
        { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
      ],
    });
    expect(find("RoleBinding", "studio-gateway").inputs).toEqual({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: metadata("studio-gateway", "gateway"),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "studio-gateway" },
      subjects: [{ kind: "ServiceAccount", name: "studio-gateway", namespace: "team" }],
    });
  });

  test("two gateways, which get the time that their hand-over takes", () => {
    const own = labels("studio", "gateway");
    expect(find("Deployment", "studio-gateway").inputs).toEqual({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: metadata("studio", "gateway", waitForUid),
      spec: {
        replicas: 2,
        revisionHistoryLimit: 1,
        strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        selector: { matchLabels: own },
        template: {
          metadata: { labels: own },
          spec: {
            serviceAccountName: "studio-gateway",
            enableServiceLinks: false,
            securityContext: podSecurity(1000),
            terminationGracePeriodSeconds: 90,
            topologySpreadConstraints: spread(own),
            containers: [
              {
                name: "gateway",
                image: "docker.io/library/node:24-slim",
                command: [
                  ...["node", "/comfyui/program/start.cjs", "gateway.js"],
                  ...["kubernetes", "--service", "studio", "--port", "8188", "--folder", "/comfyui/spool"],
                ],
                env: [
                  fieldOf("POD_NAME", "metadata.name"),
                  fieldOf("POD_NAMESPACE", "metadata.namespace"),
                  fieldOf("POD_IP", "status.podIP"),
                ],
                ports: [{ name: "http", containerPort: 8188 }],
                readinessProbe: {
                  httpGet: { path: "/_gateway/ready", port: 8188 },
                  periodSeconds: 1,
                  failureThreshold: 2,
                },
                resources: { requests: { cpu: "100m", memory: "256Mi" } },
                securityContext: { ...restricted, readOnlyRootFilesystem: true },
                terminationMessagePolicy: "FallbackToLogsOnError",
                volumeMounts: [
                  ...programMounts,
                  { name: "spool", mountPath: "/comfyui/spool" },
                  { name: "temporary", mountPath: "/tmp" },
                ],
              },
            ],
            volumes: [
              ...programVolumes("studio-program-0123456789"),
              { name: "spool", emptyDir: {} },
              { name: "temporary", emptyDir: {} },
            ],
          },
        },
      },
    });
  });

  test("their address inside the cluster, and a budget of one that may be away", () => {
    const own = labels("studio", "gateway");
    expect(find("Service", "studio-gateway").inputs).toEqual({
      apiVersion: "v1",
      kind: "Service",
      metadata: metadata("studio", "gateway", noWait),
      spec: {
        type: "ClusterIP",
        selector: own,
        ports: [{ name: "http", port: 8188, targetPort: 8188, appProtocol: "http" }],
      },
    });
    expect(find("PodDisruptionBudget", "studio-gateway").inputs).toEqual({
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: metadata("studio", "gateway", noWait),
      spec: { maxUnavailable: 1, selector: { matchLabels: own } },
    });
    expect(url).toBe("http://studio.team.svc:8188");
  });

  test("a policy by which only gateways reach instances, and instances no address that hands out a node's credentials", () => {
    expect(find("NetworkPolicy", "studio-instance").inputs).toEqual({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: metadata("studio-instance", "instance", noWait),
      spec: {
        podSelector: { matchLabels: labels("studio", "instance") },
        policyTypes: ["Ingress", "Egress"],
        ingress: [
          {
            from: [{ podSelector: { matchLabels: labels("studio", "gateway") } }],
            ports: [{ port: 8188 }, { port: 8199 }],
          },
        ],
        egress: [
          { to: [{ namespaceSelector: {}, podSelector: { matchLabels: { "k8s-app": "kube-dns" } } }] },
          {
            to: [{ ipBlock: { cidr: "169.254.20.10/32" } }],
            ports: [
              { protocol: "UDP", port: 53 },
              { protocol: "TCP", port: 53 },
            ],
          },
          {
            to: [
              {
                ipBlock: {
                  cidr: "0.0.0.0/0",
                  except: ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"],
                },
              },
            ],
          },
          { to: [{ ipBlock: { cidr: "::/0", except: ["fd00:ec2::/32", "fe80::/10"] } }] },
        ],
      },
    });
  });

  test("what the agent is told, and ComfyUI's environment variables, both immutable and named by the release", () => {
    expect(find("ConfigMap", "studio-instance").inputs).toEqual({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: releaseMetadata(),
      data: { "instance.json": '{"service":"studio"}' },
      immutable: true,
    });
    expect(find("Secret", "studio-environment").inputs).toEqual({
      apiVersion: "v1",
      kind: "Secret",
      metadata: releaseMetadata(),
      stringData: secret({}),
      immutable: true,
    });
    expect(find("PodDisruptionBudget", "studio-instances").inputs).toEqual({
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: releaseMetadata(noWait),
      spec: {
        maxUnavailable: 1,
        unhealthyPodEvictionPolicy: "AlwaysAllow",
        selector: { matchLabels: releaseLabels("studio") },
      },
    });
  });

  test("the instances: a Deployment of the release's name, whose pods are made of the release's own outputs", () => {
    expect(find("Deployment", "studio-instances").inputs).toEqual({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: releaseMetadata(waitForUid),
      spec: {
        replicas: 3,
        revisionHistoryLimit: 0,
        progressDeadlineSeconds: 2_147_483_647,
        strategy: { type: "Recreate" },
        selector: { matchLabels: releaseLabels("studio") },
        template: {
          metadata: {
            labels: releaseLabels("studio"),
            annotations: { "eks.amazonaws.com/skip-containers": "comfyui" },
          },
          spec: {
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            imagePullSecrets: [],
            nodeSelector: {},
            tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
            securityContext: podSecurity(1000),
            terminationGracePeriodSeconds: 1860,
            topologySpreadConstraints: spread(releaseLabels("studio")),
            initContainers: [
              {
                name: "agent",
                image: "docker.io/library/node:24-slim",
                restartPolicy: "Always",
                command: ["node", "/comfyui/program/start.cjs", "agent.js", "instance"],
                env: [fieldOf("POD_IP", "status.podIP")],
                ports: [{ name: "agent", containerPort: 8199 }],
                startupProbe: {
                  httpGet: { path: "/started?wait=25", port: 8199 },
                  periodSeconds: 1,
                  timeoutSeconds: 30,
                  failureThreshold: 86_400,
                },
                readinessProbe: {
                  httpGet: { path: "/ready?wait=25", port: 8199 },
                  periodSeconds: 1,
                  timeoutSeconds: 30,
                  failureThreshold: 5,
                },
                resources: { requests: { cpu: "100m", memory: "256Mi" } },
                securityContext: { ...restricted, readOnlyRootFilesystem: true },
                terminationMessagePolicy: "FallbackToLogsOnError",
                volumeMounts: [
                  ...programMounts,
                  { name: "environment", mountPath: "/comfyui/environment" },
                  { name: "own", mountPath: "/comfyui/own" },
                  { name: "launcher", mountPath: "/comfyui/launcher" },
                  { name: "told", mountPath: "/comfyui/instance", readOnly: true },
                  { name: "temporary", mountPath: "/tmp" },
                ],
              },
            ],
            containers: [
              {
                name: "comfyui",
                image: "registry/comfyui:1",
                command: ["/comfyui/launcher/python", "/comfyui/launcher/launcher.py"],
                envFrom: [{ secretRef: { name: `studio-${id("studio")}` } }],
                ports: [{ name: "http", containerPort: 8188 }],
                livenessProbe: {
                  httpGet: { path: "/live", port: 8199 },
                  periodSeconds: 30,
                  timeoutSeconds: 10,
                  failureThreshold: 3,
                },
                lifecycle: { preStop: { httpGet: { path: "/drain", port: 8199 } } },
                resources: {
                  requests: { "ephemeral-storage": "50Gi", "nvidia.com/gpu": "1" },
                  limits: { "ephemeral-storage": "50Gi", "nvidia.com/gpu": "1" },
                },
                securityContext: restricted,
                volumeMounts: [
                  { name: "environment", mountPath: "/comfyui/environment" },
                  { name: "own", mountPath: "/comfyui/own" },
                  { name: "launcher", mountPath: "/comfyui/launcher" },
                ],
              },
            ],
            volumes: [
              ...programVolumes("studio-program-of-release"),
              { name: "told", configMap: { name: `studio-${id("studio")}` } },
              { name: "environment", emptyDir: {} },
              { name: "own", emptyDir: {} },
              { name: "launcher", emptyDir: { sizeLimit: "64Mi" } },
              { name: "temporary", emptyDir: {} },
            ],
          },
        },
      },
    });
  });

  test("a gate over the Deployment's pods, and a switch", () => {
    expect(find("ClusterHealthGate").inputs).toEqual({
      namespace: "team",
      service: "studio",
      release: id("studio"),
      deployment: "uid-of-deployment",
      count: 3,
      timeout: "10m",
      displayUrn: displayUrn("ClusterHealthGate"),
    });
    expect(find("ClusterTrafficSwitch").inputs).toEqual({
      namespace: "team",
      service: "studio",
      release: id("studio"),
      owner,
      displayUrn: displayUrn("ClusterTrafficSwitch"),
    });
    expect(release).toBe(id("studio"));
  });
});

const kubeconfig = "apiVersion: v1\nkind: Config\nusers: [{ name: me, user: { token: s3cr3t-t0k3n } }]\n";
const key = "0123456789abcdef";

describe("a service of which everything is declared", () => {
  let recording: Recording;
  let url = "";
  const find = (type: string, name = "full") => recording.find(type, name);
  const pod = {
    image: "registry/comfyui:2",
    gpus: 2,
    gpuResource: "amd.com/gpu",
    resources: { requests: { cpu: "2", memory: "8Gi" }, limits: { memory: "16Gi" } },
    nodeSelector: { pool: "gpu" },
    tolerations: [{ key: "pool", operator: "Equal", value: "gpu", effect: "NoExecute", tolerationSeconds: 30 }],
    storage: "80Gi",
    nodeCache: { path: "/var/lib/comfyui-restores", keep: 3 },
    models: { claim: "models", folder: "checkpoints" },
    serviceAccount: "store-reader",
    storeCredentials: "store",
    imagePullSecrets: ["registry"],
    priorityClass: "online",
    runtimeClass: "nvidia",
    user: 4242,
  } as const;
  const store = { region: "eu-west-1", endpoint: "https://s3.example.org", pathStyle: true };
  const gateway = {
    port: 80,
    maximumBodySize: "50 MiB",
    resultRetention: "2h",
    maximumSpoolSize: "1 GiB",
    service: { type: "LoadBalancer", annotations: { "example.org/internal": "true" } },
    ingress: { host: "studio.example.org", className: "nginx", tlsSecret: "studio-tls", annotations: { a: "b" } },
  } as const;

  beforeAll(async () => {
    ({ recording, url } = await declare(
      fullPod,
      "full",
      {
        platform: kubernetes({
          kubeconfig,
          context: "prod",
          namespace: "team",
          pod: { agentImage: "registry/agent:1" },
        }),
        snapshot: { reference: snapshot, store },
        pod,
        arguments: ["--fp16-vae"],
        environmentVariables: { HF_HOME: "/hub" },
        health: { timeout: "4m", stableFor: "2s", smoke: "smoke.json", acceptFailing: ["old"] },
        drain: { deadline: "1h", onDeadline: "stop" },
        gateway: { ...gateway, apiKeys: [key] },
        takeover: true,
      },
      { protect: true },
    ));
  });

  const place = { kubeconfig: secret(kubeconfig), context: "prod", namespace: "team", service: "full" };

  test("neither the kubeconfig's content nor an API key is in what every check of the program looks at", () => {
    const { declarations, ...rest } = find("ClusterServiceClaim").inputs;
    expect(rest).toEqual({
      ...place,
      owner,
      takeover: true,
      drain: { deadline: "1h", onDeadline: "stop" },
      displayUrn: displayUrn("ClusterServiceClaim", "full"),
    });
    expect(own(declarations, "full")).toEqual([
      {
        kind: "OnlineService",
        name: "full",
        arguments: {
          platform: {
            kind: "kubernetes",
            kubeconfig: "\u0000known-later",
            context: "prod",
            namespace: "team",
            pod: { agentImage: "registry/agent:1" },
          },
          snapshot,
          store,
          scaling: { kind: "fixed", count: 3 },
          pod,
          arguments: ["--fp16-vae"],
          environmentVariables: { HF_HOME: "/hub" },
          health: { timeout: "4m", stableFor: "2s", smoke: "smoke.json", acceptFailing: ["old"] },
          drain: { deadline: "1h", onDeadline: "stop" },
          gateway: { ...gateway, apiKeys: "declared" },
          takeover: true,
        },
      },
    ]);
  });

  test("secrets are nowhere but in what is marked as secret", () => {
    const withoutSecrets = JSON.stringify(recording.declared, (_, value) =>
      value !== null && typeof value === "object" && "4dabf18193072939515e22adb298388d" in value ? "secret" : value,
    );
    expect(withoutSecrets).not.toContain("s3cr3t-t0k3n");
    expect(withoutSecrets).not.toContain(key);
    expect(JSON.stringify(recording.declared)).not.toContain(key);
    expect(JSON.stringify(recording.declared)).toContain("s3cr3t-t0k3n");
  });

  test("the provider has the same cluster", () => {
    const { kubeconfig: given, ...rest } = find("kubernetes", "full-cluster").inputs;
    expect(given).toEqual(secret(kubeconfig));
    expect(rest).toEqual({
      context: "prod",
      namespace: "team",
      enableConfigMapMutable: "true",
      enableSecretMutable: "true",
      enableServerSideApply: "true",
      upsertExistingObjects: "true",
    });
  });

  test("the release has the platform's pod and the service's own", () => {
    expect(find("ClusterRelease").inputs).toEqual({
      ...place,
      owner,
      snapshot,
      store,
      arguments: ["--fp16-vae"],
      environmentVariables: { HF_HOME: "/hub" },
      health: { stableFor: "2s", smoke: "smoke.json", acceptFailing: ["old"] },
      pod: { agentImage: "registry/agent:1" },
      servicePod: pod,
      scaling: { kind: "fixed", count: 3 },
      displayUrn: displayUrn("ClusterRelease", "full"),
    });
  });

  test("the gateway knows hashes of the keys and its limits, in an image of the declared kind", () => {
    expect(find("Secret", "full-gateway").inputs.stringData).toEqual(
      secret({
        "settings.json": JSON.stringify({
          apiKeyHashes: [createHash("sha256").update(key).digest("hex")],
          maximumBodySize: 50 * 2 ** 20,
          resultRetention: 7_200_000,
          maximumSpoolSize: 2 ** 30,
        }),
      }),
    );
    expect(find("Deployment", "full-gateway").inputs).toMatchObject({
      spec: { template: { spec: { containers: [{ image: "registry/agent:1" }] } } },
    });
  });

  test("a load balancer, and an ingress whose host is the service's address", () => {
    const meta = (more: object) => metadata("full", "gateway", { ...noWait, ...more }, "full");
    expect(find("Service", "full-gateway").inputs).toEqual({
      apiVersion: "v1",
      kind: "Service",
      metadata: meta({ "example.org/internal": "true" }),
      spec: {
        type: "LoadBalancer",
        selector: labels("full", "gateway"),
        ports: [{ name: "http", port: 80, targetPort: 8188, appProtocol: "http" }],
      },
    });
    const ingress = find("Ingress", "full-gateway");
    expect(ingress.dependsOn).toEqual(["Service full-gateway"]);
    expect(ingress.inputs).toEqual({
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: meta({ a: "b" }),
      spec: {
        ingressClassName: "nginx",
        tls: [{ hosts: ["studio.example.org"], secretName: "studio-tls" }],
        rules: [
          {
            host: "studio.example.org",
            http: {
              paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "full", port: { number: 80 } } } }],
            },
          },
        ],
      },
    });
    expect(url).toBe("https://studio.example.org");
  });

  test("pods as they are declared", () => {
    const { spec } = find("Deployment", "full-instances").inputs as { spec: { template: { spec: object } } };
    const { containers, initContainers, volumes, ...rest } = spec.template.spec as Record<string, object[]>;
    expect(rest).toEqual({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      serviceAccountName: "store-reader",
      priorityClassName: "online",
      runtimeClassName: "nvidia",
      imagePullSecrets: [{ name: "registry" }],
      nodeSelector: { pool: "gpu" },
      tolerations: fullPod.tolerations,
      securityContext: podSecurity(4242),
      terminationGracePeriodSeconds: 1860,
      topologySpreadConstraints: spread(releaseLabels("full")),
    });
    const models = { name: "models", mountPath: "/comfyui/models", subPath: "checkpoints", readOnly: true };
    const shared = [
      { name: "environment", mountPath: "/comfyui/environment" },
      { name: "own", mountPath: "/comfyui/own" },
      { name: "launcher", mountPath: "/comfyui/launcher" },
      models,
    ];
    expect(initContainers).toMatchObject([
      { name: "node-cache" },
      {
        name: "agent",
        image: "registry/agent:1",
        envFrom: [{ secretRef: { name: "store" } }],
        volumeMounts: [
          ...programMounts,
          ...shared,
          { name: "told", mountPath: "/comfyui/instance", readOnly: true },
          { name: "temporary", mountPath: "/tmp" },
          { name: "node-cache", mountPath: "/comfyui/node-cache" },
        ],
      },
    ]);
    expect(containers).toMatchObject([
      {
        image: "registry/comfyui:2",
        // The store's credentials are the agent's only.
        envFrom: [{ secretRef: { name: `full-${id("full")}` } }],
        resources: {
          requests: { "ephemeral-storage": "80Gi", cpu: "2", memory: "8Gi", "amd.com/gpu": "2" },
          limits: { "ephemeral-storage": "80Gi", memory: "16Gi", "amd.com/gpu": "2" },
        },
        volumeMounts: shared,
      },
    ]);
    expect(volumes?.at(-1)).toEqual({
      name: "models",
      persistentVolumeClaim: { claimName: "models", readOnly: true },
    });
  });

  test("a folder of the node for this user, which only the agent gets, from a container that may do nothing but make it over to him", () => {
    const { spec } = find("Deployment", "full-instances").inputs as { spec: { template: { spec: V1PodSpec } } };
    const { volumes = [], initContainers = [] } = spec.template.spec;
    expect(volumes).toContainEqual({
      name: "node-cache",
      hostPath: { path: "/var/lib/comfyui-restores/4242", type: "DirectoryOrCreate" },
    });
    const [first] = initContainers;
    expect(first).toEqual({
      name: "node-cache",
      image: "registry/agent:1",
      command: ["node", "-e", expect.stringContaining("chownSync"), "/comfyui/node-cache", "4242"],
      resources: { requests: { cpu: "10m", memory: "64Mi" } },
      securityContext: {
        runAsUser: 0,
        runAsGroup: 0,
        runAsNonRoot: false,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"], add: ["CHOWN"] },
        readOnlyRootFilesystem: true,
        seccompProfile: { type: "RuntimeDefault" },
      },
      terminationMessagePolicy: "FallbackToLogsOnError",
      volumeMounts: [{ name: "node-cache", mountPath: "/comfyui/node-cache" }],
    });
  });

  test("the gate waits as long as is declared", () => {
    expect(find("ClusterHealthGate").inputs).toEqual({
      ...place,
      release: id("full"),
      deployment: "uid-of-deployment",
      count: 3,
      timeout: "4m",
      displayUrn: displayUrn("ClusterHealthGate", "full"),
    });
  });

  test("what a rotation replaces is unprotected under a protected service; the rest as it says", () => {
    const unprotected = recording.declared
      .filter(({ protect }) => protect === false)
      .map(({ type, name }) => [type, name]);
    expect(unprotected.map(([type = "", name]) => `${type.split(":").at(-1)} ${name}`).sort()).toEqual([
      "ClusterHealthGate full",
      "ClusterRelease full",
      "ConfigMap full-instance",
      "Deployment full-instances",
      "PodDisruptionBudget full-instances",
      "Secret full-environment",
    ]);
    expect(recording.declared.filter(({ protect }) => protect !== false).every(({ protect }) => protect === true)).toBe(
      true,
    );
  });
});

describe("a service whose instances an autoscaler counts", () => {
  const platform = kubernetes({ namespace: "team", pod: { image: "registry/comfyui:1" } });
  const scaled = (name: string, by: Autoscaler, gateway = {}) =>
    declare(plainPod, name, { platform, scaling: range({ min: 2, max: 6, by, scaleInAfter: "90s" }), gateway });
  /** The last to be declared is the autoscaler here, which waits for the switch. */
  const autoscalerOf = (recording: Recording, name: string) =>
    waitFor({
      what: "the autoscaler",
      deadline: 20_000,
      look: () => recording.declared.find((resource) => resource.name === `${name}-autoscaler`),
    });
  const behavior = { scaleDown: { stabilizationWindowSeconds: 90 } };
  const scaleTargetRef = (name: string) => ({ apiVersion: "apps/v1", kind: "Deployment", name: `${name}-${id(name)}` });

  test("starts with as many as the release says, and leaves the count alone from then on", async () => {
    const { recording } = await scaled("counted", externalMetric({ name: "queue" }));
    expect(recording.find("ClusterRelease", "counted").inputs.scaling).toEqual({
      kind: "range",
      min: 2,
      max: 6,
      by: { kind: "externalMetric", name: "queue" },
      scaleInAfter: "90s",
    });
    const deployment = recording.find("Deployment", "counted-instances");
    expect(deployment.inputs).toMatchObject({ spec: { replicas: 4 } });
    expect(deployment.ignoreChanges).toEqual(["spec.replicas"]);
    expect(recording.find("ClusterHealthGate", "counted").inputs).toMatchObject({
      count: 4,
      autoscaler: "externalMetric",
    });
  });

  test("by a metric of the cluster: a HorizontalPodAutoscaler of the release's own, once it serves", async () => {
    const { recording } = await scaled("external", externalMetric({ name: "queue", target: 1.5 }));
    const { type, dependsOn, inputs, protect, ignoreChanges } = await autoscalerOf(recording, "external");
    expect(type).toBe("kubernetes:autoscaling/v2:HorizontalPodAutoscaler");
    expect(dependsOn).toEqual([
      "ClusterHealthGate external",
      "ClusterRelease external",
      "ClusterTrafficSwitch external",
      "Deployment external-instances",
    ]);
    expect([protect, ignoreChanges]).toEqual([false, []]);
    expect(inputs).toEqual({
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata: releaseMetadata(noWait, "external"),
      spec: {
        scaleTargetRef: scaleTargetRef("external"),
        minReplicas: 2,
        maxReplicas: 6,
        metrics: [
          {
            type: "External",
            external: {
              metric: { name: "queue", selector: { matchLabels: { release: id("external") } } },
              target: { type: "AverageValue", averageValue: "1.5" },
            },
          },
        ],
        behavior,
      },
    });
  });

  test("by KEDA, which asks the gateway", async () => {
    const { recording } = await scaled("asked", keda({ apiKey: { secret: "keys" } }), { apiKeys: [key] });
    const { inputs, dependsOn } = await autoscalerOf(recording, "asked");
    expect(dependsOn).toContain("TriggerAuthentication asked-autoscaler-credentials");
    expect(inputs).toEqual({
      apiVersion: "keda.sh/v1alpha1",
      kind: "ScaledObject",
      metadata: releaseMetadata(noWait, "asked"),
      spec: {
        scaleTargetRef: scaleTargetRef("asked"),
        pollingInterval: 15,
        minReplicaCount: 2,
        maxReplicaCount: 6,
        advanced: { horizontalPodAutoscalerConfig: { behavior } },
        triggers: [
          {
            type: "metrics-api",
            metricType: "AverageValue",
            metadata: {
              url: "http://asked.team.svc:8188/_gateway/queue",
              format: "json",
              valueLocation: `prompts.${id("asked")}`,
              targetValue: "2",
              authMode: "bearer",
            },
            authenticationRef: { name: `asked-${id("asked")}` },
          },
        ],
      },
    });
    expect(recording.find("TriggerAuthentication", "asked-autoscaler-credentials").inputs).toEqual({
      apiVersion: "keda.sh/v1alpha1",
      kind: "TriggerAuthentication",
      metadata: releaseMetadata(noWait, "asked"),
      spec: { secretTargetRef: [{ parameter: "token", name: "keys", key: "key" }] },
    });
  });

  test("by KEDA, which asks a Prometheus", async () => {
    const prometheus = { serverAddress: "http://prometheus:9090", bearerToken: { secret: "prometheus", key: "token" } };
    const { recording } = await scaled("scraped", keda({ target: 3, pollingInterval: "5s", prometheus }));
    const { inputs } = await autoscalerOf(recording, "scraped");
    expect(inputs).toMatchObject({
      spec: {
        pollingInterval: 5,
        triggers: [
          {
            type: "prometheus",
            metricType: "AverageValue",
            metadata: {
              serverAddress: "http://prometheus:9090",
              query: `max(comfyui_gateway_queue{release="${id("scraped")}"})`,
              threshold: "3",
              ignoreNullValues: "false",
              authModes: "bearer",
            },
            authenticationRef: { name: `scraped-${id("scraped")}` },
          },
        ],
      },
    });
    expect(recording.find("TriggerAuthentication", "scraped-autoscaler-credentials").inputs.spec).toEqual({
      secretTargetRef: [{ parameter: "bearerToken", name: "prometheus", key: "token" }],
    });
  });

  test("is warned of a gateway that would not let KEDA in", async () => {
    const warn = vi.spyOn(pulumi.log, "warn").mockResolvedValue();
    const { recording } = await scaled("refused", keda(), { apiKeys: [key] });
    await autoscalerOf(recording, "refused");
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      "keda() asks the gateway, which lets nobody in without a key: name the Secret with one in keda({ apiKey })",
      expect.anything(),
    );
    warn.mockRestore();
  });
});

describe("a kubeconfig's path", () => {
  test("is handed on as it is written, and to the provider as an absolute one", async () => {
    const { recording } = await declare(plainPod, "path", {
      platform: kubernetes({ kubeconfig: "cluster.yaml", namespace: "team", pod: { image: "registry/comfyui:1" } }),
    });
    expect(recording.find("ClusterServiceClaim", "path").inputs.kubeconfig).toBe("cluster.yaml");
    expect(recording.find("kubernetes", "path-cluster").inputs.kubeconfig).toBe(resolve("cluster.yaml"));
    const { declarations } = recording.find("ClusterServiceClaim", "path").inputs;
    expect(own(declarations, "path")).toMatchObject([{ arguments: { platform: { kubeconfig: "cluster.yaml" } } }]);
  });
});

describe("a way in from outside of the cluster", () => {
  const platform = kubernetes({ namespace: "team", pod: { image: "registry/comfyui:1" } });
  const ingress = { host: "studio.example.org" };

  test.each([
    ["load-balancer", { service: { type: "LoadBalancer" } }, 'gateway.service.type "LoadBalancer"'],
    ["node-port", { service: { type: "NodePort" } }, 'gateway.service.type "NodePort"'],
    ["ingress", { ingress }, "gateway.ingress"],
  ] as const)("%s is warned of where nobody needs a key", async (name, gateway, what) => {
    const warn = vi.spyOn(pulumi.log, "warn").mockResolvedValue();
    await declare(plainPod, name, { platform, gateway });
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      `${what} leads in from outside of the cluster, and without gateway.apiKeys everybody who gets there is let in: who runs workflows runs the plugins' code`,
      expect.anything(),
    );
    warn.mockClear();
    await declare(plainPod, `${name}-keys`, { platform, gateway: { ...gateway, apiKeys: [key] } });
    await declare(plainPod, `${name}-inside`, { platform, gateway: { service: { type: "ClusterIP" } } });
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });
});
