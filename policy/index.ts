export type { DeclaredResource, ProductionSettings, Violation } from "./declared";
export { type GpuCeilings, gpuCeilings } from "./gpus";
export { unpinnedSnapshots } from "./pinned-snapshots";
export { publicServices } from "./public-services";
export { runningWorkstations } from "./workstations";
