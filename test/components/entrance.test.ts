import * as pulumi from "@pulumi/pulumi";
import { describe, expect, test, vi } from "vitest";
import {
  type AlbIngressArgs,
  albIngress,
  type Entrance,
  fixed,
  type GatewayArgs,
  kubernetes,
  type NetworkLoadBalancerArgs,
  networkLoadBalancer,
  OnlineService,
} from "../../index";
import { isOwnAnnotation } from "../../providers/declarations/entrance";
import { podSettings } from "../../providers/declarations/pod";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, valueIn } from "../support/recording-mocks";

const snapshot = `s3://bucket/prefix#sha256:${"a".repeat(64)}`;
const certificateArn = "arn:aws:acm:eu-west-1:123456789012:certificate/one";
const second = "arn:aws:acm:eu-west-1:123456789012:certificate/two";
const address = "k8s-team-studioen-0123456789.elb.eu-west-1.amazonaws.com";
const alb = (annotations: Readonly<Record<string, string>>) => prefixed("alb.ingress.kubernetes.io/", annotations);
const nlb = (annotations: Readonly<Record<string, string>>) =>
  prefixed("service.beta.kubernetes.io/aws-load-balancer-", annotations);

function prefixed(prefix: string, annotations: Readonly<Record<string, string>>) {
  return Object.fromEntries(Object.entries(annotations).map(([name, value]) => [prefix + name, value]));
}

/** Declares a service with an entrance, and waits for the last of what it declares. */
async function declare(name: string, entrance: Entrance | undefined, gateway: GatewayArgs = {}) {
  const loadBalancer = { ingress: [{ hostname: address }] };
  const recording = recordDeclarations({
    ClusterServiceClaim: { since: "then", programs: "programs" },
    ClusterRelease: { revision: 1, settings: pod, instance: "{}", programs: "programs", grace: 60, startCount: 1 },
    Deployment: { metadata: { uid: "uid" } },
    Ingress: { status: { loadBalancer } },
    Service: { status: { loadBalancer } },
  });
  const platform = kubernetes({ namespace: "team", pod: { image: "registry/comfyui:1" } });
  const service = new OnlineService(name, {
    platform,
    snapshot,
    scaling: fixed(1),
    gateway: { ...gateway, ...(entrance === undefined ? {} : { entrance }) },
  });
  const url = await valueIn(service.url);
  await waitFor({
    what: "the switch, the last to be asked for",
    deadline: 20_000,
    look: () => recording.declared.find(({ type }) => type.endsWith(":ClusterTrafficSwitch")),
  });
  const container = () => {
    const { spec } = recording.find("Deployment", `${name}-gateway`).inputs as {
      spec: { template: { spec: { terminationGracePeriodSeconds: number; containers: { command: string[] }[] } } };
    };
    const { terminationGracePeriodSeconds: grace, containers } = spec.template.spec;
    return { grace, times: containers[0]?.command.slice(-4) };
  };
  return { recording, url, container };
}

const pod = podSettings({ image: "registry/comfyui:1", agentImage: "node", tolerations: [] }, {});

const labels = (name: string) => ({
  "app.kubernetes.io/name": "comfyui",
  "app.kubernetes.io/instance": name,
  "app.kubernetes.io/component": "gateway",
  "app.kubernetes.io/managed-by": "pulumi-comfyui",
});
const metadata = (name: string, annotations: object) => ({
  name: `${name}-entrance`,
  namespace: "team",
  labels: labels(name),
  annotations: {
    "pulumi-comfyui/owner": "organization/project/stack",
    "pulumi.com/patchForce": "true",
    ...annotations,
  },
});
const waits = { "pulumi.com/waitFor": "jsonpath={.status.loadBalancer.ingress[0].hostname}" };
const host = { "pulumi.com/waitFor": "jsonpath={.metadata.uid}", "pulumi-comfyui/host": "studio.example.com" };

const albHealth = {
  "healthcheck-protocol": "HTTP",
  "healthcheck-path": "/_gateway/ready",
  "success-codes": "200",
  "healthcheck-interval-seconds": "5",
  "healthcheck-timeout-seconds": "3",
  "healthy-threshold-count": "2",
  "unhealthy-threshold-count": "2",
};
const nlbHealth = {
  "healthcheck-protocol": "http",
  "healthcheck-port": "traffic-port",
  "healthcheck-path": "/_gateway/ready",
  "healthcheck-success-codes": "200",
  "healthcheck-interval": "10",
  "healthcheck-healthy-threshold": "2",
  "healthcheck-unhealthy-threshold": "2",
};

