import type * as pulumi from "@pulumi/pulumi";
import { nodeCapacity } from "./eks/node-capacity";
import { gateway } from "./gateway";
import { healthGate } from "./health-gate";
import { instances } from "./instances";
import { clusterHealthGate } from "./kubernetes/health-gate";
import { clusterRelease } from "./kubernetes/release";
import { clusterServiceClaim } from "./kubernetes/service-claim";
import { clusterSnapshot } from "./kubernetes/snapshot";
import { clusterTrafficSwitch } from "./kubernetes/traffic-switch";
import { clusterWorkstation } from "./kubernetes/workstation";
import { clusterWorkstationClaim } from "./kubernetes/workstation-claim";
import { release } from "./release";
import { adapt } from "./resource";
import { serviceClaim } from "./service-claim";
import { snapshot } from "./snapshot";
import { trafficSwitch } from "./traffic-switch";
import { workstation } from "./workstation";

/** What the serialised provider of each resource type calls, by the type's name. State refers to these names. */
export const providers = {
  ClusterHealthGate: adapt(clusterHealthGate),
  ClusterRelease: adapt(clusterRelease),
  ClusterServiceClaim: adapt(clusterServiceClaim),
  ClusterSnapshot: adapt(clusterSnapshot),
  ClusterTrafficSwitch: adapt(clusterTrafficSwitch),
  ClusterWorkstation: adapt(clusterWorkstation),
  ClusterWorkstationClaim: adapt(clusterWorkstationClaim),
  Gateway: adapt(gateway),
  HealthGate: adapt(healthGate),
  Instances: adapt(instances),
  NodeCapacity: adapt(nodeCapacity),
  Release: adapt(release),
  ServiceClaim: adapt(serviceClaim),
  Snapshot: adapt(snapshot),
  TrafficSwitch: adapt(trafficSwitch),
  Workstation: adapt(workstation),
} satisfies Record<string, pulumi.dynamic.ResourceProvider>;

export type ResourceType = keyof typeof providers;
