import { at, isValues, listAt, numberAt, textAt, type Values } from "../plugin-base/values";
import type { Api } from "./api";
import { annotation, annotations, apiVersionOf, isAnnotated, kindOf, nameOf, namespaceOf } from "./objects";
import { missingConditions } from "./wait-for";

/** What a live object still lacks. */
export interface Readiness {
  readonly missing: readonly string[];
  readonly failed?: boolean;
}

export interface ReadyCheck {
  readonly look: (live: Values) => Promise<Readiness>;
  /** Milliseconds that a wait takes at most. */
  readonly timeout: number;
}

const minutes = (count: number) => count * 60_000;
const ready: Readiness = { missing: [] };

/** Milliseconds that a Service's endpoints have to stay as they are. */
const settling = 10_000;

/**
 * What is waited for after an object was created or changed; undefined for nothing. `skipAwait` and `waitFor` come before what
 * the kind has of its own.
 */
export function readyCheck(inputs: Values, api: Api, { settle }: { readonly settle: boolean }): ReadyCheck | undefined {
  if (isAnnotated(inputs, annotations.skipAwait)) return undefined;
  const expression = annotation(inputs, annotations.waitFor);
  if (expression !== undefined) {
    return { timeout: minutes(10), look: async (live) => ({ missing: missingConditions(expression, live) }) };
  }
  switch (`${apiVersionOf(inputs)}/${kindOf(inputs)}`) {
    case "apps/v1/Deployment":
      return { timeout: minutes(10), look: (live) => deployment(live, api) };
    case "apps/v1/StatefulSet":
      return { timeout: minutes(10), look: async (live) => statefulSet(live) };
    case "apps/v1/DaemonSet":
      return { timeout: minutes(10), look: async (live) => daemonSet(live) };
    case "batch/v1/Job":
      return { timeout: minutes(10), look: async (live) => job(live) };
    case "v1/Pod":
      return { timeout: minutes(10), look: async (live) => pod(live) };
    case "v1/Service":
      return { timeout: minutes(10), look: service(api, settle) };
    case "v1/PersistentVolumeClaim":
      return { timeout: minutes(5), look: (live) => claim(live, api) };
    case "v1/PersistentVolume":
      return {
        timeout: minutes(5),
        look: async (live) => isPhase(live, ["Available", "Bound"], "Waiting for the volume to be available"),
      };
    case "networking.k8s.io/v1/Ingress":
      return { timeout: minutes(10), look: (live) => ingress(live, api) };
    default:
      return undefined;
  }
}

function isPhase(live: Values, phases: readonly string[], otherwise: string): Readiness {
  return phases.includes(textAt(live, "status", "phase") ?? "") ? ready : { missing: [otherwise] };
}

function condition(live: Values, type: string): Values | undefined {
  return listAt(live, "status", "conditions")
    .filter(isValues)
    .find((one) => one.type === type);
}

const isTrue = (live: Values, type: string) => condition(live, type)?.status === "True";

function isObserved(live: Values): boolean {
  return (numberAt(live, "status", "observedGeneration") ?? 0) >= (numberAt(live, "metadata", "generation") ?? 0);
}

async function deployment(live: Values, api: Api): Promise<Readiness> {
  const wanted = numberAt(live, "spec", "replicas") ?? 1;
  const updated = numberAt(live, "status", "updatedReplicas") ?? 0;
  const available = numberAt(live, "status", "availableReplicas") ?? 0;
  const all = numberAt(live, "status", "replicas") ?? 0;
  if (isObserved(live) && updated >= wanted && all === updated && available >= wanted && isTrue(live, "Available")) {
    return ready;
  }
  const missing = [`Waiting for app ReplicaSet be available (${available}/${wanted} Pods available)`];
  const progress = condition(live, "Progressing");
  if (progress?.status === "False") missing.push(`[${progress.reason}] ${progress.message}`);
  return { missing: [...missing, ...(await troubles(live, api))] };
}

/** What the containers of a Deployment's pods say they wait for. */
async function troubles(live: Values, api: Api): Promise<readonly string[]> {
  const labels = at(live, "spec", "selector", "matchLabels");
  if (!isValues(labels)) return [];
  const labelSelector = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  const pods = await api.list("v1", "Pod", namespaceOf(live) || "default", { labelSelector });
  return pods.flatMap((one) => [
    ...(condition(one, "PodScheduled")?.status === "False"
      ? [`[Pod ${nameOf(one)}]: ${textAt(condition(one, "PodScheduled"), "message")}`]
      : []),
    ...[...listAt(one, "status", "initContainerStatuses"), ...listAt(one, "status", "containerStatuses")].flatMap(
      (status) => {
        const waiting = at(status, "state", "waiting");
        if (!isValues(waiting) || /^(ContainerCreating|PodInitializing)$/.test(String(waiting.reason))) return [];
        return [
          `[Pod ${nameOf(one)}]: container ${textAt(status, "name")}: [${waiting.reason}] ${waiting.message ?? ""}`,
        ];
      },
    ),
  ]);
}

