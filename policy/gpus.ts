import {
  type DeclaredResource,
  isOwn,
  isPart,
  numberAt,
  placeOf,
  subjectOf,
  textAt,
  type Violation,
  valueAt,
} from "./declared";

/** How many GPUs may be asked for at a time. */
export interface GpuCeilings {
  /** By one service, while a rotation has both of its releases: twice its instances. @default no ceiling */
  readonly perService?: number;
  /** By the stack: all its services, each in a rotation, and its running workstations. @default no ceiling */
  readonly perStack?: number;
}

/**
 * No more GPUs than the ceilings say: what the pods of services in clusters ask for, at their greatest number of instances, and of running workstations. Nodes are
 * not looked at: what an autoscaler adds is there for pods.
 */
export function gpuCeilings(
  resources: readonly DeclaredResource[],
  { perService, perStack }: GpuCeilings,
): readonly Violation[] {
  const services = resources
    .filter((resource) => isOwn(resource, "ClusterRelease"))
    .map((one) => demandOf(one, resources));
  const violations: Violation[] = [];
  for (const { release, instances, gpus } of services) {
    const peak = 2 * instances * gpus;
    if (perService === undefined || peak <= perService) continue;
    const reason = `${instances} × ${gpus} GPUs are ${peak} while a rotation has both releases, more than the ${perService} that a service may have: ${remedy}`;
    violations.push({ resource: subjectOf(release), urn: release.urn, property: "scaling", reason });
  }
  const [first] = services;
  const workstations = resources.reduce((sum, resource) => sum + workstationGpus(resource, resources), 0);
  const inServices = services.reduce((sum, { instances, gpus }) => sum + instances * gpus, 0);
  const total = 2 * inServices + workstations;
  if (perStack !== undefined && total > perStack) {
    const ofServices = `the services' instances have ${inServices} GPUs, twice that while all rotate`;
    const reason = `${ofServices}, and running workstations ${workstations}: ${total} are more than the ${perStack} that a stack may have: ${remedy}`;
    const { release: at } = first ?? { release: resources.find((resource) => isOwn(resource, "ClusterWorkstation")) };
    violations.push({ resource: "stack", urn: at?.urn ?? "", property: "scaling", reason });
  }
  return violations;
}

const remedy = "let scaling have fewer instances, or pod.gpus fewer GPUs";

interface Demand {
  readonly release: DeclaredResource;
  /** At most. */
  readonly instances: number;
  /** Of each instance. */
  readonly gpus: number;
}

function demandOf(release: DeclaredResource, resources: readonly DeclaredResource[]): Demand {
  const gpus = numberAt(release, "servicePod", "gpus") ?? numberAt(release, "pod", "gpus") ?? 1;
  return { release, instances: instancesOf(release, resources), gpus };
}

/**
 * The release's own `scaling` is that of its beginning, since its change alone is no other release: what counts instances are the gate, and the
 * autoscaler.
 */
function instancesOf(release: DeclaredResource, resources: readonly DeclaredResource[]): number {
  const alike = resources.filter((resource) => placeOf(resource) === placeOf(release));
  const gate = alike.find((resource) => isOwn(resource, "ClusterHealthGate"));
  const counts = alike.flatMap((resource) => [
    ...(isPart(resource, "HorizontalPodAutoscaler", "instance") ? [numberAt(resource, "spec", "maxReplicas")] : []),
    ...(isPart(resource, "ScaledObject", "instance") ? [numberAt(resource, "spec", "maxReplicaCount")] : []),
  ]);
  const scaled = counts.filter((count) => count !== undefined);
  if (scaled.length > 0) return Math.max(...scaled);
  const declared = numberAt(release, "scaling", "max") ?? numberAt(release, "scaling", "count") ?? 1;
  const isFixed = gate !== undefined && valueAt(gate, "autoscaler") === undefined;
  return (isFixed ? numberAt(gate, "count") : undefined) ?? declared;
}

/** What the pod of a workstation that is declared running asks for. */
function workstationGpus(workstation: DeclaredResource, resources: readonly DeclaredResource[]): number {
  if (!isOwn(workstation, "ClusterWorkstation") || textAt(workstation, "state") !== "running") return 0;
  const isIts = (resource: DeclaredResource) =>
    isPart(resource, "Deployment", "workstation") && placeOf(resource) === placeOf(workstation);
  const pods = resources.find(isIts);
  // A change of the pod is none of the workstation itself: what the pod has is the Deployment's to say.
  return (pods && podGpus(pods)) ?? numberAt(workstation, "pod", "gpu", "count") ?? 0;
}

/** Sum of the extended resources, of which only GPUs are asked for; undefined where that is not known. */
function podGpus(pods: DeclaredResource): number | undefined {
  const containers = ["spec", "template", "spec", "containers"] as const;
  const all = valueAt(pods, ...containers);
  if (!Array.isArray(all)) return undefined;
  return Object.keys(all).reduce((sum, index) => {
    const limits = [...containers, index, "resources", "limits"] as const;
    const extended = Object.keys(Object(valueAt(pods, ...limits))).filter((name) => name.includes("/"));
    return sum + extended.reduce((own, name) => own + (numberAt(pods, ...limits, name) ?? 0), 0);
  }, 0);
}
