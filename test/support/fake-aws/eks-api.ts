import { invalid, notFound } from "./errors";
import type { NodeGroups, Nodegroup, NodegroupSpec, Taint, Update } from "./node-groups";

export interface EksCluster {
  readonly name: string;
  readonly version: string;
  readonly subnetIds: readonly string[];
}

const account = "111122223333";
const region = "eu-west-1";

type Body = Readonly<Record<string, unknown>>;

/** The part of EKS' REST API that is served: https://docs.aws.amazon.com/eks/latest/APIReference/API_Operations.html */
export function answerEks(
  clusters: readonly EksCluster[],
  groups: NodeGroups,
  method: string,
  path: string,
  body: Body,
): Body {
  const [, resource, clusterName = "", kind, groupName, action, updateId] = path.split("/").map(decodeURIComponent);
  if (resource !== "clusters") throw notFound(`the fake serves no ${path}`);
  const cluster = clusters.find(({ name }) => name === clusterName);
  if (cluster === undefined) throw notFound(`No cluster found for name: ${clusterName}.`);
  if (method === "GET" && kind === undefined) return { cluster: describedCluster(cluster) };
  if (kind === "node-groups" && groupName === undefined) {
    if (method === "POST") {
      return { nodegroup: described(cluster, groups.create(clusterName, specOf(body))) };
    }
    const names = groups.all().filter((group) => group.cluster === clusterName);
    return { nodegroups: names.map(({ name }) => name) };
  }
  // UpdateNodegroupConfig's path: https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupConfig.html
  if (kind === "node-groups" && groupName !== undefined) {
    const group = groups.find(clusterName, groupName);
    if (method === "GET") return { nodegroup: described(cluster, group) };
    if (method === "DELETE") {
      groups.delete(group);
      return { nodegroup: described(cluster, group) };
    }
    if (action === "update-config")
      return { update: describedUpdate(groups.update(group, "ConfigUpdate", configOf(group, body))) };
    if (action === "update-version") {
      const { version, releaseVersion, launchTemplate } = body;
      const change = { version, releaseVersion, launchTemplate };
      return { update: describedUpdate(groups.update(group, "VersionUpdate", defined(change))) };
    }
  }
  if (kind === "updates" && groupName !== undefined) throw invalid("the fake serves updates of node groups only");
  throw notFound(`the fake serves no ${method} ${path} ${action ?? ""}${updateId ?? ""}`);
}

/** DescribeUpdate: `GET /clusters/<name>/updates/<id>?nodegroupName=<group>`. */
export function answerUpdate(groups: NodeGroups, cluster: string, group: string, id: string): Body {
  const update = groups.find(cluster, group).updates.get(id);
  if (update === undefined) throw notFound(`No update found for id: ${id}.`);
  return { update: describedUpdate(update) };
}

function specOf(body: Body): NodegroupSpec {
  const { clientRequestToken: _, ...spec } = body;
  if (typeof spec.nodegroupName !== "string") throw invalid("nodegroupName is missing");
  if (typeof spec.nodeRole !== "string") throw invalid("nodeRole is missing");
  if (!Array.isArray(spec.subnets) || spec.subnets.length === 0) throw invalid("subnets are missing");
  return { scalingConfig: { minSize: 1, maxSize: 2, desiredSize: 2 }, ...spec } as NodegroupSpec;
}

interface ConfigChange {
  readonly labels?: {
    readonly addOrUpdateLabels?: Readonly<Record<string, string>>;
    readonly removeLabels?: readonly string[];
  };
  readonly taints?: { readonly addOrUpdateTaints?: readonly Taint[]; readonly removeTaints?: readonly Taint[] };
  readonly scalingConfig?: NodegroupSpec["scalingConfig"];
  readonly updateConfig?: object;
}

function configOf({ spec }: Nodegroup, body: Body): Partial<NodegroupSpec> {
  const { labels, taints, scalingConfig, updateConfig } = body as ConfigChange;
  const kept = Object.entries(spec.labels ?? {}).filter(([key]) => !labels?.removeLabels?.includes(key));
  const [gone, come] = [taints?.removeTaints ?? [], taints?.addOrUpdateTaints ?? []];
  const same = (one: Taint) => (other: Taint) => one.key === other.key && one.effect === other.effect;
  return {
    ...(labels === undefined ? {} : { labels: { ...Object.fromEntries(kept), ...labels.addOrUpdateLabels } }),
    ...(taints === undefined
      ? {}
      : { taints: [...(spec.taints ?? []).filter((taint) => ![...gone, ...come].some(same(taint))), ...come] }),
    ...(scalingConfig === undefined ? {} : { scalingConfig }),
    ...(updateConfig === undefined ? {} : { updateConfig }),
  };
}

function defined(values: Body): Body {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function describedCluster({ name, version, subnetIds }: EksCluster): Body {
  return {
    name,
    version,
    status: "ACTIVE",
    arn: `arn:aws:eks:${region}:${account}:cluster/${name}`,
    resourcesVpcConfig: { subnetIds, vpcId: "vpc-0" },
  };
}

function described(cluster: EksCluster, group: Nodegroup): Body {
  const { name, spec, status, issues, desired, autoScalingGroup, created } = group;
  return {
    version: cluster.version,
    releaseVersion: `${cluster.version}.0-20260101`,
    amiType: "AL2023_x86_64_STANDARD",
    capacityType: "ON_DEMAND",
    ...spec,
    scalingConfig: { ...spec.scalingConfig, ...(autoScalingGroup === "" ? {} : { desiredSize: desired }) },
    clusterName: cluster.name,
    nodegroupArn: `arn:aws:eks:${region}:${account}:nodegroup/${cluster.name}/${name}/${created.getTime()}`,
    createdAt: created.getTime() / 1000,
    status,
    health: { issues: issues.map((issue) => ({ ...issue, resourceIds: [autoScalingGroup] })) },
    resources: { autoScalingGroups: autoScalingGroup === "" ? [] : [{ name: autoScalingGroup }] },
  };
}

function describedUpdate({ id, type, status }: Update): Body {
  return { id, type, status, errors: [] };
}
