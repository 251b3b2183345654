export { type InstanceSpec, instanceSpecSchema } from "./instance-spec";
export type { Pulse, Run, RunExit } from "./launching";
export { packExits } from "./pack-exits";
export type { NotPackedMessage, PackedMessage, PackLine, PackSpec } from "./pack-spec";
export type { AgentMessage, AgentPhase, AgentStatus } from "./status";
export { type FillSource, type WorkstationSpec, workstationSpecSchema } from "./workstation-spec";
