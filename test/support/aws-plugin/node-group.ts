import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { InitializationFailed } from "../plugin-base/errors";
import { at, isValues, listAt, textAt, type Values } from "../plugin-base/values";
import { CloudError } from "./cloud";
import type { Context, Kind } from "./kind";

/** Milliseconds between two looks. */
const interval = 100;

/** `aws_eks_node_group`: https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/eks/node_group.go */
export const nodeGroup: Kind = {
  inputs: [
    "amiType",
    "capacityType",
    "clusterName",
    "diskSize",
    "forceUpdateVersion",
    "instanceTypes",
    "labels",
    "launchTemplate",
    "nodeGroupName",
    "nodeGroupNamePrefix",
    "nodeRepairConfig",
    "nodeRoleArn",
    "region",
    "releaseVersion",
    "remoteAccess",
    "scalingConfig",
    "subnetIds",
    "tags",
    "taints",
    "updateConfig",
    "version",
  ],
  computed: [
    "amiType",
    "capacityType",
    "diskSize",
    "instanceTypes",
    "launchTemplate.id",
    "launchTemplate.name",
    "nodeGroupName",
    "nodeGroupNamePrefix",
    "nodeRepairConfig",
    "region",
    "releaseVersion",
    "updateConfig",
    "version",
  ],
  replacing: [
    "amiType",
    "capacityType",
    "clusterName",
    "diskSize",
    "instanceTypes",
    "launchTemplate.id",
    "launchTemplate.name",
    "nodeGroupName",
    "nodeGroupNamePrefix",
    "nodeRoleArn",
    "region",
    "remoteAccess",
    "subnetIds",
  ],
  sets: ["subnetIds", "taints"],

  async create(context, inputs) {
    const cluster = textAt(inputs, "clusterName") ?? "";
    const prefix = textAt(inputs, "nodeGroupNamePrefix") ?? "terraform-";
    const name = textAt(inputs, "nodeGroupName") ?? `${prefix}${Date.now()}${randomBytes(5).toString("hex")}`;
    const id = `${cluster}:${name}`;
    await call(context, "CreateNodegroup", `creating EKS Node Group (${id})`, "POST", folder(cluster), {
      ...request(inputs),
      nodegroupName: name,
    });
    // From here on it is there.
    const group = await settled(context, cluster, name, "CREATING");
    if (at(group, "status") !== "ACTIVE") {
      const issues = listAt(group, "health", "issues").map(
        (one) => `${textAt(one, "code")}: ${textAt(one, "message")}`,
      );
      const message = `waiting for EKS Node Group (${id}) create: unexpected state '${textAt(group, "status")}', wanted target 'ACTIVE'. last error: ${issues.join("; ")}`;
      throw new InitializationFailed(message, id, stateOf(group, inputs), []);
    }
    return { id, state: stateOf(group, inputs) };
  },

  async read(context, id) {
    const [cluster, name] = parsed(id);
    const group = await find(context, cluster, name);
    return group === undefined ? undefined : stateOf(group, {});
  },

  async update(context, id, state, wanted) {
    const [cluster, name] = parsed(id);
    const path = `${folder(cluster)}/${encodeURIComponent(name)}`;
    const changed = (...keys: readonly string[]) =>
      keys.some((key) => wanted[key] !== undefined && !isDeepStrictEqual(wanted[key], state[key]));
    if (changed("launchTemplate", "releaseVersion", "version")) {
      const { launchTemplate, releaseVersion, version } = wanted;
      const change = {
        launchTemplate,
        ...(changed("releaseVersion") ? { releaseVersion } : {}),
        ...(changed("version") ? { version } : {}),
      };
      const what = `updating EKS Node Group (${id}) version`;
      await call(context, "UpdateNodegroupVersion", what, "POST", `${path}/update-version`, change);
      await settled(context, cluster, name, "UPDATING");
    }
    const configuration = ["labels", "scalingConfig", "taints", "updateConfig", "nodeRepairConfig"];
    if (configuration.some((key) => !isDeepStrictEqual(wanted[key] ?? state[key], state[key]) || gone(key))) {
      const change = {
        labels: labelChange(state.labels, wanted.labels),
        taints: taintChange(listAt(state, "taints"), listAt(wanted, "taints")),
        // All of it, also where one size has changed: what Pulumi's state has of the others.
        ...(changed("scalingConfig") ? { scalingConfig: wanted.scalingConfig } : {}),
        ...(changed("updateConfig") ? { updateConfig: wanted.updateConfig } : {}),
      };
      const what = `updating EKS Node Group (${id}) config`;
      await call(context, "UpdateNodegroupConfig", what, "POST", `${path}/update-config`, change);
      await settled(context, cluster, name, "UPDATING");
    }
    const group = await find(context, cluster, name);
    return { ...stateOf(group ?? {}, wanted), tags: wanted.tags };

    function gone(key: string): boolean {
      return (key === "labels" || key === "taints") && state[key] !== undefined && wanted[key] === undefined;
    }
  },

  async delete(context, id) {
    const [cluster, name] = parsed(id);
    const path = `${folder(cluster)}/${encodeURIComponent(name)}`;
    try {
      await call(context, "DeleteNodegroup", `deleting EKS Node Group (${id})`, "DELETE", path);
    } catch (error) {
      if (error instanceof Error && error.cause instanceof CloudError && error.cause.isNotFound) return;
      throw error;
    }
    while ((await find(context, cluster, name)) !== undefined)
      await pause(interval, undefined, { signal: context.signal });
  },
};