const everything = {
  scheme: "internet-facing",
  host: "studio.example.com",
  tls: { certificateArn: [pulumi.output(certificateArn), second], policy: "ELBSecurityPolicy-TLS13-1-3-2021-06" },
  subnets: ["subnet-1", pulumi.output("subnet-2")],
  securityGroups: [pulumi.output("sg-1"), "sg-2"],
  tags: { team: "art", cost: pulumi.output("7") },
  attributes: { "access_logs.s3.enabled": "true", "access_logs.s3.bucket": "logs" },
  annotations: { "external-dns.alpha.kubernetes.io/ttl": "60" },
  deregistration: "60s",
} as const;

const fullAlb: AlbIngressArgs = {
  ...everything,
  annotations: { ...everything.annotations, "alb.ingress.kubernetes.io/wafv2-acl-arn": "arn:aws:wafv2:acl" },
  className: "public-alb",
  group: "team.art",
  idleTimeout: "20m",
  authentication: {
    type: "oidc",
    issuer: "https://login.example.com",
    authorizationEndpoint: "https://login.example.com/authorize",
    tokenEndpoint: "https://login.example.com/token",
    userInfoEndpoint: pulumi.output("https://login.example.com/userinfo"),
    secret: "studio-login",
    onUnauthenticatedRequest: "deny",
    scope: "openid email",
    sessionTimeout: "12h",
  },
};

const fullNetwork: NetworkLoadBalancerArgs = {
  ...everything,
  port: 8443,
  loadBalancerClass: "eks.amazonaws.com/nlb",
};

describe("without an entrance", () => {
  test("there is neither a load balancer nor another time for gateways that end", async () => {
    const { recording, url, container } = await declare("none", undefined);
    expect(url).toBe("http://none.team.svc:8188");
    expect(recording.declared.map(({ name }) => name)).not.toContain("none-entrance");
    expect(container()).toEqual({ grace: 90, times: ["--port", "8188", "--folder", "/comfyui/spool"] });
  });
});

describe("albIngress", () => {
  test("is internal, without TLS, and known by its own address unless it says otherwise", async () => {
    const { recording, url } = await declare("plain", albIngress());
    const ingress = recording.find("Ingress", "plain-entrance");
    expect(ingress.dependsOn).toEqual(["Service plain-gateway"]);
    expect(ingress.parent).toBe("OnlineService plain");
    expect(ingress.inputs).toEqual({
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: metadata("plain", {
        ...waits,
        ...alb({
          scheme: "internal",
          "target-type": "ip",
          "listen-ports": '[{"HTTP":80}]',
          ...albHealth,
          "load-balancer-attributes":
            "routing.http.drop_invalid_header_fields.enabled=true,idle_timeout.timeout_seconds=720",
          "target-group-attributes": "deregistration_delay.timeout_seconds=70",
        }),
      }),
      spec: {
        ingressClassName: "alb",
        rules: [
          {
            http: {
              paths: [
                { path: "/", pathType: "Prefix", backend: { service: { name: "plain", port: { number: 8188 } } } },
              ],
            },
          },
        ],
      },
    });
    expect(url).toBe(`http://${address}`);
  });

  test("says everything that is declared, with one certificate for all and further ones by host", async () => {
    const { recording, url } = await declare("full", albIngress(fullAlb), { port: 80 });
    expect(recording.find("Ingress", "full-entrance").inputs).toEqual({
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: metadata("full", {
        ...host,
        "external-dns.alpha.kubernetes.io/ttl": "60",
        ...alb({
          "wafv2-acl-arn": "arn:aws:wafv2:acl",
          scheme: "internet-facing",
          "target-type": "ip",
          "listen-ports": '[{"HTTP":80},{"HTTPS":443}]',
          "certificate-arn": `${certificateArn},${second}`,
          "ssl-policy": "ELBSecurityPolicy-TLS13-1-3-2021-06",
          "ssl-redirect": "443",
          "auth-type": "oidc",
          "auth-idp-oidc":
            '{"issuer":"https://login.example.com","authorizationEndpoint":"https://login.example.com/authorize","tokenEndpoint":"https://login.example.com/token","userInfoEndpoint":"https://login.example.com/userinfo","secretName":"studio-login"}',
          "auth-on-unauthenticated-request": "deny",
          "auth-scope": "openid email",
          "auth-session-timeout": "43200",
          ...albHealth,
          "load-balancer-attributes":
            "routing.http.drop_invalid_header_fields.enabled=true,access_logs.s3.enabled=true,access_logs.s3.bucket=logs,idle_timeout.timeout_seconds=1200",
          "target-group-attributes": "deregistration_delay.timeout_seconds=90",
          subnets: "subnet-1,subnet-2",
          "security-groups": "sg-1,sg-2",
          "manage-backend-security-group-rules": "true",
          tags: "team=art,cost=7",
          "group.name": "team.art",
        }),
      }),
      spec: {
        ingressClassName: "public-alb",
        rules: [
          {
            host: "studio.example.com",
            http: {
              paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "full", port: { number: 80 } } } }],
            },
          },
        ],
      },
    });
    expect(url).toBe("https://studio.example.com");
  });

  test("has people log in at Cognito, ends TLS by the recommended policy, and lets in what it is told", async () => {
    const { recording, url } = await declare(
      "cognito",
      albIngress({
        tls: { certificateArn },
        inboundCidrs: ["10.0.0.0/8", "fd00::/8"],
        authentication: {
          type: "cognito",
          userPoolArn: pulumi.output("arn:aws:cognito-idp:eu-west-1:123456789012:userpool/pool"),
          userPoolClientId: "client",
          userPoolDomain: "studio",
        },
      }),
    );
    const { annotations } = recording.find("Ingress", "cognito-entrance").inputs.metadata as ReturnType<
      typeof metadata
    >;
    expect(annotations).toMatchObject(
      alb({
        "certificate-arn": certificateArn,
        "ssl-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "ssl-redirect": "443",
        "auth-type": "cognito",
        "auth-idp-cognito":
          '{"userPoolARN":"arn:aws:cognito-idp:eu-west-1:123456789012:userpool/pool","userPoolClientID":"client","userPoolDomain":"studio"}',
        "auth-on-unauthenticated-request": "authenticate",
        "auth-scope": "openid",
        "auth-session-timeout": "604800",
        "inbound-cidrs": "10.0.0.0/8,fd00::/8",
      }),
    );
    expect(url).toBe(`https://${address}`);
  });

  test("has gateways go on for as long as it sends to them, and keep connections for longer than it does", async () => {
    const plain = await declare("times", albIngress());
    expect(plain.container()).toEqual({ grace: 95, times: ["--farewell", "40", "--keep-alive", "735"] });
    const long = await declare("long", albIngress({ deregistration: "2m", idleTimeout: "30s" }));
    expect(long.container()).toEqual({ grace: 175, times: ["--farewell", "120", "--keep-alive", "45"] });
  });
});

