import type * as pulumi from "@pulumi/pulumi";
import { hiddenAs } from "../../../providers/unknown";
import { isKubeconfigContent } from "../../../runtime/kubernetes/kubeconfig-content";
import type { PodArgs } from "../../pod";

/** Arguments of {@link kubernetes}. */
export interface KubernetesPlatformArgs {
  /**
   * Path of a kubeconfig, relative to the program's folder; read again at every operation, so that expired tokens are no longer used.
   * Or its content, which is kept in state as a secret: prefer a path, but for a cluster of the same program, whose kubeconfig is an output. While that is
   * not known yet, a preview asks no cluster. @default `KUBECONFIG`, else `~/.kube/config`
   */
  readonly kubeconfig?: pulumi.Input<string>;
  /** One of the kubeconfig's contexts. @default the current one: name one where a person switches between clusters */
  readonly context?: string;
  /** Namespace, which must exist, in which everything is made. Changing it makes a new service there and ends the old one. */
  readonly namespace: string;
  /** How pods with ComfyUI are made, unless a component says otherwise. @default each component names what it needs */
  readonly pod?: Partial<PodArgs>;
}

/** See {@link kubernetes}. */
export interface KubernetesPlatform extends KubernetesPlatformArgs {
  readonly kind: "kubernetes";
}

/**
 * A namespace of a Kubernetes cluster, version 1.31 or later. Needs `@pulumi/kubernetes` in the program's dependencies.
 *
 *     const platform = kubernetes({ context: "prod", namespace: "studio", pod: { image: "registry/comfyui-base:cu124" } });
 */
export function kubernetes(args: KubernetesPlatformArgs): KubernetesPlatform {
  return { kind: "kubernetes", ...args };
}

/** Kubeconfigs of which no declaration says more than which are the same: content, outputs, promises. */
const hidden: pulumi.Input<string>[] = [];

/** A kubeconfig's path; its content is a secret, and an output is known later, of which the resources themselves know. */
export function plainKubeconfig(kubeconfig: pulumi.Input<string>): string {
  if (typeof kubeconfig === "string" && !isKubeconfigContent(kubeconfig)) return kubeconfig;
  if (!hidden.includes(kubeconfig)) hidden.push(kubeconfig);
  return hiddenAs(hidden.indexOf(kubeconfig));
}
