import { type Cluster, objectNames, orNull, reasonOf, statusOf } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { isUnknown } from "../unknown";
import { defaultLoadBalancerClass } from "./entrance";
import { objectNameSchema } from "./pod";

const path = "gateway.entrance";

/** Who makes load balancers: the AWS load balancer controller, or EKS Auto Mode; by the API group that they bring. */
const makers: Readonly<Record<string, string>> = {
  "elbv2.k8s.aws": "elbv2.k8s.aws/pod-readiness-gate-inject",
  "eks.amazonaws.com": "eks.amazonaws.com/pod-readiness-gate-inject",
};

/** What an entrance needs of a cluster: who makes a load balancer of it, the namespace's label, and the Secret of a login. */
export async function entranceClusterProblems(
  cluster: Cluster,
  service: string,
  declared: unknown,
): Promise<readonly Problem[]> {
  if (declared === undefined || isUnknown(Object(declared).kind)) return [];
  // Whatever else is wrong with it, or not known yet.
  const { kind, authentication, loadBalancerClass = defaultLoadBalancerClass } = Object(declared);
  const { type, secret } = Object(authentication);
  try {
    const { groups } = await cluster.apis.getAPIVersions();
    const labels = groups.flatMap(({ name }) => makers[name] ?? []);
    const problems: Problem[] = [];
    if (labels.length === 0) {
      const reason = `the AWS load balancer controller is not in the cluster: its API server has no group ${Object.keys(makers).join(" or ")}`;
      problems.push({ path, reason });
    } else problems.push(...(await readinessProblems(cluster, labels)));
    if (type === "oidc" && objectNameSchema.safeParse(secret).success) {
      problems.push(...(await secretProblems(cluster, secret)));
    }
    if (kind === "networkLoadBalancer") {
      problems.push(...(await classProblems(cluster, objectNames(service).entrance, loadBalancerClass)));
    }
    return problems;
  } catch (error) {
    return [{ path, reason: `what the cluster has for it cannot be looked at: ${reasonOf(error)}` }];
  }
}

/**
 * Without this label a gateway's pod is Ready before the load balancer sends it anything, and the one that it replaces goes:
 * https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/
 */
async function readinessProblems({ core, namespace }: Cluster, labels: readonly string[]): Promise<readonly Problem[]> {
  const found = await unlessForbidden(core.readNamespace({ name: namespace }));
  if (found === null || labels.some((label) => found.metadata?.labels?.[label] === "enabled")) return [];
  const [label = ""] = labels;
  const reason = `the namespace ${namespace} has no label ${label}: enabled, so that a gateway would be replaced before the load balancer sends anything to the next one: kubectl label namespace ${namespace} ${label}=enabled`;
  return [{ path, reason }];
}

/** The API server refuses another class of a Service that is there: https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-class */
async function classProblems({ core, namespace }: Cluster, name: string, wanted: unknown): Promise<readonly Problem[]> {
  const found = await unlessForbidden(orNull(core.readNamespacedService({ name, namespace })));
  if (found === null || found.spec?.loadBalancerClass === wanted) return [];
  const reason = `is another one than that of the Service ${name}, ${JSON.stringify(found.spec?.loadBalancerClass ?? null)}, which cannot be changed: take the entrance out, and in again with another pulumi up`;
  return [{ path: `${path}.loadBalancerClass`, reason }];
}

async function secretProblems({ core, namespace }: Cluster, name: string): Promise<readonly Problem[]> {
  const where = `${path}.authentication.secret`;
  const found = await unlessForbidden(orNull(core.readNamespacedSecret({ name, namespace })), undefined);
  if (found === undefined) return [];
  if (found === null) {
    return [{ path: where, reason: `the namespace ${namespace} has no Secret ${JSON.stringify(name)}` }];
  }
  return ["clientID", "clientSecret"].flatMap((key) =>
    found.data?.[key] === undefined
      ? [{ path: where, reason: `the Secret ${JSON.stringify(name)} has no key ${JSON.stringify(key)}` }]
      : [],
  );
}

/** Not everybody who deploys may look at everything; what is missing then shows when it is used. */
async function unlessForbidden<T, Otherwise = null>(
  request: Promise<T>,
  otherwise: Otherwise = null as Otherwise,
): Promise<T | Otherwise> {
  try {
    return await request;
  } catch (error) {
    if (statusOf(error) === 403) return otherwise;
    throw error;
  }
}
