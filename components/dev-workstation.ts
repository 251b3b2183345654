import type * as pulumi from "@pulumi/pulumi";
import type { Duration } from "../runtime/units";
import { declare } from "./declarations";
import { type Environment, environmentOf, type WorkstationEnvironment } from "./environment";
import type { LocalPlatform } from "./platforms";
import { owner, Workstation } from "./resources";
import { sdk } from "./sdk";

/** Arguments of {@link DevWorkstation}. */
export interface DevWorkstationArgs {
  /** Where it runs. Changing it replaces the workstation. */
  readonly platform: LocalPlatform;
  /** The environment that it works in: its folder, or folder and layout. Changing it restarts ComfyUI. */
  readonly environment: Environment;
  /**
   * Whether ComfyUI runs. Changes in place; a stop waits for the running prompt. Save, stop, then publish: no plugin is then
   * half installed.
   * @default "running"
   */
  readonly state?: "running" | "stopped";
  /** Port on the loopback interface. Changing it restarts ComfyUI. @default one that is free, chosen once and remembered */
  readonly port?: number;
  /** Further command-line arguments of ComfyUI. Changing them restarts it. @default [] */
  readonly arguments?: readonly string[];
  /** Environment variables of ComfyUI. Changing them restarts it. @default {} */
  readonly environmentVariables?: Readonly<Record<string, pulumi.Input<string>>>;
  /** How long ComfyUI may take until it answers. @default "10m" */
  readonly startTimeout?: Duration;
  /** How long a stop waits for the running prompt before it ends it. @default "10m" */
  readonly stopTimeout?: Duration;
}

/**
 * The ComfyUI in which a person builds the environment: models, plugins, Python packages. What users are served from is a
 * `Snapshot` of it.
 *
 *     const workstation = new DevWorkstation("studio", { platform, environment: "./studio" });
 */
export class DevWorkstation extends sdk.ComponentResource {
  /** What a `Snapshot` is taken of: a plain value, which waits until the workstation is as it is declared. */
  readonly environment: WorkstationEnvironment;
  /** Where the workstation answers, also while it is stopped. */
  readonly url: pulumi.Output<string>;
  /** @internal How it is declared, for a snapshot that is published only when it is stopped. */
  readonly declaration: { readonly directory: string; readonly name: string; readonly state: "running" | "stopped" };

  constructor(name: string, args: DevWorkstationArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:DevWorkstation", name, {}, opts);
    const environment = environmentOf(args.environment);
    const declarations = declare("DevWorkstation", name, { ...args, environment });
    const { platform, state = "running" } = args;

    const workstation = new Workstation(
      name,
      { ...inputsOf(name, args), declarations, owner: owner() },
      { parent: this },
    );

    this.declaration = { directory: platform.directory, name, state };
    this.environment = { ...environment, workstation: this };
    this.url = workstation.url;
    this.registerOutputs({ url: this.url });
  }
}

/** The arguments as the provider takes them. */
export function inputsOf(name: string, args: DevWorkstationArgs): pulumi.Inputs {
  const { platform, environment, startTimeout = "10m", stopTimeout = "10m" } = args;
  return {
    directory: platform.directory,
    workstation: name,
    environment: environmentOf(environment),
    state: args.state,
    port: args.port,
    arguments: args.arguments,
    environmentVariables: args.environmentVariables,
    startTimeout,
    stopTimeout,
  };
}
