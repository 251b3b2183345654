import { z } from "zod";
import { type Owner, ownerName, sameOwner } from "../../runtime/deployment";
import {
  type Cluster,
  type ClusterAddress,
  entranceEnding,
  reachCluster,
  reasonOf,
  ServiceRecords,
  settingProblems,
  WorkstationRecords,
  workstationEnding,
} from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { isUnknown } from "../unknown";
import { namespaceSchema, podSchema, podSettings } from "./pod";

export const kubernetesSchema = z.strictObject({
  kind: z.literal("kubernetes"),
  kubeconfig: z.string().min(1, "is empty: name a kubeconfig, or leave it out").optional(),
  context: z.string().min(1, "is empty: name a context, or leave it out").optional(),
  namespace: namespaceSchema,
  pod: podSchema.default({}),
});

/** The same as far as it tells where it is; the pods are looked at by themselves. */
export const clusterPlaceSchema = kubernetesSchema.extend({ pod: z.unknown() });

export type ClusterPlace = z.output<typeof clusterPlaceSchema>;

/** A name becomes the beginning of objects' names, of which a pod's is the longest. */
export function clusterNameProblems(name: string): readonly Problem[] {
  if (/^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$/.test(name)) {
    const taken = Object.entries({ workstations: workstationEnding, "load balancers": entranceEnding });
    return taken
      .filter(([, ending]) => name.endsWith(ending))
      .map(([what, ending]) => ({
        path: "name",
        reason: `${JSON.stringify(name)} cannot name it in a cluster: objects of ${what} end in "${ending}"`,
      }));
  }
  const reason = `${JSON.stringify(name)} cannot name it in a cluster: use up to 30 lower-case letters, digits and inner hyphens, a letter first`;
  return [{ path: "name", reason }];
}

/**
 * What is wrong with a platform and what a component wants there; and its cluster, where it can be reached.
 * @param given what the component says of its pods itself, as it is declared.
 * @param content the kubeconfig where it is given as content: a secret, which is not in the declaration.
 * @param instances whether its pods restore their environments: only they keep them on their nodes.
 */
export async function lookAtCluster(
  platform: ClusterPlace,
  given: unknown,
  { content, instances }: { readonly content: string | undefined; readonly instances: boolean },
): Promise<{ readonly cluster: Cluster | null; readonly problems: readonly Problem[] }> {
  const [shared, own] = [podSchema.safeParse(platform.pod ?? {}), podSchema.safeParse(given)];
  const named = [given, platform.pod].some((pod) => Object(pod).image !== undefined);
  const reason = "names no image for ComfyUI's container: name one here or in kubernetes({ pod })";
  const noImage: readonly Problem[] = named ? [] : [{ path: "pod.image", reason }];
  const hidden = isUnknown(platform.kubeconfig);
  // Only the service's own resources know it.
  if (hidden && (content === undefined || isUnknown(content))) return { cluster: null, problems: noImage };
  const kubeconfig = hidden ? content : platform.kubeconfig;
  const address: ClusterAddress = { ...platform, kubeconfig };
  const reached = await reachCluster(address);
  if (reached.cluster === null || reached.problems.length > 0) {
    return { cluster: reached.cluster, problems: [...noImage, ...reached.problems] };
  }
  const known = { ...(shared.success ? shared.data : {}), image: "unknown" };
  const settings = podSettings(known, own.success ? own.data : {});
  const pod = instances ? settings : { ...settings, nodeCache: null };
  return {
    cluster: reached.cluster,
    problems: [...noImage, ...(await settingProblems(reached.cluster, pod, Object(given)))],
  };
}

/** A service that another stack owns. */
export async function ownerProblems(
  cluster: Cluster,
  service: string,
  owner: Owner,
  takeover: boolean,
): Promise<readonly Problem[]> {
  try {
    const record = await new ServiceRecords(cluster, service).record();
    if (record === null || takeover || sameOwner(record.claim.owner, owner)) return [];
    const { claim } = record;
    const reason = `service ${service} in the namespace ${cluster.namespace} is owned by ${ownerName(claim.owner)} since ${claim.since}; choose another name, or take it over with takeover: true`;
    return [{ path: "name", reason }];
  } catch (error) {
    return [{ path: "platform", reason: `the record of service ${service} cannot be read: ${reasonOf(error)}` }];
  }
}

/** A workstation that another stack owns. */
export async function workstationOwnerProblems(
  cluster: Cluster,
  workstation: string,
  owner: Owner,
): Promise<readonly Problem[]> {
  try {
    const record = await new WorkstationRecords(cluster, workstation).record();
    if (record === null || sameOwner(record.claim.owner, owner)) return [];
    const { claim } = record;
    const reason = `workstation ${workstation} in the namespace ${cluster.namespace} is owned by ${ownerName(claim.owner)} since ${claim.since}; choose another name`;
    return [{ path: "name", reason }];
  } catch (error) {
    return [
      { path: "platform", reason: `the record of workstation ${workstation} cannot be read: ${reasonOf(error)}` },
    ];
  }
}
