import type { PodSettings } from "../deployment";
import { formatDuration } from "../format";
import type { Problem } from "../problems";
import {
  type Cluster,
  type ClusterAddress,
  ContextError,
  callTimeout,
  clusterName,
  connectCluster,
} from "./connection";
import { isTimeout, orNull, reasonOf, statusOf } from "./failure";

/** The first version whose native sidecars are on by default in every conformant cluster, and which is still looked after. */
const oldestMinor = 31;

/** Connects and asks the version; a problem with what stands in the way, named by its property. */
export async function reachCluster(
  address: ClusterAddress,
): Promise<
  | { readonly cluster: Cluster; readonly problems: readonly Problem[] }
  | { readonly cluster: null; readonly problems: readonly Problem[] }
> {
  let cluster: Cluster;
  try {
    cluster = await connectCluster(address, { patience: 0 });
  } catch (error) {
    const path = error instanceof ContextError && address.context !== undefined ? "context" : "kubeconfig";
    return { cluster: null, problems: [{ path: `platform.${path}`, reason: reasonOf(error) }] };
  }
  try {
    const { major, minor } = await cluster.version.getCode();
    const number = Number.parseInt(minor, 10);
    if (Number(major) === 1 && number < oldestMinor) {
      const reason = `${clusterName(cluster)} is Kubernetes ${major}.${minor}; 1.${oldestMinor} is the oldest that works`;
      return { cluster, problems: [{ path: "platform", reason }] };
    }
    return { cluster, problems: [] };
  } catch (error) {
    const path = address.kubeconfig !== undefined ? "platform.kubeconfig" : "platform";
    return { cluster: null, problems: [{ path, reason: `${clusterName(cluster)} ${whyNotReached(error)}` }] };
  }
}

function whyNotReached(error: unknown): string {
  if (statusOf(error) === 401) {
    return `refuses the kubeconfig's credentials: they have expired, or are of another cluster (${reasonOf(error)})`;
  }
  if (isTimeout(error)) return `cannot be reached: it did not answer within ${formatDuration(callTimeout)}`;
  return `cannot be reached: ${reasonOf(error)}`;
}

/**
 * What of a platform's settings the cluster does not have.
 * @param own what a component says of its pods itself; the rest stands in its platform.
 */
export async function settingProblems(
  cluster: Cluster,
  pod: PodSettings | null,
  own: object,
): Promise<readonly Problem[]> {
  const { core, namespace } = cluster;
  const problems: Problem[] = [];
  const look = async <T>(path: string, what: string, request: Promise<T>): Promise<T | null> => {
    try {
      const found = await orNull(request);
      if (found === null) problems.push({ path, reason: `${clusterName(cluster)} has no ${what}` });
      return found;
    } catch (error) {
      // Not everybody who deploys may look at everything; what is missing then shows when it is used.
      if (statusOf(error) !== 403) problems.push({ path, reason: `${what} cannot be looked at: ${reasonOf(error)}` });
      return null;
    }
  };
  const itself = core.readNamespace({ name: namespace });
  const found = await look("platform.namespace", `namespace ${JSON.stringify(namespace)}`, itself);
  if (problems.length > 0 || pod === null) return problems;
  const { models, serviceAccount, storeCredentials, imagePullSecrets, gpu, nodeCache } = pod;
  const pathOf = (property: string) => (property in own ? `pod.${property}` : `platform.pod.${property}`);
  if (nodeCache !== null) problems.push(...hostPathProblems(pathOf("nodeCache"), namespace, found?.metadata?.labels));
  const inNamespace = (kind: string, name: string) => `${kind} ${JSON.stringify(name)} in the namespace ${namespace}`;
  if (models !== null) {
    const { claim: name } = models;
    const request = core.readNamespacedPersistentVolumeClaim({ name, namespace });
    await look(`${pathOf("models")}.claim`, inNamespace("claim", name), request);
  }
  if (serviceAccount !== null) {
    const request = core.readNamespacedServiceAccount({ name: serviceAccount, namespace });
    await look(pathOf("serviceAccount"), inNamespace("service account", serviceAccount), request);
  }
  const secrets: readonly (readonly [string, string])[] = [
    ...(storeCredentials === null ? [] : [[pathOf("storeCredentials"), storeCredentials] as const]),
    ...imagePullSecrets.map((name, index) => [`${pathOf("imagePullSecrets")}[${index}]`, name] as const),
  ];
  for (const [path, name] of secrets) {
    await look(path, inNamespace("Secret", name), core.readNamespacedSecret({ name, namespace }));
  }
  return gpu.count === 0
    ? problems
    : [...problems, ...(await gpuProblems(cluster, pathOf("gpuResource"), gpu.resource))];
}

/** https://kubernetes.io/docs/concepts/security/pod-security-standards/ What a cluster enforces by default, or by other means, is not known. */
function hostPathProblems(
  path: string,
  namespace: string,
  labels: Readonly<Record<string, string>> = {},
): readonly Problem[] {
  const label = "pod-security.kubernetes.io/enforce";
  const level = labels[label];
  if (level !== "baseline" && level !== "restricted") return [];
  const reason = `the namespace ${namespace} enforces the Pod Security level ${JSON.stringify(level)} (label ${label}), which refuses pods with a folder of their node: leave it out, or use a namespace of level "privileged"`;
  return [{ path, reason }];
}

/** A GPU resource that no node has while nodes have another one. Without any, an autoscaler may still bring the nodes. */
async function gpuProblems(cluster: Cluster, path: string, resource: string): Promise<readonly Problem[]> {
  try {
    const { items } = await cluster.core.listNode({});
    const offered = new Set(items.flatMap(({ status }) => Object.keys(status?.allocatable ?? {})));
    const gpus = [...offered].filter((name) => /\/(gpu|mig-)/.test(name)).sort();
    if (offered.has(resource) || gpus.length === 0) return [];
    const reason = `no node of ${clusterName(cluster)} offers ${JSON.stringify(resource)}; they offer ${gpus.join(", ")}`;
    return [{ path, reason }];
  } catch (error) {
    if (statusOf(error) === 403) return [];
    return [{ path: "platform", reason: `nodes cannot be looked at: ${reasonOf(error)}` }];
  }
}
