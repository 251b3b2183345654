import type * as pulumi from "@pulumi/pulumi";
import { declare } from "./declarations";
import { after } from "./depends-on";
import type { DevWorkstationArgs } from "./dev-workstation-args";
import { environmentOf, type WorkstationEnvironment } from "./environment";
import { publicPlatform } from "./platforms";
import { kubernetesWorkstation } from "./platforms/kubernetes/workstation";
import { localWorkstation } from "./platforms/local/workstation";
import type { DeclaredWorkstation } from "./platforms/workstation";
import { sdk } from "./sdk";
import { pinOf } from "./store";

/**
 * The ComfyUI in which a person builds the environment: models, plugins, Python packages. What users are served from is a
 * `Snapshot` of it.
 *
 *     const workstation = new DevWorkstation("studio", { platform, environment: "./studio" });
 *     const workstation = new DevWorkstation("studio", { platform: kubernetes({ … }), environment: claim({ size: "200Gi" }) });
 */
export class DevWorkstation extends sdk.ComponentResource {
  /** What a `Snapshot` is taken of: a plain value, which waits until the workstation is as it is declared. */
  readonly environment: WorkstationEnvironment;
  /** Where the workstation answers, also while it is stopped. In a cluster, inside of it; `pulumi-comfyui open` leads there from outside. */
  readonly url: pulumi.Output<string>;
  /** @internal How it is declared, for its snapshot. */
  readonly declaration: DeclaredWorkstation["declaration"];

  constructor(name: string, args: DevWorkstationArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:DevWorkstation", name, {}, opts);
    const declarations = declare("DevWorkstation", name, declared(args));
    const workstation = { name, args, child: { parent: this, dependsOn: after(opts) }, declarations };
    const { platform } = args;
    const { url, declaration } =
      platform.kind === "local"
        ? localWorkstation(workstation, platform)
        : kubernetesWorkstation(workstation, platform);
    this.declaration = declaration;
    this.environment = { ...environmentOf(args.environment), workstation: this };
    this.url = url;
    this.registerOutputs({ url: this.url });
  }
}

/** What is declared is looked at by every check of the program: no place for secrets. */
function declared({ platform, environment, from, ...rest }: DevWorkstationArgs): object {
  const { reference, store } = from === undefined ? {} : pinOf(from);
  return {
    ...rest,
    platform: publicPlatform(platform),
    environment: environmentOf(environment),
    from: reference,
    store,
  };
}
