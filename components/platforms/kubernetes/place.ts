import { resolve } from "node:path";
import type * as pulumi from "@pulumi/pulumi";
import { isKubeconfigContent } from "../../../runtime/kubernetes/kubeconfig-content";
import { sdk } from "../../sdk";
import type { KubernetesPlatform } from "./platform";
import { k8s } from "./sdk";

/** Content of a kubeconfig is a secret. An output tells which it is when it is known. */
export function sealed(
  kubeconfig: pulumi.Input<string>,
  path: (written: string) => string = (written) => written,
): pulumi.Input<string> {
  const seal = (known: string) => (isKubeconfigContent(known) ? sdk.secret(known) : path(known));
  return typeof kubeconfig === "string"
    ? seal(kubeconfig)
    : sdk.output(kubeconfig).apply((known) => sdk.output(seal(known)));
}

/** What tells this package's own resources where the cluster is. */
export function clusterInputs({ kubeconfig, context, namespace }: KubernetesPlatform): pulumi.Inputs {
  return {
    kubeconfig: kubeconfig === undefined ? undefined : sealed(kubeconfig),
    context,
    namespace,
  };
}

/**
 * The provider of native resources, for the same cluster. It adopts what a killed run left under its name: together with `patchForce` on
 * the objects.
 */
export function nativeProvider(name: string, platform: KubernetesPlatform, opts: pulumi.CustomResourceOptions) {
  const { kubeconfig, context, namespace } = platform;
  return new (k8s().Provider)(
    name,
    {
      ...(kubeconfig === undefined ? {} : { kubeconfig: sealed(kubeconfig, resolve) }),
      ...(context === undefined ? {} : { context }),
      namespace,
      enableServerSideApply: true,
      upsertExistingObjects: true,
      // The gateway follows changed settings: replaced, they would be missing for a moment.
      enableConfigMapMutable: true,
      enableSecretMutable: true,
    },
    opts,
  );
}
