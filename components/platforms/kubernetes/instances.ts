import type { Deployment } from "@pulumi/kubernetes/apps/v1";
import type * as pulumi from "@pulumi/pulumi";
import type { PodSettings } from "../../../runtime/deployment";
import { labelsOf, objectNames, releaseLabel } from "../../../runtime/kubernetes/names";
import type { ClusterRelease } from "../../resources";
import { sdk } from "../../sdk";
import { metadata, plugin } from "./metadata";
import { podSecurity, programMounts, programVolumes, restricted, runProgram } from "./program";
import { k8s } from "./sdk";

/** Where pods listen: as `providers/kubernetes/cluster.ts` tells the agent. */
const ports = { comfyui: 8188, agent: 8199 };

export interface InstancesDeclaration {
  readonly name: string;
  readonly namespace: string;
  readonly release: ClusterRelease;
  /** Null where an autoscaler owns it: it starts as the release says, and is left alone from then on. */
  readonly count: number | null;
  readonly opts: pulumi.CustomResourceOptions;
}

/**
 * The pods of a release: a Deployment that is named by its id, so that another release is another Deployment. Everything in its template
 * comes from the release's own outputs: what serves is not changed by what is declared for the next one.
 */
export function instances({ name, namespace, release, count, opts }: InstancesDeclaration): Deployment {
  const { id, settings, instance, programs, grace } = release;
  const objectName = id.apply((known) => objectNames(name).release(known));
  const meta = (annotations: Readonly<Record<string, string>>) =>
    metadata(objectName, name, namespace, "instance", { release: id, annotations });

  const told = new (k8s().core.v1.ConfigMap)(
    `${name}-instance`,
    { metadata: meta({}), data: { "instance.json": instance }, immutable: true },
    opts,
  );
  const environment = new (k8s().core.v1.Secret)(
    `${name}-environment`,
    { metadata: meta({}), stringData: sdk.secret(release.environmentVariables), immutable: true },
    opts,
  );
  const labels = { ...labelsOf(name, "instance"), [releaseLabel]: id };
  new (k8s().policy.v1.PodDisruptionBudget)(
    `${name}-instances`,
    {
      metadata: meta(plugin.noWait),
      spec: { maxUnavailable: 1, unhealthyPodEvictionPolicy: "AlwaysAllow", selector: { matchLabels: labels } },
    },
    opts,
  );
  return new (k8s().apps.v1.Deployment)(
    `${name}-instances`,
    {
      metadata: meta(plugin.waitForUid),
      spec: {
        replicas: count ?? release.startCount,
        revisionHistoryLimit: 0,
        // How long it may take is the gate's to say.
        progressDeadlineSeconds: 2_147_483_647,
        // A pod template never changes, since a changed one is another release.
        strategy: { type: "Recreate" },
        selector: { matchLabels: labels },
        template: {
          metadata: {
            labels,
            // On EKS, whoever assumes the pod's role is the agent only: plugins are strangers' code.
            annotations: { "eks.amazonaws.com/skip-containers": "comfyui" },
          },
          spec: sdk
            .all([settings, programs, grace, objectName])
            .apply(([pod, program, seconds, object]) => podSpec(pod, program, seconds, object, labels)),
        },
      },
    },
    {
      ...opts,
      dependsOn: [told, environment],
      ...(count === null ? { ignoreChanges: ["spec.replicas"] } : {}),
    },
  );
}

function podSpec(
  pod: PodSettings,
  program: string,
  grace: number,
  object: string,
  labels: Readonly<Record<string, pulumi.Input<string>>>,
) {
  const { gpu, resources, storage, user } = pod;
  // What is null may be left out on its way through the state.
  const models = pod.models ?? null;
  const serviceAccount = pod.serviceAccount ?? null;
  const storeCredentials = pod.storeCredentials ?? null;
  const priorityClass = pod.priorityClass ?? null;
  const runtimeClass = pod.runtimeClass ?? null;
  const gpus = gpu.count === 0 ? {} : { [gpu.resource]: String(gpu.count) };
  const probe = (path: string) => ({ httpGet: { path, port: ports.agent } });
  const shared = [
    { name: "environment", mountPath: "/comfyui/environment" },
    { name: "own", mountPath: "/comfyui/own" },
    { name: "launcher", mountPath: "/comfyui/launcher" },
    ...(models === null
      ? []
      : [{ name: "models", mountPath: "/comfyui/models", subPath: models.folder, readOnly: true }]),
  ];
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...(serviceAccount === null ? {} : { serviceAccountName: serviceAccount }),
    ...(priorityClass === null ? {} : { priorityClassName: priorityClass }),
    ...(runtimeClass === null ? {} : { runtimeClassName: runtimeClass }),
    imagePullSecrets: pod.imagePullSecrets.map((name) => ({ name })),
    nodeSelector: pod.nodeSelector,
    tolerations: [...pod.tolerations],
    securityContext: podSecurity(user),
    terminationGracePeriodSeconds: grace,
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: "kubernetes.io/hostname",
        whenUnsatisfiable: "ScheduleAnyway",
        labelSelector: { matchLabels: labels },
      },
    ],
    initContainers: [
      {
        name: "agent",
        image: pod.agentImage,
        // A native sidecar: it restores before ComfyUI starts, and is there until it has ended.
        restartPolicy: "Always",
        command: runProgram("agent.js", ["instance"]),
        env: [{ name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }],
        ...(storeCredentials === null ? {} : { envFrom: [{ secretRef: { name: storeCredentials } }] }),
        ports: [{ name: "agent", containerPort: ports.agent }],
        // As long as a restore takes: the gate's time-out ends it.
        startupProbe: { ...probe("/started"), periodSeconds: 1, failureThreshold: 86_400 },
        readinessProbe: { ...probe("/ready"), periodSeconds: 1, failureThreshold: 2 },
        resources: { requests: { cpu: "100m", memory: "256Mi" } },
        securityContext: { ...restricted, readOnlyRootFilesystem: true },
        terminationMessagePolicy: "FallbackToLogsOnError",
        volumeMounts: [
          ...programMounts,
          ...shared,
          { name: "instance", mountPath: "/comfyui/instance", readOnly: true },
          { name: "temporary", mountPath: "/tmp" },
        ],
      },
    ],
    containers: [
      {
        name: "comfyui",
        image: pod.image,
        command: ["/comfyui/launcher/python", "/comfyui/launcher/launcher.py"],
        envFrom: [{ secretRef: { name: object } }],
        ports: [{ name: "http", containerPort: ports.comfyui }],
        livenessProbe: { ...probe("/live"), periodSeconds: 30, timeoutSeconds: 10, failureThreshold: 3 },
        lifecycle: { preStop: probe("/drain") },
        resources: {
          requests: { "ephemeral-storage": storage, ...resources.requests, ...gpus },
          limits: { "ephemeral-storage": storage, ...resources.limits, ...gpus },
        },
        securityContext: restricted,
        volumeMounts: shared,
      },
    ],
    volumes: [
      ...programVolumes(program),
      { name: "instance", configMap: { name: object } },
      { name: "environment", emptyDir: {} },
      { name: "own", emptyDir: {} },
      { name: "launcher", emptyDir: { sizeLimit: "64Mi" } },
      { name: "temporary", emptyDir: {} },
      ...(models === null
        ? []
        : [{ name: "models", persistentVolumeClaim: { claimName: models.claim, readOnly: true } }]),
    ],
  };
}
