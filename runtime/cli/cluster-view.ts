import type { V1ConfigMap, V1Deployment, V1Ingress, V1Pod, V1Service } from "@kubernetes/client-node";
import type { Phase, Release } from "../deployment";
import type { GatewayStatus } from "../gateway/targets";
import {
  type Cluster,
  hostAnnotation,
  instanceId,
  isReady,
  type NamespaceObjects,
  objectNames,
  parseRecord,
  parseTarget,
  partLabel,
  releaseLabel,
  serviceLabel,
  standingOf,
} from "../kubernetes";
import { workstationViews } from "./cluster-workstations";
import {
  type ClusterView,
  type GatewayPodView,
  type GatewayView,
  hasEnded,
  type InstanceView,
  type ServiceView,
} from "./platform-view";

/** What the leading gateway writes: its status, with the name of its pod. */
type Told = GatewayStatus & { readonly leader?: string };

/** What the objects of a namespace say of its services and workstations. */
export function clusterView({ config, namespace }: Cluster, objects: NamespaceObjects): ClusterView {
  return {
    kind: "kubernetes",
    server: config.getCurrentCluster()?.server ?? "",
    context: config.getCurrentContext(),
    namespace,
    services: objects.configMaps
      .filter((object) => partLabel(object) === "service" && object.data?.["record.json"] !== undefined)
      .map((object) => serviceView(object, objects, namespace))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    workstations: workstationViews(objects, namespace),
  };
}

function serviceView(recordObject: V1ConfigMap, all: NamespaceObjects, namespace: string): ServiceView {
  const name = serviceLabel(recordObject);
  const names = objectNames(name);
  const record = parseRecord(recordObject);
  const own = ofService(all, name);
  const targetObject = own.configMaps.find(({ metadata }) => metadata?.name === names.target);
  const target = targetObject === undefined ? null : parseTarget(targetObject);
  const serving = target?.release ?? null;
  const told = statusOf(own.configMaps.find(({ metadata }) => metadata?.name === names.gatewayStatus));
  return {
    name,
    owner: record.claim.owner,
    claimedSince: record.claim.since,
    revision: record.revision,
    serving,
    gateway: gatewayView(name, namespace, own, told),
    releases: record.releases.map((release) => withCount(release, own.deployments, names.release(release.id))),
    drainDeadline: record.settings.drain.deadline,
    instances: own.pods
      .filter((pod) => partLabel(pod) === "instance")
      .map((pod) => instanceView(pod, name, target?.draining ?? [], told))
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
}

function ofService(all: NamespaceObjects, name: string): NamespaceObjects {
  const isOwn = (object: { readonly metadata?: V1Pod["metadata"] }) => serviceLabel(object) === name;
  return {
    configMaps: all.configMaps.filter(isOwn),
    deployments: all.deployments.filter(isOwn),
    pods: all.pods.filter(isOwn),
    services: all.services.filter(isOwn),
    ingresses: all.ingresses.filter(isOwn),
  };
}

/** An autoscaler may want another number of instances than was declared. */
function withCount(release: Release, deployments: readonly V1Deployment[], name: string): Release {
  const replicas = deployments.find(({ metadata }) => metadata?.name === name)?.spec?.replicas;
  return replicas === undefined || hasEnded(release) ? release : { ...release, count: replicas };
}

function statusOf(object: V1ConfigMap | undefined): Told | null {
  const text = object?.data?.["status.json"];
  return text === undefined ? null : (JSON.parse(text) as Told);
}

function gatewayView(name: string, namespace: string, own: NamespaceObjects, told: Told | null): GatewayView | null {
  const deployment = own.deployments.find((object) => partLabel(object) === "gateway");
  if (deployment === undefined) return null;
  const pods = own.pods
    .filter((pod) => partLabel(pod) === "gateway")
    .map((pod) => gatewayPodView(pod, told))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    url: urlOf(name, namespace, own),
    running: pods.some(({ ready }) => ready),
    restarts: pods.reduce((sum, { restarts }) => sum + restarts, 0),
    wanted: deployment.spec?.replicas ?? 0,
    pods,
  };
}