function parsed(id: string): readonly [string, string] {
  const [cluster = "", name = ""] = id.split(":");
  if (name === "") throw new Error(`unexpected format for ID (${id}), expected cluster-name:node-group-name`);
  return [cluster, name];
}

const folder = (cluster: string) => `/clusters/${encodeURIComponent(cluster)}/node-groups`;

async function call(
  { cloud }: Context,
  operation: string,
  what: string,
  method: string,
  path: string,
  body?: Values,
): Promise<Values> {
  try {
    return await cloud.call(method, path, body);
  } catch (error) {
    if (!(error instanceof CloudError)) throw error;
    throw new Error(
      `${what}: operation error EKS: ${operation}, https response error StatusCode: ${error.status}, RequestID: 0, ${error.code}: ${error.message}`,
      { cause: error },
    );
  }
}

async function find({ cloud }: Context, cluster: string, name: string): Promise<Values | undefined> {
  try {
    const { nodegroup } = await cloud.call("GET", `${folder(cluster)}/${encodeURIComponent(name)}`);
    return isValues(nodegroup) ? nodegroup : undefined;
  } catch (error) {
    if (error instanceof CloudError && error.isNotFound) return undefined;
    throw error;
  }
}

/** Waits until it has another status than this one. */
async function settled(context: Context, cluster: string, name: string, status: string): Promise<Values> {
  for (;;) {
    const group = await find(context, cluster, name);
    if (group === undefined) throw new Error(`EKS Node Group (${cluster}:${name}) couldn't be found`);
    if (group.status !== status) return group;
    await pause(interval, undefined, { signal: context.signal });
  }
}

/** Arguments as CreateNodegroup takes them. */
function request(inputs: Values): Values {
  const { nodeRoleArn: nodeRole, subnetIds: subnets, clusterName: _, nodeGroupName: __, region: ___, ...rest } = inputs;
  return { ...rest, nodeRole, subnets };
}

function stateOf(group: Values, inputs: Values): Values {
  const { nodeRole, subnets, nodegroupName, nodegroupArn, resources, createdAt: _, health: __, ...rest } = group;
  const autoscalingGroups = listAt(resources, "autoScalingGroups");
  return {
    diskSize: 0,
    nodeGroupNamePrefix: "",
    region: textAt(inputs, "region") ?? "eu-west-1",
    ...rest,
    nodeGroupName: nodegroupName,
    nodeRoleArn: nodeRole,
    subnetIds: subnets,
    arn: nodegroupArn,
    resources: [{ autoscalingGroups, remoteAccessSecurityGroupId: "" }],
    tagsAll: group.tags ?? {},
  };
}

function labelChange(before: unknown, after: unknown): Values | undefined {
  const [old, wanted] = [isValues(before) ? before : {}, isValues(after) ? after : {}];
  const addOrUpdateLabels = Object.fromEntries(Object.entries(wanted).filter(([key, value]) => old[key] !== value));
  const removeLabels = Object.keys(old).filter((key) => !(key in wanted));
  return { addOrUpdateLabels, removeLabels };
}

function taintChange(old: readonly unknown[], wanted: readonly unknown[]): Values {
  const same = (one: unknown) => (other: unknown) => isDeepStrictEqual(one, other);
  const place = (one: unknown) => (other: unknown) =>
    at(one, "key") === at(other, "key") && at(one, "effect") === at(other, "effect");
  return {
    addOrUpdateTaints: wanted.filter((taint) => !old.some(same(taint))),
    removeTaints: old.filter((taint) => !wanted.some(place(taint))),
  };
}
