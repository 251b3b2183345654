import type * as pulumi from "@pulumi/pulumi";
import { after } from "./depends-on";
import { DevWorkstation } from "./dev-workstation";
import type { DevWorkstationArgs } from "./dev-workstation-args";
import type { ClaimEnvironment, Environment } from "./environment";
import { OnlineService } from "./online-service";
import type { OnlineServiceArgs } from "./online-service-args";
import type { Platform } from "./platforms";
import type { Scaling } from "./scaling";
import { sdk } from "./sdk";
import { Snapshot, type SnapshotArgs } from "./snapshot";
import type { Store } from "./store";

/** Arguments of {@link ComfyUIProject}. */
export interface ComfyUIProjectArgs {
  /** Where workstation and service run. */
  readonly platform: Platform;
  /** The environment that the workstation works in: a folder of this machine, or in a cluster `claim({ … })`. */
  readonly environment: Environment | ClaimEnvironment;
  /** Where snapshots are kept. */
  readonly store: Store;
  /** How many instances the service has. */
  readonly scaling: Scaling;
  /** Further arguments of the workstation. */
  readonly workstation?: Omit<DevWorkstationArgs, "platform" | "environment">;
  /** Further arguments of the snapshot. */
  readonly snapshot?: Omit<SnapshotArgs, "environment" | "store">;
  /** Further arguments of the service. With `snapshot`, it serves that one instead of the workstation's: a rollback. */
  readonly service?: Partial<Omit<OnlineServiceArgs, "platform" | "scaling">>;
}

/** A ComfyUI project on one platform: workstation, snapshot and online service, wired. */
export class ComfyUIProject extends sdk.ComponentResource {
  readonly workstation: DevWorkstation;
  readonly snapshot: Snapshot;
  readonly service: OnlineService;

  constructor(name: string, args: ComfyUIProjectArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:ComfyUIProject", name, {}, opts);
    const { platform, environment, store, scaling } = args;
    const child = { parent: this, dependsOn: after(opts) };

    this.workstation = new DevWorkstation(name, { ...args.workstation, platform, environment }, child);
    this.snapshot = new Snapshot(name, { ...args.snapshot, environment: this.workstation.environment, store }, child);
    this.service = new OnlineService(name, { snapshot: this.snapshot, ...args.service, platform, scaling }, child);
    this.registerOutputs({
      serviceUrl: this.service.url,
      workstationUrl: this.workstation.url,
      snapshot: this.snapshot.reference,
    });
  }
}
