import type * as pulumi from "@pulumi/pulumi";
import type { Declaration } from "../../providers/declarations";
import type { OnlineServiceArgs } from "../online-service-args";

/** What a platform makes a service of. */
export interface ServiceDeclaration {
  readonly name: string;
  readonly args: OnlineServiceArgs;
  /** Options of the service's own resources: its children. */
  readonly child: pulumi.CustomResourceOptions;
  /** All that the program declares; see `declare`. */
  readonly declarations: Promise<readonly Declaration[]>;
}

export interface DeclaredService {
  readonly url: pulumi.Output<string>;
  /** Id of the release. */
  readonly release: pulumi.Output<string>;
}
