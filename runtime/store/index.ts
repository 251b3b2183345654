export { FolderStore } from "./folder-store";
export {
  type AbandonedObjects,
  DamagedObjectError,
  ObjectNotFoundError,
  type ObjectStore,
  type StoredObject,
} from "./object-store";
export { openStore } from "./open-store";
export { processToken, stateOfProcess, uniqueToken } from "./process-token";
export { UnconditionalWritesError } from "./s3-conditions";
export { type FailureKind, S3Error } from "./s3-failure";
export { formatS3Location, isS3Location, parseS3Location, type S3Location } from "./s3-location";
export { type S3Sizes, S3Store } from "./s3-store";
export type { StoreCredentials, StoreRetries, StoreSettings, StoreTimeouts } from "./store-settings";
