export { type InstanceSpec, instanceSpecSchema } from "./instance-spec";
export type { Pulse, Run, RunExit } from "./launching";
export type { AgentMessage, AgentPhase, AgentStatus } from "./status";
export { type FillSource, type WorkstationSpec, workstationSpecSchema } from "./workstation-spec";
