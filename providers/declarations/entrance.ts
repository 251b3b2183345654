import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { durationSchema } from "../../runtime/units";
import { isUnknown } from "../unknown";
import { objectNameSchema } from "./pod";

/** A host name without a wildcard: the one that a browser asks for. */
const hostSchema = z.string().regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, {
  error: ({ input }) => `${JSON.stringify(input)} is no host name`,
});

export const cidrSchema = z.union([z.cidrv4(), z.cidrv6()], {
  error: ({ input }) => `${JSON.stringify(input)} is no block of addresses, such as "10.0.0.0/8"`,
});

const text = z.string().min(1, "is empty");
const url = z.url({
  protocol: /^https$/,
  error: ({ input }) => `${JSON.stringify(input)} is no URL that begins with https://`,
});

/** Of ACM, or of IAM. */
const certificate = /^arn:aws[a-z-]*:(acm:[a-z0-9-]+:\d{12}:certificate\/|iam::\d{12}:server-certificate\/)\S+$/;

const certificateArnSchema = z.unknown().superRefine((value, context) => {
  const several = Array.isArray(value);
  const arns: readonly unknown[] = several ? value : [value];
  if (arns.length === 0) context.addIssue("names no certificate");
  for (const [index, arn] of arns.entries()) {
    if (isUnknown(arn) || (typeof arn === "string" && certificate.test(arn))) continue;
    const message = `${JSON.stringify(arn) ?? "nothing"} is no ARN of a certificate in AWS Certificate Manager or IAM`;
    context.addIssue({ code: "custom", message, path: several ? [index] : [] });
  }
});

const tlsSchema = z.strictObject({ certificateArn: certificateArnSchema, policy: text.optional() });

/** A duration in whole seconds, within bounds in milliseconds. */
const secondsSchema = (least: number, most: number, bounds: string) =>
  durationSchema
    .refine((milliseconds) => milliseconds % 1_000 === 0, { error: "is no whole number of seconds", abort: true })
    .refine((milliseconds) => milliseconds >= least && milliseconds <= most, { error: `is not ${bounds}` });

/** What has to go through an annotation's `a=b,c=d`. */
const mapSchema = z.record(
  z.string().regex(/^[^,=]+$/, "has a comma or an equals sign, which annotations cannot pass on"),
  z.string().regex(/^[^,]*$/, "has a comma, which annotations cannot pass on"),
);

const idleAttribute = "idle_timeout.timeout_seconds";

/** Annotations that arguments stand for, or on which it depends who gets in; by what follows their prefix. */
const ownAlb = new Set([
  ...["scheme", "target-type", "listen-ports", "certificate-arn", "ssl-policy", "ssl-redirect", "inbound-cidrs"],
  ...["healthcheck-protocol", "healthcheck-path", "healthcheck-port", "success-codes"],
  ...["healthcheck-interval-seconds", "healthcheck-timeout-seconds", "healthy-threshold-count"],
  ...["unhealthy-threshold-count", "load-balancer-attributes", "target-group-attributes", "subnets"],
  ...["security-groups", "manage-backend-security-group-rules", "tags", "group.name"],
  ...["backend-protocol", "backend-protocol-version"],
]);
const ownNetwork = new Set([
  ...["scheme", "internal", "type", "nlb-target-type", "ssl-cert", "ssl-ports", "ssl-negotiation-policy"],
  ...["backend-protocol", "proxy-protocol", "healthcheck-protocol", "healthcheck-port", "healthcheck-path"],
  ...["healthcheck-success-codes", "healthcheck-interval", "healthcheck-timeout", "healthcheck-healthy-threshold"],
  ...["healthcheck-unhealthy-threshold", "attributes", "target-group-attributes", "subnets", "security-groups"],
  ...["manage-backend-security-group-rules", "additional-resource-tags"],
]);

/** Of the AWS load balancer controller: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/ */
export const defaultLoadBalancerClass = "service.k8s.aws/nlb";

const albPrefix = "alb.ingress.kubernetes.io/";

