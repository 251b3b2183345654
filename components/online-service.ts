import type * as pulumi from "@pulumi/pulumi";
import { declare } from "./declarations";
import type { OnlineServiceArgs } from "./online-service-args";
import { publicPlacement } from "./placement";
import { publicPlatform } from "./platforms";
import { kubernetesService } from "./platforms/kubernetes/service";
import { localService } from "./platforms/local/service";
import { sdk } from "./sdk";
import { pinOf } from "./store";

/**
 * ComfyUI as users get it: instances that start from a snapshot, behind one address. A changed snapshot rotates it: new
 * instances start, are proven, get the traffic, and the old ones finish their work and go.
 *
 *     const service = new OnlineService("studio", { platform, snapshot, scaling: fixed(2) });
 */
export class OnlineService extends sdk.ComponentResource {
  /** Where users reach the service. Stays the same over rotations. */
  readonly url: pulumi.Output<string>;
  /** Id of the release that is declared, `r<revision>-<random>`. */
  readonly release: pulumi.Output<string>;

  constructor(name: string, args: OnlineServiceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:OnlineService", name, {}, opts);
    const declarations = declare("OnlineService", name, declared(args));
    const declaration = { name, args, child: { parent: this }, declarations };
    const { platform } = args;
    const { url, release } =
      platform.kind === "local" ? localService(declaration, platform) : kubernetesService(declaration, platform);
    this.url = url;
    this.release = release;
    this.registerOutputs({ url: this.url, release: this.release });
  }
}

/** What is declared is looked at by every check of the program: no place for keys. */
function declared({ gateway, snapshot, platform, placement, ...rest }: OnlineServiceArgs): object {
  const { reference, store } = pinOf(snapshot);
  const placed = placement === undefined ? {} : { placement: publicPlacement(placement) };
  const args = { ...rest, ...placed, platform: publicPlatform(platform), snapshot: reference, store };
  if (gateway === undefined) return args;
  const { apiKeys, ...plain } = gateway;
  // Whether somebody has to show one decides which ways in are refused.
  return { ...args, gateway: { ...plain, ...(apiKeys === undefined ? {} : { apiKeys: "declared" }) } };
}
