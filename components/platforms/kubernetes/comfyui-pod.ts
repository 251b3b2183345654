import type { types } from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import type { PodSettings } from "../../../runtime/deployment";
import { modelsFolder, ports } from "../../../runtime/kubernetes/pod-places";
import { podSecurity, restricted } from "../../../runtime/kubernetes/pod-security";
import { nodeCacheMount, nodeCacheVolume, prepareNodeCache } from "./node-cache";
import { programMounts, programVolumes, runProgram } from "./program";

/** Seconds for which the agent holds a probe of what is not so yet. */
const held = 25;

/** Where the kubelet mounts a service account's token by itself. */
const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

export interface ComfyUIPod {
  /** What the agent is started as. */
  readonly mode: "instance" | "workstation";
  readonly pod: PodSettings;
  /** Seconds that it gets to end. */
  readonly grace: number;
  /** Name of the ConfigMap with the programs. */
  readonly programs: pulumi.Input<string>;
  /** Name of the Secret with ComfyUI's environment variables. */
  readonly variables: pulumi.Input<string>;
  /** Name of the ConfigMap with what the agent is told. */
  readonly told: pulumi.Input<string>;
  /** The volume of the environment. */
  readonly environment: Partial<types.input.core.v1.Volume>;
  /** Ephemeral storage of the node. */
  readonly storage: string | undefined;
  readonly agentEnvironment: readonly types.input.core.v1.EnvVar[];
  /** Account of a pod whose agent talks to the API server; its token is mounted in the agent's container only. */
  readonly agentAccount?: pulumi.Input<string>;
}

/** The pod in which ComfyUI runs, with the agent beside it. */
export function comfyuiPod(declaration: ComfyUIPod) {
  const { mode, pod, grace, programs, variables, told, environment, storage, agentAccount } = declaration;
  const { gpu, resources, user } = pod;
  // What is null may be left out on its way through the state.
  const models = pod.models ?? null;
  const nodeCache = pod.nodeCache ?? null;
  const serviceAccount = agentAccount ?? pod.serviceAccount ?? null;
  const storeCredentials = pod.storeCredentials ?? null;
  const priorityClass = pod.priorityClass ?? null;
  const runtimeClass = pod.runtimeClass ?? null;
  const gpus = gpu.count === 0 ? {} : { [gpu.resource]: String(gpu.count) };
  const ephemeral = storage === undefined ? {} : { "ephemeral-storage": storage };
  const probe = (path: string) => ({ httpGet: { path, port: ports.agent } });
  // Held until it holds: a failure is an event each, of which the kubelet drops all that come after the first few.
  const heldProbe = (path: string) => ({
    ...probe(`${path}?wait=${held}`),
    periodSeconds: 1,
    timeoutSeconds: held + 5,
  });
  // What a person downloads in a workstation goes to the models' claim.
  const modelsReadOnly = mode === "instance";
  const shared = [
    { name: "environment", mountPath: "/comfyui/environment" },
    { name: "own", mountPath: "/comfyui/own" },
    { name: "launcher", mountPath: "/comfyui/launcher" },
    ...(models === null
      ? []
      : [{ name: "models", mountPath: modelsFolder, subPath: models.folder, readOnly: modelsReadOnly }]),
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
    initContainers: [
      ...(nodeCache === null ? [] : [prepareNodeCache(pod.agentImage, user)]),
      {
        name: "agent",
        image: pod.agentImage,
        // A native sidecar: it is there before ComfyUI starts, and until it has ended.
        restartPolicy: "Always",
        command: runProgram("agent.js", [mode]),
        env: [...declaration.agentEnvironment],
        ...(storeCredentials === null ? {} : { envFrom: [{ secretRef: { name: storeCredentials } }] }),
        ports: [
          { name: "agent", containerPort: ports.agent },
          ...(mode === "instance" ? [] : [{ name: "relay", containerPort: ports.relay }]),
        ],
        // As long as a restore takes: whoever waits for the pod ends it.
        startupProbe: { ...heldProbe("/started"), failureThreshold: 86_400 },
        // An agent that is started again is silent for a few seconds, and says nothing of ComfyUI by that.
        readinessProbe: { ...heldProbe("/ready"), failureThreshold: 5 },
        resources: { requests: { cpu: "100m", memory: "256Mi" } },
        securityContext: { ...restricted, readOnlyRootFilesystem: true },
        terminationMessagePolicy: "FallbackToLogsOnError",
        volumeMounts: [
          ...programMounts,
          ...shared,
          { name: "told", mountPath: `/comfyui/${mode}`, readOnly: true },
          { name: "temporary", mountPath: "/tmp" },
          // Not for ComfyUI: plugins are strangers' code, and what they write must not come into other pods.
          ...(nodeCache === null ? [] : [nodeCacheMount]),
          ...(agentAccount === undefined ? [] : [{ name: "token", mountPath: tokenFolder, readOnly: true }]),
        ],
      },
    ],
    containers: [
      {
        name: "comfyui",
        image: pod.image,
        command: ["/comfyui/launcher/python", "/comfyui/launcher/launcher.py"],
        envFrom: [{ secretRef: { name: variables } }],
        ports: [{ name: "http", containerPort: ports.comfyui }],
        // A workstation is its person's: it is never ended for being silent.
        ...(mode === "instance"
          ? { livenessProbe: { ...probe("/live"), periodSeconds: 30, timeoutSeconds: 10, failureThreshold: 3 } }
          : {}),
        lifecycle: { preStop: probe("/drain") },
        resources: {
          requests: { ...ephemeral, ...resources.requests, ...gpus },
          limits: { ...ephemeral, ...resources.limits, ...gpus },
        },
        securityContext: restricted,
        volumeMounts: shared,
      },
    ],
    volumes: [
      ...programVolumes(programs),
      { name: "told", configMap: { name: told } },
      { name: "environment", ...environment },
      { name: "own", emptyDir: {} },
      { name: "launcher", emptyDir: { sizeLimit: "64Mi" } },
      { name: "temporary", emptyDir: {} },
      ...(nodeCache === null ? [] : [nodeCacheVolume(nodeCache, user)]),
      ...(models === null
        ? []
        : [{ name: "models", persistentVolumeClaim: { claimName: models.claim, readOnly: modelsReadOnly } }]),
      ...(agentAccount === undefined ? [] : [tokenVolume]),
    ],
  };
}

/** What the kubelet would mount in every container of the pod: plugins are strangers' code, and get none of it. */
const tokenVolume = {
  name: "token",
  projected: {
    sources: [
      { serviceAccountToken: { path: "token", expirationSeconds: 3600 } },
      { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      { downwardAPI: { items: [{ path: "namespace", fieldRef: { fieldPath: "metadata.namespace" } }] } },
    ],
  },
};