/** Whether an annotation of an entrance is for its arguments to say. */
export function isOwnAnnotation(name: string): boolean {
  const [, alb] = /^alb\.ingress\.kubernetes\.io\/(.*)$/.exec(name) ?? [];
  if (alb !== undefined) return ownAlb.has(alb) || alb.startsWith("auth-");
  const [, network] = /^service\.beta\.kubernetes\.io\/aws-load-balancer-(.*)$/.exec(name) ?? [];
  if (network !== undefined) return ownNetwork.has(network);
  return (
    name === "service.beta.kubernetes.io/load-balancer-source-ranges" ||
    name === "kubernetes.io/ingress.class" ||
    /^pulumi(-comfyui|\.com)/.test(name)
  );
}

const annotationsSchema = z.record(
  z.string().refine((name) => !isOwnAnnotation(name), "is set by the entrance: use its arguments"),
  z.string(),
);

const shape = {
  scheme: z.enum(["internal", "internet-facing"], 'is neither "internal" nor "internet-facing"').default("internal"),
  host: hostSchema.optional(),
  tls: tlsSchema.optional(),
  inboundCidrs: z.array(cidrSchema).min(1, "lets nobody in").optional(),
  subnets: z.array(text).min(1, "names no subnet").optional(),
  securityGroups: z.array(text).min(1, "names no security group").optional(),
  tags: mapSchema.optional(),
  attributes: mapSchema.optional(),
  annotations: annotationsSchema.optional(),
  deregistration: secondsSchema(5_000, 900_000, "between 5 seconds and 15 minutes").optional(),
  allowPublicWithoutTls: z.boolean().default(false),
  allowPublicWithoutAuthentication: z.boolean().default(false),
};

const authentication = {
  // "allow" would let in who has not logged in.
  onUnauthenticatedRequest: z.enum(["authenticate", "deny"], 'is neither "authenticate" nor "deny"').optional(),
  scope: text.optional(),
  sessionTimeout: secondsSchema(1_000, 604_800_000, "between a second and 7 days (168h)").optional(),
};

const authenticationSchema = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("cognito"),
      ...authentication,
      userPoolArn: z.string().regex(/^arn:aws[a-z-]*:cognito-idp:[a-z0-9-]+:\d{12}:userpool\/\S+$/, {
        error: ({ input }) => `${JSON.stringify(input)} is no ARN of a user pool of Cognito`,
      }),
      userPoolClientId: text,
      userPoolDomain: text,
    }),
    z.strictObject({
      type: z.literal("oidc"),
      ...authentication,
      issuer: url,
      authorizationEndpoint: url,
      tokenEndpoint: url,
      userInfoEndpoint: url,
      secret: objectNameSchema,
    }),
  ],
  { error: 'is no known authentication: its type is "cognito" or "oidc"' },
);

const albIngressSchema = z.strictObject({
  kind: z.literal("albIngress"),
  ...shape,
  attributes: mapSchema
    .refine((attributes) => !(idleAttribute in attributes), {
      path: [idleAttribute],
      error: "is what idleTimeout says",
    })
    .optional(),
  authentication: authenticationSchema.optional(),
  className: objectNameSchema.optional(),
  group: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, {
      error: ({ input }) =>
        `${JSON.stringify(input)} is no name of a group: use up to 63 lower-case letters, digits, and inner hyphens and dots`,
    })
    .optional(),
  idleTimeout: secondsSchema(1_000, 4_000_000, "between 1 and 4,000 seconds").optional(),
});

const networkLoadBalancerSchema = z.strictObject({
  kind: z.literal("networkLoadBalancer"),
  ...shape,
  port: z.int().min(1, "is no port: use 1 to 65535").max(65535, "is no port: use 1 to 65535").optional(),
  loadBalancerClass: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(\/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$/, {
      error: ({ input }) => `${JSON.stringify(input)} is no class of load balancers, such as "service.k8s.aws/nlb"`,
    })
    .optional(),
});

export const entranceSchema = z.discriminatedUnion("kind", [albIngressSchema, networkLoadBalancerSchema], {
  error: "is no known entrance: use albIngress({ … }) or networkLoadBalancer({ … })",
});

type Values = Readonly<Record<string, unknown>>;

