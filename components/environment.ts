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

/** Arguments of {@link claim}: a claim to be made, or one that is there. */
export interface ClaimArgs {
  /** Name of a claim that is there, in the platform's namespace; it is not removed with the workstation. @default one is made */
  readonly name?: string;
  /** Size of the claim to make, as Kubernetes writes it: `"200Gi"`. It can grow in place where the storage class allows it. */
  readonly size?: string;
  /** Storage class of the claim to make. Changing it makes another claim: the environment stays behind. @default the cluster's default one */
  readonly storageClass?: string;
  /** @default "ReadWriteOnce" */
  readonly accessMode?: "ReadWriteOnce" | "ReadWriteOncePod" | "ReadWriteMany";
  /** As in {@link EnvironmentArgs}; the root is the claim's. */
  readonly layout?: Partial<Layout>;
}

/** See {@link claim}. */
export interface ClaimEnvironment extends ClaimArgs {
  readonly kind: "claim";
}

/**
 * An environment on a claim of a Kubernetes platform, mounted at `/comfyui/environment`.
 *
 *     new DevWorkstation("studio", { platform, environment: claim({ size: "200Gi" }) });
 */
export function claim(args: ClaimArgs): ClaimEnvironment {
  return { kind: "claim", ...args };
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
