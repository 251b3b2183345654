import { randomBytes } from "node:crypto";
import { ApiextensionsV1Api } from "@kubernetes/client-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { albIngress, type Entrance, type GatewayArgs, networkLoadBalancer } from "../../index";
import { type Declaration, declarationProblems } from "../../providers/declarations";
import { knownLater } from "../../providers/unknown";
import { type Cluster, connectCluster } from "../../runtime/kubernetes";
import { waitFor } from "../../runtime/waiting";
import { ApiServer } from "../support/api-server";
import { owner } from "../support/supervisor-platform";

const arn = "arn:aws:acm:eu-west-1:123456789012:certificate/one";
const tls = { certificateArn: arn };
const cognito = {
  type: "cognito",
  userPoolArn: "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_Pool",
  userPoolClientId: "client",
  userPoolDomain: "studio",
} as const;
const oidc = {
  type: "oidc",
  issuer: "https://login.example.com",
  authorizationEndpoint: "https://login.example.com/authorize",
  tokenEndpoint: "https://login.example.com/token",
  userInfoEndpoint: "https://login.example.com/userinfo",
  secret: "login",
} as const;
const open = { scheme: "internet-facing", tls } as const;

/** A service with this gateway, of which the cluster is not known yet. */
function declared(gateway: object, platform: object = {}): Declaration {
  return {
    kind: "OnlineService",
    name: "studio",
    arguments: {
      platform: { kind: "kubernetes", kubeconfig: knownLater, namespace: "team", pod: { image: "a" }, ...platform },
      snapshot: knownLater,
      scaling: { kind: "fixed", count: 1 },
      gateway,
    },
  };
}

