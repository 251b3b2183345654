import type { Layout } from "../runtime/environment";
import type { DevWorkstation } from "./dev-workstation";

/** A ComfyUI environment on this machine. */
export interface EnvironmentArgs {
  /** The environment's folder, relative to the program's. */
  readonly root: string;
  /**
   * Where its parts are, each relative to `root`.
   * @default comfyui: "ComfyUI", plugins: "ComfyUI/custom_nodes", dependencies: "venv", cache: ".cache", models: "ComfyUI/models"
   */
  readonly layout?: Partial<Layout>;
}

/** The environment of a workstation: a value known at preview, and the workstation that a snapshot waits for. */
export interface WorkstationEnvironment extends EnvironmentArgs {
  readonly workstation: DevWorkstation;
}

/** A folder with the default layout, or both named. */
export type Environment = string | EnvironmentArgs;

export function environmentOf(environment: Environment | WorkstationEnvironment): EnvironmentArgs {
  if (typeof environment === "string") return { root: environment };
  const { root, layout } = environment;
  return layout === undefined ? { root } : { root, layout };
}
