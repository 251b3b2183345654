import type { V1ObjectMeta } from "@kubernetes/client-node";
import { type Watch, waitFor } from "../waiting";
import { ApiError, KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { scale } from "./deployments";
import { orNull } from "./failure";
import { managedBy, ownerAnnotation, partLabel, releaseLabel, selectorOf, serviceLabel } from "./names";
import { programLabel } from "./program";

/** The kinds of which this package makes objects that may go when nobody knows them. A claim with an environment is none. */
const kinds = {
  Deployment: "/apis/apps/v1/deployments",
  Job: "/apis/batch/v1/jobs",
  ScaledObject: "/apis/keda.sh/v1alpha1/scaledobjects",
  HorizontalPodAutoscaler: "/apis/autoscaling/v2/horizontalpodautoscalers",
  PodDisruptionBudget: "/apis/policy/v1/poddisruptionbudgets",
  Ingress: "/apis/networking.k8s.io/v1/ingresses",
  Service: "/api/v1/services",
  NetworkPolicy: "/apis/networking.k8s.io/v1/networkpolicies",
  RoleBinding: "/apis/rbac.authorization.k8s.io/v1/rolebindings",
  Role: "/apis/rbac.authorization.k8s.io/v1/roles",
  ServiceAccount: "/api/v1/serviceaccounts",
  Secret: "/api/v1/secrets",
  ConfigMap: "/api/v1/configmaps",
  Lease: "/apis/coordination.k8s.io/v1/leases",
} as const;

export type LabelledKind = keyof typeof kinds;

/** An object of this package in a namespace: what its metadata says. */
export interface LabelledObject {
  readonly kind: LabelledKind;
  readonly name: string;
  readonly uid: string;
  /** The service or workstation that it belongs to. */
  readonly service: string;
  /** What of it: a {@link Part}, if this package made it. */
  readonly part: string;
  readonly release: string | null;
  /** Whether it has programs of pods. */
  readonly isProgram: boolean;
  /** `organization/project/stack`; null where it does not say. */
  readonly owner: string | null;
}

export interface LabelledObjects {
  /** In the order in which they may be removed: what runs comes before what it reads. */
  readonly objects: readonly LabelledObject[];
  /** Kinds that may not be looked at with these credentials. */
  readonly hidden: readonly LabelledKind[];
}

/** Of contents, which may be large or secret, nothing is read. */
const metadataOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/** Milliseconds by which a pod may outlast its grace period until it is gone. */
const margin = 60_000;

function pathOf(kind: LabelledKind, namespace: string): string {
  const [, group, resource] = /^(.+)\/([^/]+)$/.exec(kinds[kind]) ?? [];
  return `${group}/namespaces/${namespace}/${resource}`;
}

/** Everything of this package in a namespace that has these labels as well. @throws {ApiError} or {ApiUnreachableError} */
export async function labelledObjects(
  { config, namespace }: Cluster,
  labels: Readonly<Record<string, string>> = {},
): Promise<LabelledObjects> {
  const api = new KubernetesApi(config);
  const labelSelector = selectorOf({ ...labels, [managedBy.key]: managedBy.value });
  const found = await Promise.all(
    (Object.keys(kinds) as LabelledKind[]).map(async (kind) => {
      try {
        const items = await api.list(pathOf(kind, namespace), { labelSelector }, metadataOnly);
        return { kind, objects: items.map((item) => objectOf(kind, item)) };
      } catch (error) {
        // Nobody has installed what serves this kind.
        if (error instanceof ApiError && error.status === 404) return { kind, objects: [] };
        if (error instanceof ApiError && error.status === 403) return { kind, objects: null };
        throw error;
      }
    }),
  );
  return {
    objects: found.flatMap(({ objects }) => objects ?? []),
    hidden: found.flatMap(({ kind, objects }) => (objects === null ? [kind] : [])),
  };
}

function objectOf(kind: LabelledKind, item: unknown): LabelledObject {
  const { metadata = {} } = item as { readonly metadata?: V1ObjectMeta };
  const { name = "", uid = "", labels = {}, annotations = {} } = metadata;
  return {
    kind,
    name,
    uid,
    service: serviceLabel({ metadata }),
    part: partLabel({ metadata }),
    release: labels[releaseLabel] ?? null,
    isProgram: labels[programLabel] !== undefined,
    owner: annotations[ownerAnnotation] ?? null,
  };
}

/** Removes an object, unless it is gone or another one of its name is there. What it owns goes with it. */
async function removeObject({ config, namespace }: Cluster, { kind, name, uid }: LabelledObject): Promise<void> {
  try {
    await new KubernetesApi(config).request({
      method: "DELETE",
      path: `${pathOf(kind, namespace)}/${name}`,
      body: { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background", preconditions: { uid } },
    });
  } catch (error) {
    if (!(error instanceof ApiError && [404, 409].includes(error.status))) throw error;
  }
}

/** Removes objects one after the other. The pods of a Deployment finish what they do and go before what they read does. */
export async function removeObjects(cluster: Cluster, objects: readonly LabelledObject[], watch: Watch): Promise<void> {
  for (const object of objects) {
    watch.signal.throwIfAborted();
    if (object.kind === "Deployment") await endPods(cluster, object.name, watch);
    await removeObject(cluster, object);
  }
}

async function endPods(cluster: Cluster, name: string, { progress, signal }: Watch): Promise<void> {
  const { apps, core, namespace } = cluster;
  const deployment = await orNull(apps.readNamespacedDeployment({ name, namespace }));
  if (deployment === null) return;
  await scale(cluster, name, 0);
  const { template, selector } = deployment.spec ?? {};
  const labelSelector = selectorOf(selector?.matchLabels ?? {});
  let left: readonly string[] = [];
  await waitFor({
    what: `the pods of Deployment ${name} to end`,
    deadline: (template?.spec?.terminationGracePeriodSeconds ?? 30) * 1_000 + margin,
    interval: 500,
    progress,
    signal,
    seen: () => left.join(", "),
    look: async () => {
      const { items } = await core.listNamespacedPod({ namespace, labelSelector });
      left = items.map(({ metadata }) => metadata?.name ?? "");
      return left.length === 0 ? true : undefined;
    },
  });
}
