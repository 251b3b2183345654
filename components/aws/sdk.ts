import type * as awsSdk from "@pulumi/aws";
import { programPackage } from "../program-package";

let loaded: typeof awsSdk | undefined;

/** The program's own `@pulumi/aws`, which `what` needs. */
export function aws(what: string): typeof awsSdk {
  loaded ??= programPackage<typeof awsSdk>("@pulumi/aws", what);
  return loaded;
}
