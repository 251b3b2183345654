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
