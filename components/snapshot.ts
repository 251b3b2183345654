import type * as pulumi from "@pulumi/pulumi";
import { declare } from "./declarations";
import { type Environment, environmentOf, type WorkstationEnvironment } from "./environment";
import { owner, SnapshotContent } from "./resources";
import { sdk } from "./sdk";
import { type Store, type StoreAccess, storeOf } from "./store";

/** Arguments of {@link Snapshot}. */
export interface SnapshotArgs {
  /** What is packed: a workstation's `environment`, or a folder of this machine. */
  readonly environment: Environment | WorkstationEnvironment;
  /**
   * Where snapshots are kept: a folder relative to the program's, or `s3://bucket/prefix`. Changing it packs into the new one;
   * nothing is removed.
   */
  readonly store: Store;
  /**
   * `"referenced"`: models do not travel; path and size are recorded and checked where an instance starts. `"locked"`: their
   * content counts for the id as well. `"included"`: they travel. Changing it packs anew.
   * @default "referenced"
   */
  readonly models?: "referenced" | "locked" | "included";
  /**
   * `"onChange"`: every `pulumi up` that finds another content packs it. `"whenStopped"`: only while the workstation is
   * declared stopped; otherwise the earlier snapshot is kept, and without one it is an error.
   * @default "onChange"
   */
  readonly publish?: "onChange" | "whenStopped";
}

/**
 * An immutable copy of an environment, named by its content. A preview shows plugins and Python distributions by name and
 * version; a change of the content is another snapshot, of nothing else. Deleting it removes no data.
 */
export class Snapshot extends sdk.ComponentResource {
  /** `<store>#sha256:<digest>`: what a person pins. A service takes the `Snapshot` itself, with what its store needs to be told. */
  readonly reference: pulumi.Output<string>;
  /** What its store in S3 needs to be told, if anything. */
  readonly store: StoreAccess | undefined;

  constructor(name: string, args: SnapshotArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:Snapshot", name, {}, opts);
    const workstation =
      "workstation" in Object(args.environment) ? (args.environment as WorkstationEnvironment).workstation : null;
    const environment = environmentOf(args.environment);
    const { models, publish } = args;
    const { store, access } = storeOf(args.store);
    const declared = { environment, store, access, models, publish, workstation: workstation?.declaration.name };
    const declarations = declare("Snapshot", name, declared);

    const content = new SnapshotContent(
      name,
      {
        environment,
        store,
        access,
        models,
        publish,
        workstation: workstation?.declaration,
        owner: owner(),
        declarations,
      },
      // Another content replaces it, and deleting it removes no data: there is nothing to protect.
      { parent: this, protect: false, dependsOn: workstation === null ? [] : [workstation] },
    );

    this.reference = content.reference;
    this.store = access;
    this.registerOutputs({ reference: this.reference });
  }
}