function statefulSet(live: Values): Readiness {
  const wanted = numberAt(live, "spec", "replicas") ?? 1;
  const there = numberAt(live, "status", "readyReplicas") ?? 0;
  const updated = textAt(live, "status", "currentRevision") === textAt(live, "status", "updateRevision");
  if (isObserved(live) && there >= wanted && updated) return ready;
  return { missing: [`Waiting for StatefulSet to roll out (${there}/${wanted} Pods ready)`] };
}

function daemonSet(live: Values): Readiness {
  const wanted = numberAt(live, "status", "desiredNumberScheduled") ?? 0;
  const there = numberAt(live, "status", "numberReady") ?? 0;
  const updated = numberAt(live, "status", "updatedNumberScheduled") ?? 0;
  if (isObserved(live) && there >= wanted && updated >= wanted) return ready;
  return { missing: [`Waiting for DaemonSet to roll out (${there}/${wanted} Pods ready)`] };
}

function job(live: Values): Readiness {
  if (isTrue(live, "Complete")) return ready;
  const failure = condition(live, "Failed");
  if (failure?.status === "True") return { failed: true, missing: [`[${failure.reason}] ${failure.message}`] };
  return {
    missing: [`Waiting for Job "${nameOf(live)}" to succeed (Active: ${numberAt(live, "status", "active") ?? 0})`],
  };
}

function pod(live: Values): Readiness {
  if (isTrue(live, "Ready") || textAt(live, "status", "phase") === "Succeeded") return ready;
  const reason = condition(live, "Ready") ?? condition(live, "PodScheduled");
  return {
    missing: [`Waiting for Pod "${nameOf(live)}" to be ready: ${reason?.message ?? textAt(live, "status", "phase")}`],
  };
}

/** Whether any address stands behind a Service. */
async function hasEndpoints(namespace: string, name: string, api: Api): Promise<string | undefined> {
  const slices = await api.list("discovery.k8s.io/v1", "EndpointSlice", namespace || "default", {
    labelSelector: `kubernetes.io/service-name=${name}`,
  });
  const addresses = slices.flatMap((slice) => listAt(slice, "endpoints").map((one) => listAt(one, "addresses").join()));
  return addresses.length === 0 ? undefined : addresses.sort().join();
}

function service(api: Api, settle: boolean): ReadyCheck["look"] {
  let last: string | undefined;
  let since = performance.now();
  return async (live) => {
    if (textAt(live, "spec", "type") === "ExternalName" || textAt(live, "spec", "clusterIP") === "None") return ready;
    const missing: string[] = [];
    const endpoints = await hasEndpoints(namespaceOf(live), nameOf(live), api);
    if (endpoints !== last) since = performance.now();
    last = endpoints;
    if (endpoints === undefined) {
      missing.push(
        "Service does not target any Pods. Selected Pods may not be ready, or field '.spec.selector' may not match labels on any Pods",
      );
    } else if (settle && performance.now() - since < settling) missing.push("[1/3] Finding Pods to direct traffic to");
    if (
      textAt(live, "spec", "type") === "LoadBalancer" &&
      listAt(live, "status", "loadBalancer", "ingress").length === 0
    ) {
      missing.push("Service was not allocated an IP address; does your cloud provider support this?");
    }
    return { missing };
  };
}

/** A claim of a class that binds only for its first pod is not waited for. */
async function claim(live: Values, api: Api): Promise<Readiness> {
  if (textAt(live, "status", "phase") === "Bound") return ready;
  const name = textAt(live, "spec", "storageClassName");
  if (name) {
    const storageClass = await api.get({ apiVersion: "storage.k8s.io/v1", kind: "StorageClass", metadata: { name } });
    if (textAt(storageClass, "volumeBindingMode") === "WaitForFirstConsumer") return ready;
  }
  return { missing: [`PersistentVolumeClaim "${nameOf(live)}" is not bound: ${textAt(live, "status", "phase")}`] };
}

async function ingress(live: Values, api: Api): Promise<Readiness> {
  const backends = listAt(live, "spec", "rules").flatMap((rule) =>
    listAt(rule, "http", "paths").map((path) => textAt(path, "backend", "service", "name")),
  );
  backends.push(textAt(live, "spec", "defaultBackend", "service", "name"));
  const missing: string[] = [];
  for (const name of new Set(backends.filter((one) => one !== undefined))) {
    if ((await hasEndpoints(namespaceOf(live), name, api)) === undefined) {
      missing.push(`Ingress has a rule whose Service "${name}" targets no Pods`);
    }
  }
  if (listAt(live, "status", "loadBalancer", "ingress").length === 0) {
    missing.push("Ingress .status.loadBalancer field was not updated with a hostname/IP address.");
  }
  return { missing };
}

// Kinds for which `skipAwait` also means that nobody waits until the object is gone. For all others it does not.
const goneUnawaited = new Set([
  "DaemonSet",
  "Deployment",
  "Job",
  "Namespace",
  "Pod",
  "ReplicationController",
  "StatefulSet",
]);

export function isDeletionAwaited(inputs: Values): boolean {
  return !(isAnnotated(inputs, annotations.skipAwait) && goneUnawaited.has(kindOf(inputs)));
}

/** Milliseconds for a wait: of the resource's `customTimeouts`, else of its annotation, else the standard. */
export function timeoutOf(inputs: Values, customSeconds: number, standard: number): number {
  const seconds = customSeconds || Number(annotation(inputs, annotations.timeoutSeconds));
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : standard;
}
