import {
  type DeclaredResource,
  isPart,
  placeOf,
  subjectOf,
  textAt,
  unknown,
  type Violation,
  valueAt,
} from "./declared";

/**
 * No service that can be reached from outside of its cluster lets everybody in: who runs workflows runs the plugins' code, on your GPUs.
 *
 * Reached from outside: through a Service of type `LoadBalancer` or `NodePort`, or an Ingress; not through a load balancer that is internal. Nobody
 * is let in without an API key, or by an Ingress of the AWS load balancer controller without a login.
 */
export function publicServices(resources: readonly DeclaredResource[]): readonly Violation[] {
  const keyed = new Map(
    resources
      .filter((resource) => isPart(resource, "Secret", "gateway"))
      .map((secret) => [placeOf(secret), hasKeys(secret)] as const),
  );
  return resources.flatMap((resource) => {
    const way = wayIn(resource);
    // What is not known yet shows when it is.
    if (way === null || keyed.get(placeOf(resource)) !== false) return [];
    const { property, description } = way;
    const reason = `${description} leads in from outside of the cluster, and everybody is let in: set gateway.apiKeys${way.remedy}`;
    return [{ resource: subjectOf(resource), urn: resource.urn, property, reason }];
  });
}

interface WayIn {
  readonly property: string;
  readonly description: string;
  /** What else would be right. */
  readonly remedy: string;
}

/** How an object of the gateway leads in for everybody; null where it does not. */
function wayIn(resource: DeclaredResource): WayIn | null {
  if (isPart(resource, "Ingress", "gateway")) return ingress(resource);
  if (!isPart(resource, "Service", "gateway")) return null;
  const type = textAt(resource, "spec", "type");
  const remedy = ', or let gateway.service.type be "ClusterIP"';
  if (type === "NodePort")
    return { property: "gateway.service.type", description: 'a Service of type "NodePort"', remedy };
  if (type !== "LoadBalancer") return null;
  const loadBalancerClass = textAt(resource, "spec", "loadBalancerClass") ?? "";
  // The controller of AWS, and that of EKS Auto Mode.
  if (/^(service\.k8s\.aws|eks\.amazonaws\.com)\/nlb$/.test(loadBalancerClass)) {
    const internal = textAt(resource, ...annotations, "service.beta.kubernetes.io/aws-load-balancer-scheme");
    if (internal !== "internet-facing") return null;
    return { ...entrance, description: "an internet-facing network load balancer" };
  }
  if (Object.entries(internalAnnotations).some(([name, value]) => value.test(annotation(resource, name)))) return null;
  return { property: "gateway.service.type", description: 'a Service of type "LoadBalancer"', remedy };
}

const entrance = { property: "gateway.entrance", remedy: ', or let its scheme be "internal"' };

function ingress(resource: DeclaredResource): WayIn | null {
  const controller = "alb.ingress.kubernetes.io/";
  const ofController =
    textAt(resource, "spec", "ingressClassName") === "alb" || annotation(resource, `${controller}scheme`);
  if (!ofController) return { property: "gateway.ingress", description: "an Ingress", remedy: ", or leave it out" };
  if (annotation(resource, `${controller}scheme`) !== "internet-facing") return null;
  const denies = annotation(resource, `${controller}auth-on-unauthenticated-request`) !== "allow";
  if (denies && ["cognito", "oidc"].includes(annotation(resource, `${controller}auth-type`))) return null;
  const remedy = `, its authentication${entrance.remedy}`;
  return { ...entrance, description: "an internet-facing application load balancer", remedy };
}

const annotations = ["metadata", "annotations"] as const;
const annotation = (resource: DeclaredResource, name: string) => textAt(resource, ...annotations, name) ?? "";

/** https://kubernetes.io/docs/concepts/services-networking/service/#internal-load-balancer */
const internalAnnotations: Readonly<Record<string, RegExp>> = {
  "networking.gke.io/load-balancer-type": /^internal$/i,
  "cloud.google.com/load-balancer-type": /^internal$/i,
  "service.beta.kubernetes.io/aws-load-balancer-scheme": /^internal$/,
  "service.beta.kubernetes.io/aws-load-balancer-internal": /^true$/,
  "service.beta.kubernetes.io/azure-load-balancer-internal": /^true$/,
  "service.beta.kubernetes.io/openstack-internal-load-balancer": /^true$/,
  "service.beta.kubernetes.io/oci-load-balancer-internal": /^true$/,
  "service.kubernetes.io/qcloud-loadbalancer-internal-subnetid": /^subnet-/,
};

/** Whether the gateway's settings name keys; null where they are not known, or of another form. */
function hasKeys(secret: DeclaredResource): boolean | null {
  const declared = valueAt(secret, "stringData", "settings.json");
  const stored = textAt(secret, "data", "settings.json");
  if (declared === unknown) return null;
  const text = typeof declared === "string" ? declared : stored && Buffer.from(stored, "base64").toString();
  if (!text) return null;
  try {
    const { apiKeyHashes } = JSON.parse(text) as { readonly apiKeyHashes?: unknown };
    return Array.isArray(apiKeyHashes) ? apiKeyHashes.length > 0 : null;
  } catch {
    return null;
  }
}
