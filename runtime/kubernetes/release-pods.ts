import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./connection";
import { DeploymentPods } from "./deployment-pods";
import { labelsOf, objectNames, releaseLabel } from "./names";

/** The pods of a release's Deployment, kept up to date. */
export class ReleasePods extends DeploymentPods {
  constructor(
    cluster: Cluster,
    service: string,
    private readonly release: string,
    problem: (text: string) => void,
  ) {
    super(cluster, { ...labelsOf(service, "instance"), [releaseLabel]: release }, problem);
  }

  /** What a person calls an instance. */
  idOf(pod: V1Pod, service: string): string {
    return instanceId(pod, service, this.release);
  }
}

/** `<release>/<what the pod's name has after the Deployment's>`: the gateway calls it the same. */
export function instanceId({ metadata }: V1Pod, service: string, release: string): string {
  const prefix = `${objectNames(service).release(release)}-`;
  const name = metadata?.name ?? "";
  return `${release}/${name.startsWith(prefix) ? name.slice(prefix.length) : name}`;
}

/** Whether all that a Deployment declares is there and ready. */
export function isAvailable({ metadata, spec, status }: V1Deployment): boolean {
  const wanted = spec?.replicas ?? 1;
  return (
    wanted > 0 &&
    (status?.observedGeneration ?? 0) >= (metadata?.generation ?? 0) &&
    status?.replicas === wanted &&
    status.readyReplicas === wanted
  );
}
