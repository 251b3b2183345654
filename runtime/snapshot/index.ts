export { checkEnvironment } from "./check-environment";
export { type Difference, explainDifference } from "./explain";
export { type ExportedSnapshot, type ExportRequest, exportSnapshot, exportToFile } from "./export";
export { incompleteReason, incompleteReference } from "./incomplete";
export { type LastPacked, readLastPacked } from "./last-packed";
export { type RestoreLimits, usualLimits } from "./limits";
export { pack } from "./pack";
export {
  type ExpiringSnapshot,
  type Packs,
  type PrunedSnapshot,
  type PruneRequest,
  type Pruning,
  prune,
} from "./prune";
export { pruneWait } from "./prune-wait";
export { listSnapshots, readCounted, readHead } from "./read";
export { formatReference, parseReference } from "./reference";
export { restore } from "./restore";
export type { Protection, Retention } from "./retention";
export { scan, scanCounted } from "./scan";
export * from "./types";
export { verify } from "./verify";
export { type StoreVerification, type VerifyStoreRequest, verifyStore } from "./verify-store";
