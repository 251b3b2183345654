import type * as pulumi from "@pulumi/pulumi";
import { labelsOf, objectNames, workstationNames } from "../../../runtime/kubernetes/names";
import { ports } from "../../../runtime/kubernetes/pod-places";
import { metadata, plugin } from "./metadata";
import { k8s } from "./sdk";

/** To what they like, but for the address under which clouds hand out a node's credentials. */
const egress = [
  { to: [{ namespaceSelector: {}, podSelector: { matchLabels: { "k8s-app": "kube-dns" } } }] },
  { to: [{ ipBlock: { cidr: "0.0.0.0/0", except: ["169.254.0.0/16"] } }] },
  { to: [{ ipBlock: { cidr: "::/0", except: ["fd00:ec2::/32", "fe80::/10"] } }] },
];

/**
 * Only the gateway reaches instances; the kubelet's probes come from the node, which policies do not hold back. Instances reach what they
 * like, but for a node's credentials.
 */
export function instancePolicy(name: string, namespace: string, opts: pulumi.CustomResourceOptions): pulumi.Resource {
  return new (k8s().networking.v1.NetworkPolicy)(
    `${name}-instance`,
    {
      metadata: metadata(objectNames(name).instancePolicy, name, namespace, "instance", { annotations: plugin.noWait }),
      spec: {
        podSelector: { matchLabels: labelsOf(name, "instance") },
        policyTypes: ["Ingress", "Egress"],
        ingress: [
          {
            from: [{ podSelector: { matchLabels: labelsOf(name, "gateway") } }],
            ports: [{ port: ports.comfyui }, { port: ports.agent }],
          },
        ],
        egress,
      },
    },
    opts,
  );
}

/** A workstation is reached by the way that its agent leads, not the agent itself. */
export function workstationPolicy(name: string, namespace: string, opts: pulumi.CustomResourceOptions): void {
  new (k8s().networking.v1.NetworkPolicy)(
    `${name}-workstation`,
    {
      metadata: metadata(workstationNames(name).workstation, name, namespace, "workstation", {
        annotations: plugin.noWait,
      }),
      spec: {
        podSelector: { matchLabels: labelsOf(name, "workstation") },
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ ports: [{ port: ports.relay }] }],
        egress,
      },
    },
    opts,
  );
}
