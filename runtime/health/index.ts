export { ComfyUI, PromptRefusedError, type PromptResult } from "./comfyui";
export type { Finding, ProofPhase } from "./finding";
export {
  type ExpectedPlugin,
  judgePlugins,
  type Observation,
  observePlugins,
  type PluginFault,
} from "./plugins";
export { type Proof, type ProofRequest, prove } from "./prove";
export {
  type ImportFailure,
  type PluginImport,
  parseStartupLog,
  type StartupReport,
  saysPortInUse,
} from "./startup-log";
