export { type Boot, untilBooted } from "./booting";
export {
  baseDirectory,
  type ComfyUICommand,
  comfyuiCommand,
  comfyuiVariables,
  type OwnFolders,
  sourceFolder,
} from "./comfyui-command";
export { describeExit, type Evidence, type Exit, type Fault, faultOfExit, type Phase } from "./evidence";
export { endOfFile, lastLines, longestRead, tailBytes } from "./log-end";
export { demandModels, linkModels, MissingModelsError } from "./models";
export {
  absolutePath,
  argumentSchema,
  type HealthRequirements,
  healthSchema,
  layoutSchema,
  snapshotSchema,
  storeSchema,
} from "./requirements";
export { type RestoredInstance, restoredSchema } from "./restored";
export { type Activity, longestSilence, lookInterval, noticeable, Silence } from "./silence";
