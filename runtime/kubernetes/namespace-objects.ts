import type { V1ConfigMap, V1Deployment, V1Ingress, V1Pod, V1Service } from "@kubernetes/client-node";
import { Bell } from "../bell";
import { ApiError, KubernetesApi } from "./api";
import type { Cluster } from "./connection";
import { managedBy } from "./names";
import { programLabel } from "./program";
import { WatchedObjects } from "./watched-objects";

/** What tells how the services and workstations of a namespace are. */
export interface NamespaceObjects {
  /** Without the programs of pods, which are large. */
  readonly configMaps: readonly V1ConfigMap[];
  readonly deployments: readonly V1Deployment[];
  readonly pods: readonly V1Pod[];
  readonly services: readonly V1Service[];
  readonly ingresses: readonly V1Ingress[];
}

type Kind = keyof NamespaceObjects;

const places: Readonly<Record<Kind, { readonly group: string; readonly resource: string }>> = {
  configMaps: { group: "/api/v1", resource: "configmaps" },
  deployments: { group: "/apis/apps/v1", resource: "deployments" },
  pods: { group: "/api/v1", resource: "pods" },
  services: { group: "/api/v1", resource: "services" },
  ingresses: { group: "/apis/networking.k8s.io/v1", resource: "ingresses" },
};
const kinds = Object.keys(places) as Kind[];

/** Milliseconds until the first look of a watch has to have succeeded. */
const firstLook = 30_000;

function placeOf(kind: Kind, { namespace }: Cluster, name: string | undefined) {
  const { group, resource } = places[kind];
  const labels = [
    `${managedBy.key}=${managedBy.value}`,
    ...(name === undefined ? [] : [`app.kubernetes.io/instance=${name}`]),
    // Of an instance, what it was told is in its release's record.
    ...(kind === "configMaps" ? ["app.kubernetes.io/component!=instance", `!${programLabel}`] : []),
  ];
  return {
    path: `${group}/namespaces/${namespace}/${resource}`,
    selector: { labelSelector: labels.join(",") },
  };
}

/**
 * Looks once at the objects of a namespace, or at those of one service and workstation.
 * @throws {ApiError} or {ApiUnreachableError}
 */
export async function listNamespace(cluster: Cluster, name?: string): Promise<NamespaceObjects> {
  const api = new KubernetesApi(cluster.config);
  const found = await Promise.all(
    kinds.map(async (kind) => {
      const { path, selector } = placeOf(kind, cluster, name);
      try {
        return [kind, await api.list(path, selector)] as const;
      } catch (error) {
        // They only say how a service is reached from outside, and are not everybody's to see.
        if (kind === "ingresses" && error instanceof ApiError && error.status === 403) return [kind, []] as const;
        throw error;
      }
    }),
  );
  return Object.fromEntries(found) as unknown as NamespaceObjects;
}

/** The same, kept up to date by watches. */
export class NamespaceWatch {
  private readonly found = new Map<Kind, readonly unknown[]>();
  private readonly changes = new Bell();
  private readonly watches: readonly WatchedObjects[];

  constructor(cluster: Cluster, name?: string) {
    const api = new KubernetesApi(cluster.config);
    this.watches = kinds.map(
      (kind) =>
        new WatchedObjects({
          api,
          ...placeOf(kind, cluster, name),
          log: () => this.changes.ring(),
          onChange: (objects) => {
            this.found.set(kind, [...objects.values()]);
            this.changes.ring();
          },
        }),
    );
  }

  /** Returns after the first look. To be called when {@link listNamespace} has succeeded: here, a refusal is asked again for a while. */
  async start(): Promise<void> {
    await Promise.all(this.watches.map((watch) => watch.start(firstLook)));
  }

  close(): void {
    for (const watch of this.watches) watch.close();
  }

  get objects(): NamespaceObjects {
    return Object.fromEntries(kinds.map((kind) => [kind, this.found.get(kind) ?? []])) as unknown as NamespaceObjects;
  }

  /** What stands between this machine and the cluster at the moment, or null. What was known stays in force. */
  get problem(): string | null {
    return this.watches.map(({ problem }) => problem).find((problem) => problem !== "") ?? null;
  }

  /** Aborted with the next change. */
  get next(): AbortSignal {
    return this.changes.next;
  }
}
