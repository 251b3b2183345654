import type * as pulumi from "@pulumi/pulumi";
import type { Duration } from "../runtime/units";

/** How a load balancer ends TLS. */
export interface EntranceTlsArgs {
  /** ARNs of certificates in AWS Certificate Manager or IAM; of several, the first is the one for clients that name no host. */
  readonly certificateArn: pulumi.Input<string> | readonly pulumi.Input<string>[];
  /** Name of a security policy of Elastic Load Balancing. @default "ELBSecurityPolicy-TLS13-1-2-2021-06": TLS 1.2 and 1.3 */
  readonly policy?: pulumi.Input<string>;
}

/** What both kinds of load balancers have. Everything changes in place, except where it says otherwise. */
interface LoadBalancerArgs {
  /**
   * Who can reach it: the VPC and what is connected to it, or everybody. Internet-facing needs `tls`, and API keys or an authentication. Changing
   * it makes another load balancer, with another address. @default "internal"
   */
  readonly scheme?: "internal" | "internet-facing";
  /** Host name under which people reach it, and so the service's `url`. The record in the DNS is yours to make. @default the load balancer's own */
  readonly host?: string;
  /** @default none: HTTP, with everything in the clear */
  readonly tls?: EntranceTlsArgs;
  /** Addresses that are let in, as CIDR blocks. Not beside `securityGroups`, which then say it. @default the controller's: all that can reach it; of an internal network load balancer, the VPC's */
  readonly inboundCidrs?: readonly string[];
  /** Ids or names of subnets. @default those that the controller finds by their tags */
  readonly subnets?: readonly pulumi.Input<string>[];
  /** Ids or names of the load balancer's security groups. @default one that the controller makes */
  readonly securityGroups?: readonly pulumi.Input<string>[];
  /** Tags of what the controller makes in AWS. @default {} */
  readonly tags?: Readonly<Record<string, pulumi.Input<string>>>;
  /** Further attributes of the load balancer, such as `"access_logs.s3.enabled": "true"`. @default {} */
  readonly attributes?: Readonly<Record<string, pulumi.Input<string>>>;
  /** Further annotations, such as external-dns' or `alb.ingress.kubernetes.io/wafv2-acl-arn`; none that an argument stands for. @default {} */
  readonly annotations?: Readonly<Record<string, pulumi.Input<string>>>;
  /**
   * For how long a gateway that is told to end goes on taking requests: the load balancer sends them until it has learned that the pod goes. At
   * most 15 minutes. @default "40s"; `networkLoadBalancer`: "150s"
   */
  readonly deregistration?: Duration;
  /** Lets an internet-facing load balancer have no TLS: keys, prompts and pictures can be read, and changed, on their way. @default false */
  readonly allowPublicWithoutTls?: boolean;
  /**
   * Lets an internet-facing load balancer lead to a gateway that lets everybody in. Who runs workflows runs the plugins' code, on your GPUs.
   * @default false
   */
  readonly allowPublicWithoutAuthentication?: boolean;
}

interface AuthenticationArgs {
  /**
   * What becomes of a request without a session: `"authenticate"` sends to the login page, `"deny"` answers 401. @default "authenticate"
   */
  readonly onUnauthenticatedRequest?: "authenticate" | "deny";
  /** Claims that are asked for, separated by spaces. @default "openid" */
  readonly scope?: string;
  /** How long a login lasts, at most 7 days. @default "168h" */
  readonly sessionTimeout?: Duration;
}

/** People log in at a user pool of Amazon Cognito. */
export interface CognitoAuthenticationArgs extends AuthenticationArgs {
  readonly type: "cognito";
  readonly userPoolArn: pulumi.Input<string>;
  /** Of a client of the pool that has a secret, and `https://<host>/oauth2/idpresponse` among its callbacks. */
  readonly userPoolClientId: pulumi.Input<string>;
  /** The domain's prefix, or a domain of one's own. */
  readonly userPoolDomain: pulumi.Input<string>;
}

/** People log in at any provider of OpenID Connect. */
export interface OidcAuthenticationArgs extends AuthenticationArgs {
  readonly type: "oidc";
  readonly issuer: pulumi.Input<string>;
  readonly authorizationEndpoint: pulumi.Input<string>;
  readonly tokenEndpoint: pulumi.Input<string>;
  readonly userInfoEndpoint: pulumi.Input<string>;
  /** Secret in the platform's namespace with the keys `clientID` and `clientSecret`, which the controller must be allowed to read. */
  readonly secret: string;
}

/** Arguments of {@link albIngress}. */
export interface AlbIngressArgs extends LoadBalancerArgs {
  /**
   * Has people log in before the load balancer lets a request through. It wants a browser: programs with API keys, and whoever deploys, have to come another
   * way. Needs `tls`. @default none
   */
  readonly authentication?: CognitoAuthenticationArgs | OidcAuthenticationArgs;
  /** Name of the IngressClass. @default "alb" */
  readonly className?: string;
  /** Name of a group of Ingresses that share one load balancer: whoever may make Ingresses can join it. Changing it makes another load balancer. @default none */
  readonly group?: string;
  /**
   * How long a connection may be silent, from 1 s to 4,000 s: what an instance needs to answer a request, at the most. WebSockets are pinged every 20 s.
   * @default "12m", longer than the gateway itself waits
   */
  readonly idleTimeout?: Duration;
}

/** Arguments of {@link networkLoadBalancer}. */
export interface NetworkLoadBalancerArgs extends LoadBalancerArgs {
  /** Its port. @default 443 with `tls`, else 80 */
  readonly port?: number;
  /** Class of the Service: who makes a load balancer of it. It cannot be changed but by taking the entrance out first. @default "service.k8s.aws/nlb" */
  readonly loadBalancerClass?: string;
}

/** See {@link albIngress}. */
export interface AlbIngress extends AlbIngressArgs {
  readonly kind: "albIngress";
}

/** See {@link networkLoadBalancer}. */
export interface NetworkLoadBalancer extends NetworkLoadBalancerArgs {
  readonly kind: "networkLoadBalancer";
}

/** A way in from outside of a cluster in AWS. */
export type Entrance = AlbIngress | NetworkLoadBalancer;

/**
 * An application load balancer before the gateway, made by the AWS load balancer controller (2.6 or later), which has to be in the cluster. It ends TLS, and can
 * have people log in. Internal unless it says otherwise.
 *
 *     gateway: { entrance: albIngress({ host: "studio.example.com", tls: { certificateArn } }) }
 */
export function albIngress(args: AlbIngressArgs = {}): AlbIngress {
  return { kind: "albIngress", ...args };
}

/**
 * A network load balancer before the gateway, made by the AWS load balancer controller (2.6 or later), which has to be in the cluster. It passes connections on, and
 * can end TLS. Internal unless it says otherwise.
 *
 *     gateway: { entrance: networkLoadBalancer({ tls: { certificateArn } }), apiKeys }
 */
export function networkLoadBalancer(args: NetworkLoadBalancerArgs = {}): NetworkLoadBalancer {
  return { kind: "networkLoadBalancer", ...args };
}
