import type * as pulumi from "@pulumi/pulumi";
import type { Declaration } from "../../providers/declarations";
import type { DevWorkstation } from "../dev-workstation";
import type { ClaimEnvironment, EnvironmentArgs } from "../environment";
import type { SnapshotArgs } from "../snapshot";
import type { StoreAccess } from "../store";
import type { KubernetesPlatform } from "./kubernetes/platform";

/** A snapshot's arguments, each at its place. */
export interface DescribedSnapshot {
  readonly models: SnapshotArgs["models"] | undefined;
  readonly publish: SnapshotArgs["publish"] | undefined;
  readonly packing: SnapshotArgs["packing"] | undefined;
  /** Without the workstation; a claim's name is known, where it has one. */
  readonly environment: EnvironmentArgs | ClaimEnvironment;
  readonly workstation: DevWorkstation | null;
  /** Only of a claim without a workstation of this program. */
  readonly platform: KubernetesPlatform | undefined;
  readonly store: string;
  readonly access: StoreAccess | undefined;
}

/** What a snapshot's resource is made of. */
export interface SnapshotDeclaration extends DescribedSnapshot {
  readonly name: string;
  readonly child: pulumi.CustomResourceOptions;
  /** All that the program declares; see `declare`. */
  readonly declarations: Promise<readonly Declaration[]>;
}
