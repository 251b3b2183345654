import type * as pulumi from "@pulumi/pulumi";
import { objectNames } from "../../../runtime/kubernetes/names";
import { clusterFacts } from "../../aws/cluster";
import { launchTemplate, machineHash, nodeGroup, nodeRole } from "../../aws/node-group-parts";
import type { OnlineServiceArgs } from "../../online-service-args";
import { nodeGroupNameOf, type PerReleasePlacement, placementOf } from "../../placement";
import { type ClusterRelease, NodeCapacity } from "../../resources";
import { sdk } from "../../sdk";
import type { KubernetesPlatform } from "./platform";

/** What a placement adds to a service. */
export interface Placed {
  /** What the release is told of it; undefined where pods run anywhere. */
  readonly release: pulumi.Inputs | undefined;
  /** Makes the release's own nodes, which have to be there before its instances; null where it has none. */
  readonly nodes: (release: ClusterRelease) => NodeCapacity | null;
}

export interface PlacementDeclaration {
  readonly name: string;
  readonly args: OnlineServiceArgs;
  readonly platform: KubernetesPlatform;
  /** Inputs that tell where the service is. */
  readonly place: pulumi.Inputs;
  readonly claim: pulumi.Resource;
  /** Of what a rotation replaces. */
  readonly opts: pulumi.CustomResourceOptions;
}

const none = () => null;

/** On which nodes a service's instances run. */
export function placed(declaration: PlacementDeclaration): Placed {
  const placement = placementOf(declaration.args.placement);
  switch (placement.kind) {
    case "anywhere":
      return { release: undefined, nodes: none };
    case "shared":
      return { release: { kind: "shared", nodeGroup: nodeGroupNameOf(placement.nodeGroup) }, nodes: none };
    case "karpenter":
      return { release: { kind: "karpenter", nodePool: placement.nodePool }, nodes: none };
    case "perRelease":
      return ownNodes(placement, declaration);
  }
}

/** Nodes that each release has for itself. */
function ownNodes(placement: PerReleasePlacement, declaration: PlacementDeclaration): Placed {
  const { name, args, platform, place, claim, opts } = declaration;
  const { kind, timeout = "20m", instancesPerNode, ...machine } = placement;
  const config = new sdk.Config("aws");
  const region = machine.region ?? config.get("region");
  const profile = config.get("profile");
  const invoke = opts.parent === undefined ? {} : { parent: opts.parent };
  const cluster = clusterFacts(machine.cluster, machine.region, invoke);
  const where = { cluster: cluster.name, region, profile };
  const { scaling } = args;
  const pod = { ...platform.pod, ...args.pod };

  const nodes = (release: ClusterRelease) => {
    const claimed = { ...opts, dependsOn: [claim] };
    const template = launchTemplate(name, machine, cluster, claimed);
    const group = nodeGroup(
      name,
      machine,
      cluster,
      {
        nodeGroupName: release.id.apply((id) => objectNames(name).release(id)),
        // Missing capacity cannot keep it from being made.
        size: { min: 0, max: 1, desired: 0 },
        template,
        role: nodeRole(name, machine, claimed),
      },
      // The provider sends sizes all together, with the number of nodes that it saw last: so they are the EKS API's alone.
      { ...opts, dependsOn: [claim], ignoreChanges: ["scalingConfig"] },
    );
    return new NodeCapacity(
      name,
      {
        ...place,
        release: release.id,
        nodeGroup: { ...where, nodeGroup: group.nodeGroupName },
        ...(scaling.kind === "fixed"
          ? { count: scaling.count, least: scaling.count, most: scaling.count }
          : { count: release.startCount, least: scaling.min, most: scaling.max }),
        gpu: { resource: pod.gpuResource, count: pod.gpus },
        machine: {
          instanceTypes: machine.instanceTypes,
          capacity: machine.capacity,
          gpusPerNode: machine.gpusPerNode,
          instancesPerNode,
        },
        timeout,
      },
      { ...opts, dependsOn: [group] },
    );
  };
  return { release: { kind, ...where, machine: machineHash(machine, cluster) }, nodes };
}
