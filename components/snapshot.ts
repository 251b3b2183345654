import type * as pulumi from "@pulumi/pulumi";
import type { Duration } from "../runtime/units";
import { declare } from "./declarations";
import { after } from "./depends-on";
import { type ClaimEnvironment, type Environment, environmentOf, type WorkstationEnvironment } from "./environment";
import { type KubernetesPlatform, publicPlatform } from "./platforms";
import { kubernetesSnapshot } from "./platforms/kubernetes/snapshot";
import { localSnapshot } from "./platforms/local/snapshot";
import type { DescribedSnapshot } from "./platforms/snapshot";
import { sdk } from "./sdk";
import { type Store, type StoreAccess, storeOf } from "./store";

/** How the Job is made that packs beside a claim. Quantities are as Kubernetes writes them. */
export interface PackingArgs {
  /** How long it may take, with the time until it has a node. @default "6h" */
  readonly timeout?: Duration;
  /** Of its container. @default requests: 1 CPU and 1Gi of memory, limits: 4Gi of memory */
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>;
    readonly limits?: Readonly<Record<string, string>>;
  };
}

/** Arguments of {@link Snapshot}. */
export interface SnapshotArgs {
  /** What is packed: a workstation's `environment`, or a folder of this machine. One on a claim is packed in its cluster, by a Job. */
  readonly environment: Environment | WorkstationEnvironment;
  /**
   * Where snapshots are kept: a folder relative to the program's, or `s3://bucket/prefix` or a `SnapshotBucket`, which a claim needs.
   * Changing it packs into the new one; nothing is removed.
   */
  readonly store: Store;
  /**
   * `"referenced"`: models do not travel; path and size are recorded and checked where an instance starts. `"locked"`: their
   * content counts for the id as well. `"included"`: they travel. Changing it packs anew. Of a claim only `"referenced"`.
   * @default "referenced"
   */
  readonly models?: "referenced" | "locked" | "included";
  /**
   * `"onChange"`: every `pulumi up` that finds another content packs it. `"whenStopped"`: only while the workstation is
   * declared stopped; otherwise the earlier snapshot is kept, and without one it is an error.
   * @default "onChange"
   */
  readonly publish?: "onChange" | "whenStopped";
  /** Only for an environment on a claim. A change alone packs nothing. */
  readonly packing?: PackingArgs;
}

/**
 * Arguments of a {@link Snapshot} of a claim whose workstation is declared elsewhere, for example in another stack. That workstation's
 * agent says what the claim holds.
 */
export interface ClaimSnapshotArgs extends Omit<SnapshotArgs, "environment"> {
  /** `claim({ name })` */
  readonly environment: ClaimEnvironment;
  /** Where the claim is, and how pods are made there. */
  readonly platform: KubernetesPlatform;
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

  constructor(name: string, args: SnapshotArgs | ClaimSnapshotArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:Snapshot", name, {}, opts);
    const { makers, ...snapshot } = describe(args);
    const declarations = declare("Snapshot", name, declared(snapshot));
    const { workstation, environment } = snapshot;
    const child: pulumi.CustomResourceOptions = {
      parent: this,
      // Another content replaces it, and deleting it removes no data: there is nothing to protect.
      protect: false,
      dependsOn: after(opts, workstation, ...makers),
    };
    const isClaim = typeof environment === "object" && "kind" in environment;
    const make = isClaim ? kubernetesSnapshot : localSnapshot;

    this.reference = make({ ...snapshot, name, child, declarations }).reference;
    this.store = snapshot.access;
    this.registerOutputs({ reference: this.reference });
  }
}

function describe(
  args: SnapshotArgs | ClaimSnapshotArgs,
): DescribedSnapshot & Pick<ReturnType<typeof storeOf>, "makers"> {
  const { models, publish, packing, environment } = args;
  const { store, access, makers } = storeOf(args.store);
  const workstation = typeof environment === "object" && "workstation" in environment ? environment.workstation : null;
  const platform = "platform" in args ? args.platform : undefined;
  const common = { models, publish, packing, workstation, platform, store, access, makers };
  const plain = environmentOf(environment);
  const claim = workstation?.declaration.claim;
  if (!("kind" in plain) || typeof claim !== "string") return { ...common, environment: plain };
  // How the claim is made is the workstation's to say.
  const { kind, layout } = plain;
  return { ...common, environment: { kind, name: claim, ...(layout === undefined ? {} : { layout }) } };
}

/** What every check of the program looks at. */
function declared({ workstation, platform, ...rest }: DescribedSnapshot): object {
  return {
    ...rest,
    workstation: workstation?.declaration.name,
    platform: platform === undefined ? undefined : publicPlatform(platform),
  };
}
