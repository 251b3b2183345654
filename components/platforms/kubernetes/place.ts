import { resolve } from "node:path";
import type * as pulumi from "@pulumi/pulumi";
import { isKubeconfigContent } from "../../../runtime/kubernetes/kubeconfig-content";
import { sdk } from "../../sdk";
import type { KubernetesPlatform } from "./platform";
import { k8s } from "./sdk";

/** What tells this package's own resources where the cluster is. Content of a kubeconfig is a secret. */
export function clusterInputs({ kubeconfig, context, namespace }: KubernetesPlatform): pulumi.Inputs {
  return {
    kubeconfig: kubeconfig !== undefined && isKubeconfigContent(kubeconfig) ? sdk.secret(kubeconfig) : kubeconfig,
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
      ...(kubeconfig === undefined
        ? {}
        : { kubeconfig: isKubeconfigContent(kubeconfig) ? sdk.secret(kubeconfig) : resolve(kubeconfig) }),
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
