export { removeAutoscaler } from "./autoscaler";
export { ConflictError } from "./config-map-value";
export { type Cluster, type ClusterAddress, clusterName, connectCluster, isKubeconfigContent } from "./connection";
export { deploymentOf, scale } from "./deployments";
export { DrainRefusedError, drainRelease } from "./draining";
export { orNull, reasonOf, statusOf } from "./failure";
export { GatewayStatusWatch } from "./gateway-status";
export { reachCluster, settingProblems } from "./look";
export {
  annotationsOf,
  labelsOf,
  objectNames,
  ownerAnnotation,
  releaseLabel,
  selectorOf,
  workstationEnding,
  workstationNames,
} from "./names";
export { type PodStanding, standingOf } from "./pod-phase";
export { forwardTo } from "./port-forward";
export { programHash, provideProgram, removePrograms } from "./program";
export { UnhealthyError, untilProven } from "./proving";
export { isAvailable } from "./release-pods";
export { removeReleases, removeReleasesOf } from "./removal";
export { ownedByAnother, ServiceRecords, type Target } from "./service-record";
export { allWaysIn, podOf, type WayIn, waysIn } from "./way-in";
export { type WorkstationRecord, WorkstationRecords } from "./workstation-record";
export { endFailedPods, untilWorkstationRuns } from "./workstation-start";
export { stopWorkstation } from "./workstation-stop";
export { wakeWorkstation } from "./workstation-wake";