/** What is wrong with an entrance as a whole, whatever is wrong with its parts: who could come in, and what of it could be read. */
export function entranceProblems(gateway: unknown): readonly Problem[] {
  const { entrance, apiKeys, service } = Object(gateway) as Values;
  if (entrance === undefined) return [];
  const given = Object(entrance) as Values;
  const path = "gateway.entrance";
  const problems: Problem[] = [];
  const withTls = isObject(given.tls);
  const authenticates = given.kind === "albIngress" && isObject(given.authentication);
  if (isUnknown(given.scheme)) {
    problems.push({ path: `${path}.scheme`, reason: "has to be known at preview: it decides who may come in" });
  }
  if (given.scheme === "internet-facing") {
    if (!withTls && given.allowPublicWithoutTls !== true) {
      const reason =
        "is missing, and the load balancer is internet-facing: keys, prompts and pictures would cross the internet in the clear; name a certificate, tls: { certificateArn }, or take the risk with allowPublicWithoutTls: true";
      problems.push({ path: `${path}.tls`, reason });
    }
    if (apiKeys === undefined && !authenticates && given.allowPublicWithoutAuthentication !== true) {
      const login = given.kind === "albIngress" ? " or gateway.entrance.authentication" : "";
      const reason = `is internet-facing, and everybody on the internet would be let in: who runs workflows runs the plugins' code; set gateway.apiKeys${login}, or take the risk with allowPublicWithoutAuthentication: true`;
      problems.push({ path: `${path}.scheme`, reason });
    }
  }
  if (authenticates && !withTls) {
    const reason =
      "works at HTTPS only, and at HTTP everybody would be let in: name a certificate, tls: { certificateArn }";
    problems.push({ path: `${path}.authentication`, reason });
  }
  if (given.inboundCidrs !== undefined && given.securityGroups !== undefined) {
    const reason = "counts for nothing beside securityGroups, which then say who is let in: leave one of them out";
    problems.push({ path: `${path}.inboundCidrs`, reason });
  }
  if (given.kind === "albIngress") {
    if (Array.isArray(given.subnets) && given.subnets.length === 1) {
      problems.push({ path: `${path}.subnets`, reason: "is one subnet: an ALB needs two, in different zones" });
    }
    // https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/ A Service's come first.
    for (const name of Object.keys(Object(Object(service).annotations))) {
      if (!name.startsWith(albPrefix)) continue;
      const reason = "would count before what the entrance says: use gateway.entrance";
      problems.push({ path: `gateway.service.annotations.${name}`, reason });
    }
  }
  return problems;
}

/** By which annotations clouds make a load balancer that only their own networks reach: https://kubernetes.io/docs/concepts/services-networking/service/#internal-load-balancer */
const internalAnnotations: Readonly<Record<string, RegExp>> = {
  "networking.gke.io/load-balancer-type": /^internal$/i,
  "cloud.google.com/load-balancer-type": /^internal$/i,
  "service.beta.kubernetes.io/aws-load-balancer-scheme": /^internal$/,
  "service.beta.kubernetes.io/aws-load-balancer-internal": /^true$/,
  "service.beta.kubernetes.io/azure-load-balancer-internal": /^true$/,
  "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type": /^private$/,
  "service.beta.kubernetes.io/openstack-internal-load-balancer": /^true$/,
  "service.beta.kubernetes.io/cce-load-balancer-internal-vpc": /^true$/,
  "service.kubernetes.io/qcloud-loadbalancer-internal-subnetid": /^subnet-/,
  "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type": /^intranet$/,
  "service.beta.kubernetes.io/oci-load-balancer-internal": /^true$/,
};

/** A gateway's own Service as a load balancer, which clouds make public unless an annotation says otherwise. */
export function loadBalancerProblems(gateway: unknown): readonly Problem[] {
  const { apiKeys, service } = Object(gateway) as Values;
  const { type, annotations, allowPublicWithoutAuthentication } = Object(service) as Values;
  if (type !== "LoadBalancer" || apiKeys !== undefined || allowPublicWithoutAuthentication === true) return [];
  const internal = Object.entries(Object(annotations) as Values).some(
    ([name, value]) => typeof value === "string" && internalAnnotations[name]?.test(value) === true,
  );
  if (internal) return [];
  const reason =
    'is "LoadBalancer", which clouds make reachable from the internet, and everybody would be let in: who runs workflows runs the plugins\' code; set gateway.apiKeys, an annotation that makes the load balancer internal, or take the risk with allowPublicWithoutAuthentication: true';
  return [{ path: "gateway.service.type", reason }];
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}
