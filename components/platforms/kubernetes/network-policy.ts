import type * as pulumi from "@pulumi/pulumi";
import { labelsOf, objectNames, releaseLabel, workstationNames } from "../../../runtime/kubernetes/names";
import { ports } from "../../../runtime/kubernetes/pod-places";
import type { ClusterRelease } from "../../resources";
import { metadata, plugin } from "./metadata";
import { k8s } from "./sdk";

/** Addresses under which clouds hand out a node's credentials: link-local ones, and those of Alibaba, Azure and Oracle. */
const credentials = ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"];
const credentialsV6 = ["fd00:ec2::/32", "fe80::/10"];
/** Where a node's own DNS cache listens, where there is one. https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/ */
const nodeDns = "169.254.20.10/32";

/**
 * Where the agent of EKS Pod Identity answers on each node. To whom has no token of a service account with a role it hands out nothing, and
 * only the agent's container has one: the webhook leaves out what `eks.amazonaws.com/skip-containers` names.
 * https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html
 * https://github.com/aws/amazon-eks-pod-identity-webhook/blob/master/pkg/handler/handler.go
 */
const podIdentity = {
  to: [{ ipBlock: { cidr: "169.254.170.23/32" } }, { ipBlock: { cidr: "fd00:ec2::23/128" } }],
  ports: [{ protocol: "TCP", port: 80 }],
};

/** To what they like, but for the addresses under which clouds hand out a node's credentials. */
const egress = [
  { to: [{ namespaceSelector: {}, podSelector: { matchLabels: { "k8s-app": "kube-dns" } } }] },
  {
    to: [{ ipBlock: { cidr: nodeDns } }],
    ports: [
      { protocol: "UDP", port: 53 },
      { protocol: "TCP", port: 53 },
    ],
  },
  { to: [{ ipBlock: { cidr: "0.0.0.0/0", except: credentials } }] },
  { to: [{ ipBlock: { cidr: "::/0", except: credentialsV6 } }] },
];

/**
 * Only the gateway reaches instances; the kubelet's probes come from the node, which policies do not hold back. Instances reach what they
 * like, but for a node's credentials. Gateways are confined by no policy of this package: they reach each other, and whoever may call them
 * is the namespace's own policies' to say.
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

/**
 * Instances of a release whose pods have a service account also reach the agent of EKS Pod Identity. It is the release's own, and adds to
 * {@link instancePolicy}: what serves keeps its credentials while another release is declared.
 */
export function releasePolicy(
  { name, namespace, release }: { readonly name: string; readonly namespace: string; readonly release: ClusterRelease },
  opts: pulumi.CustomResourceOptions,
): pulumi.Resource {
  const { id, settings } = release;
  const objectName = id.apply((known) => objectNames(name).release(known));
  return new (k8s().networking.v1.NetworkPolicy)(
    `${name}-instances`,
    {
      metadata: metadata(objectName, name, namespace, "instance", { release: id, annotations: plugin.noWait }),
      spec: {
        podSelector: { matchLabels: { ...labelsOf(name, "instance"), [releaseLabel]: id } },
        policyTypes: ["Egress"],
        // What is null may be left out on its way through the state.
        egress: settings.apply(({ serviceAccount }) => ((serviceAccount ?? null) === null ? [] : [podIdentity])),
      },
    },
    opts,
  );
}

/** A workstation is reached by the way that its agent leads, not the agent itself. */
export function workstationPolicy(
  name: string,
  namespace: string,
  serviceAccount: string | null,
  opts: pulumi.CustomResourceOptions,
): void {
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
        egress: serviceAccount === null ? egress : [...egress, podIdentity],
      },
    },
    opts,
  );
}
