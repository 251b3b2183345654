import type * as pulumi from "@pulumi/pulumi";
import type { Declaration } from "../../providers/declarations";
import type { DevWorkstationArgs } from "../dev-workstation-args";

/** What a platform makes a workstation of. */
export interface WorkstationDeclaration {
  readonly name: string;
  readonly args: DevWorkstationArgs;
  /** Options of the workstation's own resources: its children. */
  readonly child: pulumi.CustomResourceOptions;
  /** All that the program declares; see `declare`. */
  readonly declarations: Promise<readonly Declaration[]>;
}

export interface DeclaredWorkstation {
  readonly url: pulumi.Output<string>;
  /** What a snapshot's resource is told of it. */
  readonly declaration: pulumi.Inputs & { readonly name: string; readonly state: "running" | "stopped" };
}
