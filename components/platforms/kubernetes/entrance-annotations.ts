import type * as pulumi from "@pulumi/pulumi";
import { durationSchema } from "../../../runtime/units";
import type {
  AlbIngress,
  CognitoAuthenticationArgs,
  NetworkLoadBalancer,
  OidcAuthenticationArgs,
} from "../../entrance";
import { sdk } from "../../sdk";

// What the AWS load balancer controller reads:
// https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/
// https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/

type Annotations = Readonly<Record<string, pulumi.Input<string>>>;

const readyPath = "/_gateway/ready";
/** The controller's own default still lets TLS 1.0 in. */
const defaultPolicy = "ELBSecurityPolicy-TLS13-1-2-2021-06";
/** Seconds for which a gateway lets requests under way end after it takes no more: until then a load balancer must not cut them. */
const underWay = 30;

/** @param times in seconds. */
export function albAnnotations(
  { scheme = "internal", tls, authentication, group, ...args }: AlbIngress,
  times: { readonly deregistration: number; readonly idle: number },
): Annotations {
  return prefixed("alb.ingress.kubernetes.io/", args.annotations, {
    scheme,
    // To the pods themselves: it works with a Service of type ClusterIP, and each gateway's own readiness decides.
    "target-type": "ip",
    "listen-ports": JSON.stringify(tls === undefined ? [{ HTTP: 80 }] : [{ HTTP: 80 }, { HTTPS: 443 }]),
    ...(tls === undefined
      ? {}
      : {
          "certificate-arn": list(tls.certificateArn),
          "ssl-policy": tls.policy ?? defaultPolicy,
          "ssl-redirect": "443",
        }),
    ...(authentication === undefined ? {} : authenticationAnnotations(authentication)),
    "healthcheck-protocol": "HTTP",
    "healthcheck-path": readyPath,
    "success-codes": "200",
    // A gateway that ends, or has lost its leader, says so at once: it gets no requests after two looks.
    "healthcheck-interval-seconds": "5",
    "healthcheck-timeout-seconds": "3",
    "healthy-threshold-count": "2",
    "unhealthy-threshold-count": "2",
    "load-balancer-attributes": map({
      // Two programs that read an odd header differently can be played off against each other.
      "routing.http.drop_invalid_header_fields.enabled": "true",
      ...args.attributes,
      "idle_timeout.timeout_seconds": String(times.idle),
    }),
    "target-group-attributes": map({ "deregistration_delay.timeout_seconds": String(times.deregistration + underWay) }),
    ...(args.inboundCidrs === undefined ? {} : { "inbound-cidrs": args.inboundCidrs.join(",") }),
    ...(args.subnets === undefined ? {} : { subnets: list(args.subnets) }),
    ...(args.securityGroups === undefined
      ? {}
      : // Otherwise nobody would let the load balancer reach the pods.
        { "security-groups": list(args.securityGroups), "manage-backend-security-group-rules": "true" }),
    ...(args.tags === undefined ? {} : { tags: map(args.tags) }),
    ...(group === undefined ? {} : { "group.name": group }),
  });
}

function authenticationAnnotations(authentication: CognitoAuthenticationArgs | OidcAuthenticationArgs): Annotations {
  const { type, onUnauthenticatedRequest = "authenticate", scope = "openid", sessionTimeout = "168h" } = authentication;
  const provider = (
    authentication.type === "cognito"
      ? sdk.all([authentication.userPoolArn, authentication.userPoolClientId, authentication.userPoolDomain])
      : sdk.all([
          ...[authentication.issuer, authentication.authorizationEndpoint],
          ...[authentication.tokenEndpoint, authentication.userInfoEndpoint, authentication.secret],
        ])
  ).apply(([...values]) => {
    const names =
      type === "cognito"
        ? ["userPoolARN", "userPoolClientID", "userPoolDomain"]
        : ["issuer", "authorizationEndpoint", "tokenEndpoint", "userInfoEndpoint", "secretName"];
    return JSON.stringify(Object.fromEntries(names.map((name, index) => [name, values[index]])));
  });
  return {
    "auth-type": type,
    [`auth-idp-${type}`]: provider,
    "auth-on-unauthenticated-request": onUnauthenticatedRequest,
    "auth-scope": scope,
    "auth-session-timeout": String(seconds(sessionTimeout)),
  };
}

/** @param times `deregistration` in seconds. */
export function networkAnnotations(
  { scheme = "internal", tls, ...args }: NetworkLoadBalancer,
  { deregistration, port }: { readonly deregistration: number; readonly port: number },
): Annotations {
  const draining = String(deregistration + underWay);
  // No proxy protocol: the gateway's port is also that of the kubelet's probes and of programs in the cluster, which do not speak it.
  return prefixed("service.beta.kubernetes.io/aws-load-balancer-", args.annotations, {
    scheme,
    "nlb-target-type": "ip",
    ...(tls === undefined
      ? {}
      : {
          "ssl-cert": list(tls.certificateArn),
          "ssl-ports": String(port),
          "ssl-negotiation-policy": tls.policy ?? defaultPolicy,
        }),
    "healthcheck-protocol": "http",
    "healthcheck-port": "traffic-port",
    "healthcheck-path": readyPath,
    "healthcheck-success-codes": "200",
    "healthcheck-interval": "10",
    "healthcheck-healthy-threshold": "2",
    "healthcheck-unhealthy-threshold": "2",
    attributes: map({
      // There are two gateways: a zone without one would be taken out of the DNS, which clients notice late.
      "load_balancing.cross_zone.enabled": "true",
      ...args.attributes,
    }),
    "target-group-attributes": map({
      "deregistration_delay.timeout_seconds": draining,
      // A gateway that is not ready takes no new connections, but finishes what it has: its connections must not be cut.
      // https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health.html
      "target_health_state.unhealthy.connection_termination.enabled": "false",
      "target_health_state.unhealthy.draining_interval_seconds": draining,
    }),
    ...(args.subnets === undefined ? {} : { subnets: list(args.subnets) }),
    ...(args.securityGroups === undefined
      ? {}
      : { "security-groups": list(args.securityGroups), "manage-backend-security-group-rules": "true" }),
    ...(args.tags === undefined ? {} : { "additional-resource-tags": map(args.tags) }),
  });
}

/** What is no duration is refused by the service's check, with all else that is wrong. */
export function seconds(duration: string): number {
  const parsed = durationSchema.safeParse(duration);
  return parsed.success ? Math.ceil(parsed.data / 1_000) : 0;
}

function prefixed(prefix: string, further: Annotations = {}, own: Annotations): Annotations {
  return { ...further, ...Object.fromEntries(Object.entries(own).map(([name, value]) => [prefix + name, value])) };
}

/** As annotations have lists: `a,b`. */
function list(values: pulumi.Input<string> | readonly pulumi.Input<string>[]): pulumi.Output<string> {
  const several = Array.isArray(values)
    ? (values as readonly pulumi.Input<string>[])
    : [values as pulumi.Input<string>];
  return sdk.all([...several]).apply((known) => known.join(","));
}

/** As annotations have maps: `a=b,c=d`. */
function map(values: Annotations): pulumi.Output<string> {
  return sdk.output({ ...values }).apply((known) =>
    Object.entries(known)
      .map(([name, value]) => `${name}=${value}`)
      .join(","),
  );
}
