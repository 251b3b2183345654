export { type GatewayOptions, type RunningGateway, startGateway } from "./gateway";
export type { Shutdown } from "./listener";
export type { Log } from "./log";
export type { TargetReceiver, TargetSource } from "./target-source";
export * from "./targets";
export type { Timeouts } from "./timeouts";
