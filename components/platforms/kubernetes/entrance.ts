import type * as pulumi from "@pulumi/pulumi";
import { defaultLoadBalancerClass } from "../../../providers/declarations/entrance";
import { hostAnnotation, labelsOf, objectNames } from "../../../runtime/kubernetes/names";
import { ports } from "../../../runtime/kubernetes/pod-places";
import type { AlbIngress, Entrance, EntranceTlsArgs, NetworkLoadBalancer } from "../../entrance";
import { sdk } from "../../sdk";
import { albAnnotations, networkAnnotations, seconds } from "./entrance-annotations";
import { metadata, plugin } from "./metadata";
import { k8s } from "./sdk";

/** Seconds that a gateway takes connections after the signal to end, where only the cluster's nodes have to learn of it. */
const usualFarewell = 5;
/** Seconds that a gateway's hand-over may take. */
const handOver = 35;
/** Seconds from a gateway's farewell until its grace ends: 30 for requests under way, the rest to end. */
const afterFarewell = 55;
/** Seconds of silence between a load balancer's end of a connection and the gateway's. */
const keepAliveMargin = 15;

/** What a gateway's pods have to do so that a load balancer which sends to them loses no request. */
export interface GatewayTimes {
  /** Further words of the gateway's command line. */
  readonly parameters: readonly string[];
  /** Seconds between the signal to end and the kill. */
  readonly grace: number;
}

export function gatewayTimes(entrance: Entrance | undefined): GatewayTimes {
  const farewell = entrance === undefined ? usualFarewell : deregistration(entrance);
  const grace = Math.max(farewell, handOver) + afterFarewell;
  if (entrance === undefined) return { parameters: [], grace };
  const parameters = ["--farewell", String(farewell)];
  // A connection that the gateway ends while the load balancer sends a request on it is a 502: the gateway's idle time has to be the longer one.
  // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#connection-idle-timeout
  const idle = entrance.kind === "albIngress" ? ["--keep-alive", String(idleTimeout(entrance) + keepAliveMargin)] : [];
  return { parameters: [...parameters, ...idle], grace };
}

/**
 * Seconds for which a load balancer goes on sending to a pod that ends. An ALB stops as soon as the controller has deregistered the pod. An NLB was measured to take
 * about two minutes more (https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/2366).
 */
export function deregistration({ kind, deregistration }: Entrance): number {
  return seconds(deregistration ?? (kind === "albIngress" ? "40s" : "150s"));
}

/** Seconds. The default is above the 11 minutes for which the gateway itself lets an instance be silent, so that it is the gateway that answers. */
export function idleTimeout({ idleTimeout = "12m" }: AlbIngress): number {
  return seconds(idleTimeout);
}

export interface EntranceDeclaration {
  readonly name: string;
  readonly namespace: string;
  readonly entrance: Entrance;
  /** The gateway's Service. */
  readonly address: pulumi.Resource;
  /** Its port. */
  readonly port: number;
  readonly opts: pulumi.CustomResourceOptions;
}

/** A load balancer before the gateway's pods, and the URL under which people reach it. */
export function entrance(declaration: EntranceDeclaration): { url: pulumi.Output<string>; resource: pulumi.Resource } {
  const { entrance } = declaration;
  return entrance.kind === "albIngress" ? ingress(declaration, entrance) : service(declaration, entrance);
}

function ingress({ name, namespace, address, port, opts }: EntranceDeclaration, entrance: AlbIngress) {
  const { host, className = "alb", tls } = entrance;
  const times = { deregistration: deregistration(entrance), idle: idleTimeout(entrance) };
  const backend = { service: { name, port: { number: port } } };
  const resource = new (k8s().networking.v1.Ingress)(
    `${name}-entrance`,
    {
      metadata: entranceMetadata(name, namespace, host, albAnnotations(entrance, times)),
      spec: {
        ingressClassName: className,
        rules: [
          {
            ...(host === undefined ? {} : { host }),
            http: { paths: [{ path: "/", pathType: "Prefix", backend }] },
          },
        ],
      },
    },
    { ...opts, dependsOn: [address] },
  );
  const told = resource.status.apply((status) => status?.loadBalancer?.ingress?.[0]?.hostname);
  return { url: urlOf(tls, host, told), resource };
}

/**
 * A Service of its own: that of the gateway is its address inside of the cluster, over which instances, autoscalers and other programs reach it. It must neither get a
 * port that speaks HTTP at 443, nor wait for AWS when it goes; and what makes a load balancer of a Service cannot be changed in place (`loadBalancerClass` is
 * immutable).
 */
function service({ name, namespace, address, opts }: EntranceDeclaration, entrance: NetworkLoadBalancer) {
  const { host, tls, inboundCidrs, loadBalancerClass = defaultLoadBalancerClass } = entrance;
  const usual = tls === undefined ? 80 : 443;
  const { port = usual } = entrance;
  const annotations = networkAnnotations(entrance, { deregistration: deregistration(entrance), port });
  const resource = new (k8s().core.v1.Service)(
    `${name}-entrance`,
    {
      metadata: entranceMetadata(name, namespace, host, annotations),
      spec: {
        type: "LoadBalancer",
        loadBalancerClass,
        // Its targets are pods, so that nothing has to listen on nodes.
        allocateLoadBalancerNodePorts: false,
        ...(inboundCidrs === undefined ? {} : { loadBalancerSourceRanges: [...inboundCidrs] }),
        selector: labelsOf(name, "gateway"),
        ports: [{ name: tls === undefined ? "http" : "https", port, targetPort: ports.gateway }],
      },
    },
    { ...opts, dependsOn: [address] },
  );
  const told = resource.status.apply((status) => status?.loadBalancer?.ingress?.[0]?.hostname);
  return { url: urlOf(tls, host, told, port === usual ? "" : `:${port}`), resource };
}

/**
 * Where people reach it stands in an annotation, for who looks at the cluster only. Without a host of one's own, the load balancer's is waited for. Its deletion is waited
 * for in any case: the controller that removes the load balancer may be the next to go.
 */
function entranceMetadata(
  name: string,
  namespace: string,
  host: string | undefined,
  annotations: Readonly<Record<string, pulumi.Input<string>>>,
) {
  const wait = host === undefined ? plugin.waitForAddress : { ...plugin.waitForUid, [hostAnnotation]: host };
  const plain = metadata(objectNames(name).entrance, name, namespace, "gateway", { annotations: wait });
  return { ...plain, annotations: { ...plain.annotations, ...annotations } };
}

function urlOf(
  tls: EntranceTlsArgs | undefined,
  host: string | undefined,
  told: pulumi.Output<string | undefined>,
  port = "",
): pulumi.Output<string> {
  const scheme = tls === undefined ? "http" : "https";
  return host === undefined
    ? told.apply((address) => `${scheme}://${address}${port}`)
    : sdk.output(`${scheme}://${host}${port}`);
}
