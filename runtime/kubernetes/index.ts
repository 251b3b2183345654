export { removeAutoscaler } from "./autoscaler";
export { type Taint, tolerates } from "./capacity";
export { type ClaimContent, claimContent, settledClaimContent } from "./claim-content";
export { claimUse, soleHolder, workstationOf } from "./claim-use";
export { ConflictError } from "./config-map-value";
export { type Cluster, type ClusterAddress, clusterName, connectCluster } from "./connection";
export { deploymentOf, scale } from "./deployments";
export { DrainRefusedError, drainRelease } from "./draining";
export { failRelease, trafficAfterFailure } from "./fail-release";
export { orNull, reasonOf, statusOf } from "./failure";
export { GatewayStatusWatch } from "./gateway-status";
export { isKubeconfigContent } from "./kubeconfig-content";
export {
  type LabelledKind,
  type LabelledObject,
  labelledObjects,
  removeObjects,
} from "./labelled-objects";
export { reachCluster, settingProblems } from "./look";
export {
  annotationsOf,
  entranceEnding,
  hostAnnotation,
  labelsOf,
  managedBy,
  objectNames,
  ownerAnnotation,
  partLabel,
  releaseLabel,
  selectorOf,
  serviceLabel,
  workstationEnding,
  workstationNames,
} from "./names";
export { listNamespace, type NamespaceObjects, NamespaceWatch } from "./namespace-objects";
export { lookAtNodePool } from "./node-pool";
export { inUseText, type Packed, packInCluster } from "./packing";
export type { PackerSettings } from "./packing-job";
export { type LeftPacking, packingJobs } from "./packing-removal";
export { nodeGroupLabel, nodePoolLabel, nodesOfRelease, placedPod } from "./placement";
export { isReady, type PodStanding, standingOf } from "./pod-phase";
export { forwardTo } from "./port-forward";
export { programHash, programLabel, provideProgram, removePrograms } from "./program";
export { UnhealthyError, untilProven } from "./proving";
export { instanceId, isAvailable } from "./release-pods";
export { type RemovalRequest, recordRemoval, removeRelease, removeReleases, removeReleasesOf } from "./removal";
export {
  ownedByAnother,
  parseRecord,
  parseTarget,
  type ServiceRecord,
  ServiceRecords,
  type Target,
} from "./service-record";
export { allWaysIn, podOf, type WayIn, waysIn } from "./way-in";
export { parseWorkstationRecord, type WorkstationRecord, WorkstationRecords } from "./workstation-record";
export { endStuckPods, untilWorkstationRuns } from "./workstation-start";
export { stopWorkstation } from "./workstation-stop";
export { wakeWorkstation } from "./workstation-wake";