describe("networkLoadBalancer", () => {
  test("is a Service of its own, internal, without TLS, and known by its own address unless it says otherwise", async () => {
    const { recording, url } = await declare("network", networkLoadBalancer());
    const service = recording.find("Service", "network-entrance");
    expect(service.dependsOn).toEqual(["Service network-gateway"]);
    expect(service.inputs).toEqual({
      apiVersion: "v1",
      kind: "Service",
      metadata: metadata("network", {
        ...waits,
        ...nlb({
          scheme: "internal",
          "nlb-target-type": "ip",
          ...nlbHealth,
          attributes: "load_balancing.cross_zone.enabled=true",
          "target-group-attributes":
            "deregistration_delay.timeout_seconds=180,target_health_state.unhealthy.connection_termination.enabled=false,target_health_state.unhealthy.draining_interval_seconds=180",
        }),
      }),
      spec: {
        type: "LoadBalancer",
        loadBalancerClass: "service.k8s.aws/nlb",
        allocateLoadBalancerNodePorts: false,
        selector: labels("network"),
        ports: [{ name: "http", port: 80, targetPort: 8188 }],
      },
    });
    expect(recording.find("Service", "network-gateway").inputs.spec).toEqual({
      type: "ClusterIP",
      selector: labels("network"),
      ports: [{ name: "http", port: 8188, targetPort: 8188, appProtocol: "http" }],
    });
    expect(url).toBe(`http://${address}`);
  });

  test("says everything that is declared", async () => {
    const { recording, url } = await declare("everything", networkLoadBalancer(fullNetwork));
    expect(recording.find("Service", "everything-entrance").inputs).toEqual({
      apiVersion: "v1",
      kind: "Service",
      metadata: metadata("everything", {
        ...host,
        "external-dns.alpha.kubernetes.io/ttl": "60",
        ...nlb({
          scheme: "internet-facing",
          "nlb-target-type": "ip",
          "ssl-cert": `${certificateArn},${second}`,
          "ssl-ports": "8443",
          "ssl-negotiation-policy": "ELBSecurityPolicy-TLS13-1-3-2021-06",
          ...nlbHealth,
          attributes: "load_balancing.cross_zone.enabled=true,access_logs.s3.enabled=true,access_logs.s3.bucket=logs",
          "target-group-attributes":
            "deregistration_delay.timeout_seconds=90,target_health_state.unhealthy.connection_termination.enabled=false,target_health_state.unhealthy.draining_interval_seconds=90",
          subnets: "subnet-1,subnet-2",
          "security-groups": "sg-1,sg-2",
          "manage-backend-security-group-rules": "true",
          "additional-resource-tags": "team=art,cost=7",
        }),
      }),
      spec: {
        type: "LoadBalancer",
        loadBalancerClass: "eks.amazonaws.com/nlb",
        allocateLoadBalancerNodePorts: false,
        selector: labels("everything"),
        ports: [{ name: "https", port: 8443, targetPort: 8188 }],
      },
    });
    expect(url).toBe("https://studio.example.com:8443");
  });

  test("lets in what it is told, and has gateways go on for as long as it sends to them", async () => {
    const { recording, url, container } = await declare(
      "tls",
      networkLoadBalancer({ tls: { certificateArn }, inboundCidrs: ["10.0.0.0/8"] }),
    );
    const { spec, metadata: meta } = recording.find("Service", "tls-entrance").inputs as {
      spec: object;
      metadata: ReturnType<typeof metadata>;
    };
    expect(spec).toMatchObject({ loadBalancerSourceRanges: ["10.0.0.0/8"], ports: [{ name: "https", port: 443 }] });
    expect(meta.annotations).toMatchObject(
      nlb({ "ssl-ports": "443", "ssl-negotiation-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06" }),
    );
    expect(url).toBe(`https://${address}`);
    expect(container()).toEqual({ grace: 205, times: ["--folder", "/comfyui/spool", "--farewell", "150"] });
  });
});

