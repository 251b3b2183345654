import type * as kubernetesSdk from "@pulumi/kubernetes";
import { programPackage } from "../../program-package";

let loaded: typeof kubernetesSdk | undefined;

/** The program's own `@pulumi/kubernetes`. */
export function k8s(): typeof kubernetesSdk {
  loaded ??= programPackage<typeof kubernetesSdk>("@pulumi/kubernetes", "kubernetes({ … })");
  return loaded;
}
