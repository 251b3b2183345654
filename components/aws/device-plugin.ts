import type * as kubernetesSdk from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { k8s } from "../platforms/kubernetes/sdk";

/** NVIDIA's device plugin for the nodes of a group. */
export interface DevicePluginArgs {
  /** Of the cluster that the nodes join. */
  readonly provider: kubernetesSdk.Provider;
  /** https://github.com/NVIDIA/k8s-device-plugin/releases. Changed in place. @default "0.17.4" */
  readonly version?: string;
}

/** The one that EKS documents. https://docs.aws.amazon.com/eks/latest/userguide/ml-eks-k8s-device-plugin.html */
const defaultVersion = "0.17.4";
const pluginFolder = "/var/lib/kubelet/device-plugins";

/**
 * The plugin on the nodes of one group, as NVIDIA's own manifest has it (deployments/static in its repository). It is named by the group, so that
 * nodes of a group which is being replaced keep theirs.
 */
export function devicePlugin(
  name: string,
  { version = defaultVersion }: DevicePluginArgs,
  nodeGroupName: pulumi.Output<string>,
  opts: pulumi.CustomResourceOptions,
): kubernetesSdk.apps.v1.DaemonSet {
  const objectName = nodeGroupName.apply((group) => `nvidia-device-plugin-${group.toLowerCase()}`);
  const labels = { "app.kubernetes.io/name": "nvidia-device-plugin", "app.kubernetes.io/instance": nodeGroupName };
  return new (k8s().apps.v1.DaemonSet)(
    `${name}-device-plugin`,
    {
      metadata: {
        name: objectName,
        namespace: "kube-system",
        labels,
        // Its nodes may be none, or still to come.
        annotations: { "pulumi.com/patchForce": "true", "pulumi.com/skipAwait": "true" },
      },
      spec: {
        selector: { matchLabels: labels },
        updateStrategy: { type: "RollingUpdate" },
        template: {
          metadata: { labels },
          spec: {
            nodeSelector: { "eks.amazonaws.com/nodegroup": nodeGroupName },
            tolerations: [{ operator: "Exists" }],
            priorityClassName: "system-node-critical",
            automountServiceAccountToken: false,
            containers: [
              {
                name: "nvidia-device-plugin",
                image: `nvcr.io/nvidia/k8s-device-plugin:v${version}`,
                env: [{ name: "FAIL_ON_INIT_ERROR", value: "false" }],
                securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
                volumeMounts: [{ name: "device-plugin", mountPath: pluginFolder }],
              },
            ],
            volumes: [{ name: "device-plugin", hostPath: { path: pluginFolder } }],
          },
        },
      },
    },
    opts,
  );
}
