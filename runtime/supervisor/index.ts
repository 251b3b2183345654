export { connectSupervisor, findSupervisor, SupervisorClient } from "./client";
export { failRelease } from "./fail-release";
export { isFree as isPortFree } from "./ports";
export type * from "./protocol";
export { protocolVersion } from "./protocol";
export {
  readServiceRecords,
  readWorkstationRecords,
  type ServiceRecord,
  type WorkstationRecord,
} from "./records";
export { SupervisorError } from "./transport";
