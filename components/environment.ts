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
  /**
   * Storage class of the claim to make; cannot be changed, since another claim would have another environment: make such a claim, bring the environment
   * there and name the claim. @default the cluster's default one
   */
  readonly storageClass?: string;
  /** Of the claim to make; cannot be changed. @default "ReadWriteOnce" */
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
export type WorkstationEnvironment = (EnvironmentArgs | ClaimEnvironment) & { readonly workstation: DevWorkstation };

/** A folder with the default layout, or both named. */
export type Environment = string | EnvironmentArgs;

/** An environment without the workstation that works in it, as resources are told of it. */
export function environmentOf(
  environment: Environment | ClaimEnvironment | WorkstationEnvironment,
): EnvironmentArgs | ClaimEnvironment {
  if (typeof environment === "string") return { root: environment };
  if ("kind" in environment) {
    const { workstation: _, ...plain } = environment as ClaimEnvironment & { readonly workstation?: DevWorkstation };
    return plain;
  }
  const { root, layout } = environment;
  return layout === undefined ? { root } : { root, layout };
}
