export type { DeploymentRecord, RecordedRelease } from "./record";
export {
  hasServed,
  isOver,
  isUnconfirmed,
  lastOf,
  ownerName,
  recordRelease,
  sameOwner,
  specHash,
  withCount,
  withEvent,
  withRelease,
} from "./releases";
export type * from "./types";
export {
  fingerprintIn,
  idleStoppedAnnotation,
  type WorkstationFingerprint,
  type WorkstationPhase,
  type WorkstationStatus,
  workstationKeys,
  workstationStatusIn,
} from "./workstation";