/** Path and reason of each problem, without the component's name. */
async function problemsOf(declaration: Declaration): Promise<Record<string, string>> {
  const problems = await declarationProblems({ owner, declarations: [declaration] });
  return Object.fromEntries(problems.map(({ path, reason }) => [path.replace(/^\w+ "[^"]*" /, ""), reason]));
}

/** What is wrong with an entrance, by its properties. */
async function wrong(entrance: object, gateway: object = {}): Promise<Record<string, string>> {
  return problemsOf(declared({ ...gateway, entrance }));
}

const keys = { apiKeys: "declared" };
const noTls = expect.stringMatching(
  /^is missing, and the load balancer is internet-facing: .* name a certificate, .* or take the risk with allowPublicWithoutTls: true$/,
);
const noLogin = expect.stringMatching(
  /^is internet-facing, and everybody on the internet would be let in: .*; set gateway\.apiKeys, or take the risk with allowPublicWithoutAuthentication: true$/,
);
const noLoginAtAll = expect.stringMatching(/; set gateway\.apiKeys or gateway\.entrance\.authentication, or take/);

describe("an entrance from the internet", () => {
  test.each([albIngress, networkLoadBalancer] as const)("%o is not refused while it is internal", async (make) => {
    expect(await wrong(make())).toEqual({});
    expect(await wrong(make({ scheme: "internal", host: "studio.example.com" }))).toEqual({});
  });

  test("is refused without TLS and without anybody to ask who comes, both at once", async () => {
    expect(await wrong(albIngress({ scheme: "internet-facing" }))).toEqual({
      "gateway.entrance.tls": noTls,
      "gateway.entrance.scheme": noLoginAtAll,
    });
    expect(await wrong(networkLoadBalancer({ scheme: "internet-facing" }))).toEqual({
      "gateway.entrance.tls": noTls,
      "gateway.entrance.scheme": noLogin,
    });
  });

  test("is not refused with TLS and keys, or a login", async () => {
    expect(await wrong(albIngress(open), keys)).toEqual({});
    expect(await wrong(networkLoadBalancer(open), keys)).toEqual({});
    expect(await wrong(albIngress({ ...open, authentication: cognito }))).toEqual({});
    expect(await wrong(albIngress({ ...open, authentication: oidc }))).toEqual({});
    expect(await wrong({ ...networkLoadBalancer(open), tls: { certificateArn: knownLater } }, keys)).toEqual({});
  });

  test("takes each risk by the name of that risk only", async () => {
    const bare = { scheme: "internet-facing" } as const;
    expect(await wrong(albIngress({ ...bare, allowPublicWithoutTls: true }))).toEqual({
      "gateway.entrance.scheme": noLoginAtAll,
    });
    expect(await wrong(networkLoadBalancer({ ...bare, allowPublicWithoutAuthentication: true }))).toEqual({
      "gateway.entrance.tls": noTls,
    });
    const both = { allowPublicWithoutTls: true, allowPublicWithoutAuthentication: true };
    expect(await wrong(networkLoadBalancer({ ...bare, ...both }))).toEqual({});
    expect(await wrong(albIngress({ ...bare, ...both }))).toEqual({});
    const later = { allowPublicWithoutTls: knownLater, allowPublicWithoutAuthentication: knownLater };
    expect(Object.keys(await wrong({ ...albIngress(bare), ...later })).sort()).toEqual([
      "gateway.entrance.scheme",
      "gateway.entrance.tls",
    ]);
  });

  test("is refused where it is not known whether it is one", async () => {
    expect(await wrong({ ...albIngress(), scheme: knownLater })).toEqual({
      "gateway.entrance.scheme": "has to be known at preview: it decides who may come in",
    });
  });

  test("is let in no more by a login or TLS that is not there yet, or by a range of addresses", async () => {
    const entrance = albIngress({ scheme: "internet-facing", inboundCidrs: ["203.0.113.0/24"] });
    expect(Object.keys(await wrong({ ...entrance, tls: knownLater, authentication: knownLater })).sort()).toEqual([
      "gateway.entrance.scheme",
      "gateway.entrance.tls",
    ]);
  });
});

describe("an entrance is refused with", () => {
  const cases: [what: string, entrance: Entrance | object, gateway: object, problems: Record<string, RegExp>][] = [
    [
      "a login at HTTP, where there would be none",
      albIngress({ authentication: cognito, allowPublicWithoutTls: true }),
      {},
      { "gateway.entrance.authentication": /^works at HTTPS only, and at HTTP everybody would be let in/ },
    ],
    [
      "a login that lets everybody in",
      { ...albIngress({ tls }), authentication: { ...cognito, onUnauthenticatedRequest: "allow" } },
      {},
      { "gateway.entrance.authentication.onUnauthenticatedRequest": /^is neither "authenticate" nor "deny"/ },
    ],
    [
      "a login of no kind",
      { ...albIngress({ tls }), authentication: { type: "basic" } },
      {},
      { "gateway.entrance.authentication.type": /^is no known authentication: its type is "cognito" or "oidc"/ },
    ],
    [
      "a login at addresses that are none",
      albIngress({ tls, authentication: { ...oidc, tokenEndpoint: "http://a", sessionTimeout: "8000h" } }),
      {},
      {
        "gateway.entrance.authentication.tokenEndpoint": /^"http:\/\/a" is no URL that begins with https:\/\//,
        "gateway.entrance.authentication.sessionTimeout": /^is not between a second and 7 days/,
      },
    ],
    [
      "a user pool that is none",
      albIngress({ tls, authentication: { ...cognito, userPoolArn: "pool" } }),
      {},
      { "gateway.entrance.authentication.userPoolArn": /^"pool" is no ARN of a user pool of Cognito/ },
    ],
    [
      "certificates that are none",
      albIngress({ tls: { certificateArn: [arn, "mine"] } }),
      {},
      { "gateway.entrance.tls.certificateArn[1]": /^"mine" is no ARN of a certificate in AWS Certificate Manager/ },
    ],
    [
      "no certificate",
      { ...albIngress(), tls: {} },
      {},
      { "gateway.entrance.tls.certificateArn": /^nothing is no ARN/ },
    ],
    [
      "an empty list of certificates",
      networkLoadBalancer({ tls: { certificateArn: [] } }),
      {},
      { "gateway.entrance.tls.certificateArn": /^names no certificate/ },
    ],
    [
      "addresses that are none, beside security groups",
      networkLoadBalancer({ inboundCidrs: ["10.0.0.0"], securityGroups: ["sg-1"] }),
      {},
      {
        "gateway.entrance.inboundCidrs[0]": /^"10\.0\.0\.0" is no block of addresses, such as "10\.0\.0\.0\/8"/,
        "gateway.entrance.inboundCidrs": /^counts for nothing beside securityGroups/,
      },
    ],
    ["one subnet", albIngress({ subnets: ["subnet-1"] }), {}, { "gateway.entrance.subnets": /^is one subnet: an ALB/ }],
    [
      "a host with a scheme",
      albIngress({ host: "https://a" }),
      {},
      { "gateway.entrance.host": /^"https:\/\/a" is no host name/ },
    ],
    [
      "times that cannot be",
      { ...albIngress({ idleTimeout: "2h", deregistration: "1s" }) },
      {},
      {
        "gateway.entrance.idleTimeout": /^is not between 1 and 4,000 seconds/,
        "gateway.entrance.deregistration": /^is not between 5 seconds and 15 minutes/,
      },
    ],
    [
      "half seconds",
      networkLoadBalancer({ deregistration: "10500ms" }),
      {},
      { "gateway.entrance.deregistration": /^is no whole number of seconds/ },
    ],
    [
      "tags that annotations cannot pass on",
      albIngress({ tags: { team: "a,b" } }),
      {},
      { "gateway.entrance.tags.team": /^has a comma, which annotations cannot pass on/ },
    ],
    [
      "an attribute that is an argument",
      albIngress({ attributes: { "idle_timeout.timeout_seconds": "60" } }),
      {},
      { "gateway.entrance.attributes.idle_timeout.timeout_seconds": /^is what idleTimeout says/ },
    ],
    [
      "annotations that would open it",
      albIngress({
        annotations: {
          "alb.ingress.kubernetes.io/scheme": "internet-facing",
          "alb.ingress.kubernetes.io/auth-type": "none",
          "alb.ingress.kubernetes.io/wafv2-acl-arn": "arn",
        },
      }),
      {},
      {
        "gateway.entrance.annotations.alb.ingress.kubernetes.io/scheme": /^is set by the entrance: use its arguments/,
        "gateway.entrance.annotations.alb.ingress.kubernetes.io/auth-type": /^is set by the entrance/,
      },
    ],
    [
      "annotations of the Service, which count before its own",
      albIngress(),
      { service: { annotations: { "alb.ingress.kubernetes.io/auth-type": "none", a: "b" } } },
      {
        "gateway.service.annotations.alb.ingress.kubernetes.io/auth-type": /^would count before what the entrance says/,
      },
    ],
    [
      "the proxy protocol, which the gateway does not speak",
      networkLoadBalancer({ annotations: { "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*" } }),
      {},
      {
        "gateway.entrance.annotations.service.beta.kubernetes.io/aws-load-balancer-proxy-protocol":
          /^is set by the entrance/,
      },
    ],
    [
      "a class and a port that are none",
      networkLoadBalancer({ loadBalancerClass: "My NLB", port: 70_000 }),
      {},
      {
        "gateway.entrance.loadBalancerClass": /^"My NLB" is no class of load balancers/,
        "gateway.entrance.port": /^is no port: use 1 to 65535/,
      },
    ],
    [
      "a group that is none",
      albIngress({ group: "Us" }),
      {},
      { "gateway.entrance.group": /^"Us" is no name of a group/ },
    ],
    [
      "what is no entrance",
      { kind: "tunnel" },
      {},
      { "gateway.entrance.kind": /^is no known entrance: use albIngress/ },
    ],
    [
      "what only the other kind has",
      { ...networkLoadBalancer({ tls }), authentication: cognito },
      {},
      { "gateway.entrance": /authentication/ },
    ],
  ];
  test.each(cases)("%s", async (_, entrance, gateway, problems) => {
    const matching = Object.entries(problems).map(([path, reason]) => [path, expect.stringMatching(reason)]);
    expect(await wrong(entrance, gateway)).toEqual(Object.fromEntries(matching));
  });

  test("what is wrong with it as a whole is told beside what is wrong with its parts", async () => {
    const entrance = albIngress({ scheme: "internet-facing", host: "_", authentication: { ...cognito, scope: "" } });
    expect(Object.keys(await wrong(entrance)).sort()).toEqual([
      "gateway.entrance.authentication",
      "gateway.entrance.authentication.scope",
      "gateway.entrance.host",
      "gateway.entrance.tls",
    ]);
  });

  test("a service on one machine", async () => {
    const directory = { kind: "local", directory: "/tmp/none", namespace: undefined, pod: undefined };
    const { arguments: given } = declared({ entrance: albIngress() });
    const { platform: _, ...rest } = given as { platform: object };
    const problems = await problemsOf({
      kind: "OnlineService",
      name: "studio",
      arguments: { ...rest, platform: { kind: "local", directory: directory.directory } },
    });
    expect(problems).toEqual({ "gateway.entrance": "is for a service on kubernetes({ … })" });
  });

  test("a service that is called as such objects are", async () => {
    const problems = await problemsOf({ ...declared({}), name: "studio-entrance" });
    expect(problems).toEqual({
      name: '"studio-entrance" cannot name it in a cluster: objects of load balancers end in "-entrance"',
    });
  });
});

describe("a gateway's own Service of type LoadBalancer", () => {
  const refused = {
    "gateway.service.type": expect.stringMatching(
      /^is "LoadBalancer", which clouds make reachable from the internet, .* or take the risk with allowPublicWithoutAuthentication: true$/,
    ),
  };
  const service = (more: NonNullable<GatewayArgs["service"]> = {}, gateway: object = {}) =>
    problemsOf(declared({ ...gateway, service: { type: "LoadBalancer", ...more } }));

  test("is refused where nobody has to show a key, whatever addresses it lets in", async () => {
    expect(await service()).toEqual(refused);
    expect(await service({ annotations: { "example.org/internal": "true" } })).toEqual(refused);
    expect(await service({ loadBalancerSourceRanges: ["203.0.113.0/24"] })).toEqual(refused);
    expect(
      await service({ annotations: { "service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing" } }),
    ).toEqual(refused);
  });

  test("is not refused with keys, or with the risk named, nor is a node port or an ingress", async () => {
    expect(await service({}, keys)).toEqual({});
    expect(await service({ allowPublicWithoutAuthentication: true })).toEqual({});
    expect(await service({ type: "NodePort" })).toEqual({});
    expect(await service({ type: "ClusterIP" }, { ingress: { host: "studio.example.com" } })).toEqual({});
  });

  test.each([
    ["networking.gke.io/load-balancer-type", "Internal"],
    ["service.beta.kubernetes.io/aws-load-balancer-scheme", "internal"],
    ["service.beta.kubernetes.io/aws-load-balancer-internal", "true"],
    ["service.beta.kubernetes.io/azure-load-balancer-internal", "true"],
    ["service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type", "private"],
    ["service.beta.kubernetes.io/openstack-internal-load-balancer", "true"],
    ["service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type", "intranet"],
    ["service.beta.kubernetes.io/oci-load-balancer-internal", "true"],
  ])("is not refused where %s makes it internal", async (name, value) => {
    expect(await service({ annotations: { [name]: value } })).toEqual({});
    expect(await service({ annotations: { [name]: `not-${value}` } })).toEqual(refused);
  });

  test("is refused with addresses that are none", async () => {
    expect(await service({ loadBalancerSourceRanges: ["everybody"] }, keys)).toEqual({
      "gateway.service.loadBalancerSourceRanges[0]": expect.stringMatching(/^"everybody" is no block of addresses/),
    });
  });
});

describe("a cluster", () => {
  let server: ApiServer;
  let cluster: Cluster;
  let platform: { readonly kubeconfig: string; readonly namespace: string };

  beforeAll(async () => {
    server = await ApiServer.start();
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    platform = { kubeconfig: server.kubeconfig("admin"), namespace: `test-${randomBytes(4).toString("hex")}` };
    cluster = await connectCluster(platform);
    await cluster.core.createNamespace({ body: { metadata: { name: platform.namespace } } });
  });

  const look = (entrance: object) => problemsOf(declared({ entrance }, platform));

  /** What the controller brings to the API server. */
  async function install(): Promise<void> {
    const names = { plural: "targetgroupbindings", kind: "TargetGroupBinding" };
    const schema = { openAPIV3Schema: { type: "object" } };
    await cluster.config.makeApiClient(ApiextensionsV1Api).createCustomResourceDefinition({
      body: {
        metadata: {
          name: "targetgroupbindings.elbv2.k8s.aws",
          // Names below k8s.io and k8s.aws are Kubernetes' own.
          annotations: {
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/aws-load-balancer-controller",
          },
        },
        spec: {
          group: "elbv2.k8s.aws",
          scope: "Namespaced",
          names,
          versions: [{ name: "v1beta1", served: true, storage: true, schema }],
        },
      },
    });
    await waitFor({
      what: "the API server to serve elbv2.k8s.aws",
      deadline: 30_000,
      look: async () => {
        const { groups } = await cluster.apis.getAPIVersions();
        return groups.some(({ name }) => name === "elbv2.k8s.aws") || undefined;
      },
    });
  }

  test("needs the controller, a label by which gateways wait for the load balancer, and the Secret of a login", async () => {
    expect(await look(networkLoadBalancer())).toEqual({
      "gateway.entrance":
        "the AWS load balancer controller is not in the cluster: its API server has no group elbv2.k8s.aws or eks.amazonaws.com",
    });

    await install();

    const label = "elbv2.k8s.aws/pod-readiness-gate-inject";
    const { namespace } = platform;
    const unlabelled = `the namespace ${namespace} has no label ${label}: enabled, so that a gateway would be replaced before the load balancer sends anything to the next one: kubectl label namespace ${namespace} ${label}=enabled`;
    const authentication = { ...oidc, issuer: knownLater };
    const withLogin = { ...albIngress({ tls }), authentication };
    expect(await look(withLogin)).toEqual({
      "gateway.entrance": unlabelled,
      "gateway.entrance.authentication.secret": `the namespace ${namespace} has no Secret "login"`,
    });

    const named = await cluster.core.readNamespace({ name: namespace });
    named.metadata = { ...named.metadata, labels: { ...named.metadata?.labels, [label]: "enabled" } };
    await cluster.core.replaceNamespace({ name: namespace, body: named });
    await cluster.core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: "login" }, stringData: { clientID: "a" } },
    });
    expect(await look(withLogin)).toEqual({
      "gateway.entrance.authentication.secret": 'the Secret "login" has no key "clientSecret"',
    });
    expect(await look(albIngress())).toEqual({});
    expect(await look(networkLoadBalancer({ tls: { certificateArn: arn } }))).toEqual({});

    await cluster.core.createNamespacedService({
      namespace,
      body: {
        metadata: { name: "studio-entrance" },
        spec: { type: "LoadBalancer", loadBalancerClass: "service.k8s.aws/nlb", ports: [{ port: 443 }] },
      },
    });
    expect(await look(networkLoadBalancer())).toEqual({});
    expect(await look(networkLoadBalancer({ loadBalancerClass: "eks.amazonaws.com/nlb" }))).toEqual({
      "gateway.entrance.loadBalancerClass":
        'is another one than that of the Service studio-entrance, "service.k8s.aws/nlb", which cannot be changed: take the entrance out, and in again with another pulumi up',
    });
  });
});