function gatewayPodView(pod: V1Pod, told: Told | null): GatewayPodView {
  const { metadata, spec, status } = pod;
  const [container] = status?.containerStatuses ?? [];
  const { waiting, terminated } = container?.state ?? {};
  return {
    name: metadata?.name ?? "",
    ready: isReady(pod),
    leads: told !== null && told.leader === metadata?.name,
    node: spec?.nodeName ?? null,
    restarts: container?.restartCount ?? 0,
    createdAt: isoTime(metadata?.creationTimestamp),
    detail:
      metadata?.deletionTimestamp === undefined
        ? [waiting?.reason, waiting?.message, terminated?.reason].filter(Boolean).join(": ")
        : "it hands over and goes",
  };
}

function instanceView(pod: V1Pod, service: string, draining: readonly string[], told: Told | null): InstanceView {
  const { metadata, spec, status } = pod;
  const release = metadata?.labels?.[releaseLabel] ?? "";
  const id = instanceId(pod, service, release);
  const { phase, detail, fault } = standingOf(pod);
  const comfyui = status?.containerStatuses?.find(({ name }) => name === "comfyui");
  const leaving: Phase = phase === "proven" && draining.includes(release) ? "draining" : phase;
  return {
    id,
    release,
    phase: fault?.kind === "certain" ? "failed" : leaving,
    detail,
    createdAt: isoTime(metadata?.creationTimestamp),
    queueRemaining: told?.instances.find((one) => one.id === id)?.queueRemaining ?? null,
    restarts: comfyui?.restartCount ?? 0,
    evidence:
      fault === null ? null : { instance: id, phase: fault.phase, reason: fault.reason, logTail: fault.logTail ?? [] },
    pod: metadata?.name ?? "",
    node: spec?.nodeName ?? null,
  };
}

/** Where users reach it: its entrance, the Ingress's host, else a load balancer's address, else the name inside of the cluster. */
function urlOf(name: string, namespace: string, { services, ingresses }: NamespaceObjects): string {
  const entrance = entranceUrl(name, { services, ingresses });
  if (entrance !== null) return entrance;
  const host = ingresses.filter(isGateway).flatMap(({ spec }) => spec?.rules?.[0]?.host ?? [])[0];
  if (host !== undefined) return `https://${host}`;
  const service = services.find(isGateway);
  const [balancer] = service?.status?.loadBalancer?.ingress ?? [];
  const port = service?.spec?.ports?.[0]?.port ?? 80;
  const address = balancer?.hostname ?? balancer?.ip ?? `${service?.metadata?.name ?? name}.${namespace}.svc`;
  return `http://${address.includes(":") ? `[${address}]` : address}${port === 80 ? "" : `:${port}`}`;
}

/** Null while a load balancer without a host of its own has no address yet. */
function entranceUrl(
  name: string,
  { services, ingresses }: Pick<NamespaceObjects, "services" | "ingresses">,
): string | null {
  const isEntrance = (object: V1Service | V1Ingress) => object.metadata?.name === objectNames(name).entrance;
  const [ingress, service] = [ingresses.find(isEntrance), services.find(isEntrance)];
  const object = ingress ?? service;
  const [balancer] = object?.status?.loadBalancer?.ingress ?? [];
  const host = object?.metadata?.annotations?.[hostAnnotation] ?? balancer?.hostname;
  if (host === undefined) return null;
  const { name: scheme, port } = service?.spec?.ports?.[0] ?? {};
  const withTls = ingress?.metadata?.annotations?.["alb.ingress.kubernetes.io/certificate-arn"] !== undefined;
  if (ingress !== undefined) return `${withTls ? "https" : "http"}://${host}`;
  const usual = scheme === "https" ? 443 : 80;
  return `${scheme ?? "http"}://${host}${port === undefined || port === usual ? "" : `:${port}`}`;
}

const isGateway = (object: V1Service | V1Ingress) =>
  partLabel(object) === "gateway" && object.metadata?.name !== objectNames(serviceLabel(object)).entrance;

/** The client library makes dates of times; what comes by a watch has texts. */
function isoTime(time: Date | string | undefined): string {
  return time === undefined ? "" : new Date(time).toISOString();
}