test.each([
  ["Ingress", albIngress({ ...fullAlb, inboundCidrs: ["10.0.0.0/8"] }), 26],
  ["Service", networkLoadBalancer(fullNetwork), 18],
] as const)(
  "of an %s, no annotation that an argument stands for can be given as another annotation",
  async (kind, entrance, count) => {
    const name = `own-${kind.toLowerCase()}`;
    const { recording } = await declare(name, entrance);
    const { annotations } = recording.find(kind, `${name}-entrance`).inputs.metadata as ReturnType<typeof metadata>;
    const own = Object.keys(annotations).filter((name) => !name.startsWith("external-dns") && !name.includes("wafv2"));
    expect(own.filter((name) => !isOwnAnnotation(name))).toEqual([]);
    expect(own.filter((name) => /alb|aws-load/.test(name))).toHaveLength(count);
    expect(Object.keys(everything.annotations).filter(isOwnAnnotation)).toEqual([]);
  },
);

describe("what is declared of a gateway", () => {
  test("says that there are keys, and not which; goes with its entrance before the gate and the switch", async () => {
    const key = "key-of-sixteen-characters";
    const { recording } = await declare("keys", albIngress({ tls: { certificateArn: pulumi.output("x") } }), {
      apiKeys: [key],
    });
    const { declarations } = recording.find("ClusterServiceClaim", "keys").inputs as {
      declarations: { name: string; arguments: { gateway: unknown } }[];
    };
    expect(declarations.find(({ name }) => name === "keys")?.arguments.gateway).toEqual({
      apiKeys: "declared",
      entrance: { kind: "albIngress", tls: { certificateArn: "\u0000known-later" } },
    });
    for (const type of ["ClusterHealthGate", "ClusterTrafficSwitch"]) {
      expect(recording.find(type, "keys").dependsOn).toContain("Ingress keys-entrance");
    }
  });

  test("lets a load balancer of its own Service in from some addresses only, and is not warned of where the risk is taken", async () => {
    const warn = vi.spyOn(pulumi.log, "warn").mockResolvedValue();
    const { recording } = await declare("ranges", undefined, {
      service: {
        type: "LoadBalancer",
        loadBalancerSourceRanges: ["10.0.0.0/8"],
        allowPublicWithoutAuthentication: true,
      },
    });
    expect(recording.find("Service", "ranges-gateway").inputs.spec).toEqual({
      type: "LoadBalancer",
      selector: labels("ranges"),
      ports: [{ name: "http", port: 8188, targetPort: 8188, appProtocol: "http" }],
      loadBalancerSourceRanges: ["10.0.0.0/8"],
    });
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });
});
