import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type DeclaredResource,
  gpuCeilings,
  publicServices,
  runningWorkstations,
  unpinnedSnapshots,
} from "../../policy";

const urnOf = (stack: string, name = "studio") => `urn:pulumi:${stack}::project::type::${name}`;
const own = (kind: string, props: object, stack = "prod", name = "studio"): DeclaredResource => ({
  type: `pulumi-nodejs:dynamic/comfyui:${kind}`,
  name,
  urn: urnOf(stack, name),
  props: props as DeclaredResource["props"],
});
const part = (type: string, component: string, props: object, annotations: object = {}): DeclaredResource => ({
  type: `kubernetes:${type}`,
  name: "studio",
  urn: urnOf("prod"),
  props: {
    metadata: {
      namespace: "team",
      annotations,
      labels: {
        "app.kubernetes.io/managed-by": "pulumi-comfyui",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": "studio",
      },
    },
    ...props,
  },
});

/** As `@pulumi/policy` has a value that a preview does not know: reading it throws. */
function notYet(props: object, ...names: readonly string[]): object {
  for (const name of names) {
    Object.defineProperty(props, name, {
      get: () => {
        throw Object.assign(new Error(`${name} can't be known during preview`), { unknownTypeSentinel: "04da6b54" });
      },
    });
  }
  return props;
}

describe("no public service without authentication", () => {
  const secret = (keys: readonly string[], form: "stringData" | "data" = "stringData") => {
    const text = JSON.stringify({ apiKeyHashes: keys });
    const value = form === "data" ? Buffer.from(text).toString("base64") : text;
    return part("core/v1:Secret", "gateway", { [form]: { "settings.json": value } });
  };
  const alb = "alb.ingress.kubernetes.io/";
  const scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme";
  const service = (spec: object, annotations: object = {}) => part("core/v1:Service", "gateway", { spec }, annotations);
  const ingress = (annotations: object = {}, spec: object = {}) =>
    part("networking.k8s.io/v1:Ingress", "gateway", { spec }, annotations);
  const network = { type: "LoadBalancer", loadBalancerClass: "service.k8s.aws/nlb" };

  const ways: [what: string, way: DeclaredResource, property: string | null][] = [
    ["an address inside of the cluster", service({ type: "ClusterIP" }), null],
    ["a load balancer", service({ type: "LoadBalancer" }), "gateway.service.type"],
    ["a port of the nodes", service({ type: "NodePort" }), "gateway.service.type"],
    ["an internal load balancer", service({ type: "LoadBalancer" }, { [scheme]: "internal" }), null],
    [
      "an internal load balancer of another cloud",
      service({ type: "LoadBalancer" }, { "networking.gke.io/load-balancer-type": "Internal" }),
      null,
    ],
    ["a network load balancer of AWS, which is internal by default", service(network), null],
    ["a public network load balancer", service(network, { [scheme]: "internet-facing" }), "gateway.entrance"],
    [
      "a public network load balancer of EKS Auto Mode",
      service({ ...network, loadBalancerClass: "eks.amazonaws.com/nlb" }, { [scheme]: "internet-facing" }),
      "gateway.entrance",
    ],
    ["an Ingress", ingress(), "gateway.ingress"],
    ["an Ingress of AWS, which is internal by default", ingress({}, { ingressClassName: "alb" }), null],
    ["a public Ingress of AWS", ingress({ [`${alb}scheme`]: "internet-facing" }), "gateway.entrance"],
    ["one with a login", ingress({ [`${alb}scheme`]: "internet-facing", [`${alb}auth-type`]: "oidc" }), null],
    [
      "one whose login lets everybody past",
      ingress({
        [`${alb}scheme`]: "internet-facing",
        [`${alb}auth-type`]: "cognito",
        [`${alb}auth-on-unauthenticated-request`]: "allow",
      }),
      "gateway.entrance",
    ],
    [
      "one with no login",
      ingress({ [`${alb}scheme`]: "internet-facing", [`${alb}auth-type`]: "none" }),
      "gateway.entrance",
    ],
  ];

  test.each(ways)("%s", (_, way, property) => {
    expect(publicServices([secret([]), way]).map((violation) => violation.property)).toEqual(
      property === null ? [] : [property],
    );
    expect(publicServices([secret([], "data"), way])).toHaveLength(property === null ? 0 : 1);
    for (const form of ["stringData", "data"] as const) expect(publicServices([secret(["ab"], form), way])).toEqual([]);
  });

  test("says of whom, and what would be right", () => {
    expect(publicServices([secret([]), service({ type: "LoadBalancer" })])).toEqual([
      {
        resource: "studio",
        urn: urnOf("prod"),
        property: "gateway.service.type",
        reason:
          'a Service of type "LoadBalancer" leads in from outside of the cluster, and everybody is let in: set gateway.apiKeys, or let gateway.service.type be "ClusterIP"',
      },
    ]);
  });

  test("waits for keys that are not known yet, and takes no other service's for its own", () => {
    const way = service({ type: "LoadBalancer" });
    const later = part("core/v1:Secret", "gateway", { stringData: notYet({}, "settings.json") });
    expect(publicServices([later, way])).toEqual([]);
    const elsewhere = { ...secret(["ab"]), parent: { urn: "urn:other" } };
    const here = { ...secret([]), parent: { urn: "urn:this" } };
    expect(publicServices([here, elsewhere, { ...way, parent: { urn: "urn:this" } }])).toHaveLength(1);
    expect(publicServices([here, elsewhere, { ...way, parent: { urn: "urn:other" } }])).toEqual([]);
  });

  test("leaves objects of others alone", () => {
    const others: DeclaredResource = {
      ...service({ type: "LoadBalancer" }),
      props: { spec: { type: "LoadBalancer" } },
    };
    expect(publicServices([secret([]), others])).toEqual([]);
  });
});

describe("no unpinned snapshot in production", () => {
  const pin = `s3://bucket/studio#sha256:${"a".repeat(64)}`;
  const release = (snapshot: unknown, more: Partial<DeclaredResource> = {}, stack = "prod") => ({
    ...own("ClusterRelease", { service: "studio", snapshot }, stack),
    ...more,
  });
  const from = (type: string) => ({ propertyDependencies: { snapshot: [{ type, name: "studio" }] } });

  test("a reference that somebody has named is one, from another stack's output as well", () => {
    expect(unpinnedSnapshots([release(pin)])).toEqual([]);
    expect(unpinnedSnapshots([release(pin, from("pulumi:pulumi:StackReference"))])).toEqual([]);
  });

  test.each(["Snapshot", "ClusterSnapshot"])("what a %s of the stack takes is none", (kind) => {
    const reason = 'is what the Snapshot "studio" of this stack takes: pin one: snapshot: "<store>#sha256:<digest>"';
    const violation = { resource: "studio", urn: urnOf("prod"), property: "snapshot", reason };
    const fed = from(`pulumi-nodejs:dynamic/comfyui:${kind}`);
    expect(unpinnedSnapshots([release(pin, fed)])).toEqual([violation]);
    expect(unpinnedSnapshots([release("04da6b54-80e4-46f7-96ec-b56ff0331ba9", fed)])).toEqual([violation]);
    // Where nobody says where values come from, what they are says it.
    const taken = own(kind, { reference: pin });
    expect(unpinnedSnapshots([release(pin), taken])).toEqual([violation]);
    // The same snapshot by its name is a pin.
    expect(unpinnedSnapshots([release(pin, { propertyDependencies: {} }), taken])).toEqual([]);
  });

  test("what is only known later is none, and neither is what is no reference", () => {
    const [later] = unpinnedSnapshots([own("Release", notYet({ service: "studio" }, "snapshot"))]);
    expect(later?.reason).toMatch(/^is only known once something else is made: pin one/);
    const [latest] = unpinnedSnapshots([release("s3://bucket/studio#latest")]);
    expect(latest?.reason).toMatch(/^"s3:\/\/bucket\/studio#latest" is no reference of a snapshot: pin one/);
  });

  test("holds in the stacks that are production", () => {
    const inStack = (stack: string, production?: readonly (string | RegExp)[]) =>
      unpinnedSnapshots([release("latest", {}, stack)], production === undefined ? {} : { production }).length;
    expect([inStack("prod"), inStack("production"), inStack("dev"), inStack("prod-eu")]).toEqual([1, 1, 0, 0]);
    expect(inStack("prod-eu", [/^prod-/])).toBe(1);
    expect(inStack("prod", [/^prod-/, "live"])).toBe(0);
  });
});

describe("no workstation left running in production", () => {
  test.each(["Workstation", "ClusterWorkstation"])("a %s is stopped there", (kind) => {
    const found = (props: object, stack?: string) =>
      runningWorkstations([own(kind, { workstation: "desk", ...props }, stack)]);
    expect(found({ state: "stopped" })).toEqual([]);
    expect(found({ state: "running" }, "dev")).toEqual([]);
    for (const props of [{ state: "running" }, {}]) {
      expect(found(props)).toEqual([
        {
          resource: "desk",
          urn: urnOf("prod"),
          property: "state",
          reason:
            'the workstation is declared running: let its state be "stopped", or declare it in a stack of its own',
        },
      ]);
    }
  });
});

describe("ceilings of GPUs", () => {
  /** A service as the engine has it after an update that changed its number of instances only. */
  function service(name: string, count: number, gpus: number | undefined, scaled: number | null): DeclaredResource[] {
    const parent = { urn: urnOf("prod", name) };
    const pod = gpus === undefined ? {} : { gpus };
    const release = own("ClusterRelease", { service: name, pod, scaling: { kind: "fixed", count: 1 } });
    const gate = { service: name, count, ...(scaled === null ? {} : { autoscaler: "keda" }) };
    const autoscaler = part("keda.sh/v1alpha1:ScaledObject", "instance", { spec: { maxReplicaCount: scaled } });
    return [release, own("ClusterHealthGate", gate), ...(scaled === null ? [] : [autoscaler])].map((resource) => ({
      ...resource,
      name,
      urn: urnOf("prod", name),
      parent,
    }));
  }
  const services = fc.array(
    fc.record({
      count: fc.integer({ min: 1, max: 20 }),
      gpus: fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined }),
      scaled: fc.option(fc.integer({ min: 20, max: 40 })),
    }),
    { minLength: 1, maxLength: 5 },
  );

  test("are of both releases of a rotation, at the greatest number of instances", () => {
    fc.assert(
      fc.property(
        services,
        fc.integer({ min: 0, max: 200 }),
        fc.integer({ min: 0, max: 600 }),
        (all, perService, perStack) => {
          const resources = all.flatMap(({ count, gpus, scaled }, index) => service(`s${index}`, count, gpus, scaled));
          const peaks = all.map(({ count, gpus = 1, scaled }) => 2 * (scaled ?? count) * gpus);
          const total = peaks.reduce((sum, peak) => sum + peak, 0);
          const found = gpuCeilings(resources, { perService, perStack }).map(({ resource }) => resource);
          const over = peaks.flatMap((peak, index) => (peak > perService ? [`s${index}`] : []));
          expect(found).toEqual([...over, ...(total > perStack ? ["stack"] : [])]);
          expect(gpuCeilings(resources, {})).toEqual([]);
          expect(gpuCeilings(resources, { perService: Math.max(...peaks), perStack: total })).toEqual([]);
        },
      ),
    );
  });

  test("say how many there are and how many there may be", () => {
    expect(gpuCeilings(service("studio", 3, 2, null), { perService: 8, perStack: 11 })).toEqual([
      {
        resource: "studio",
        urn: urnOf("prod"),
        property: "scaling",
        reason:
          "3 × 2 GPUs are 12 while a rotation has both releases, more than the 8 that a service may have: let scaling have fewer instances, or pod.gpus fewer GPUs",
      },
      {
        resource: "stack",
        urn: urnOf("prod"),
        property: "scaling",
        reason:
          "the services' instances have 6 GPUs, twice that while all rotate, and running workstations 0: 12 are more than the 11 that a stack may have: let scaling have fewer instances, or pod.gpus fewer GPUs",
      },
    ]);
  });

  test("count running workstations once, by what their pods have", () => {
    const limits = { cpu: "8", memory: "32Gi", "nvidia.com/gpu": "4" };
    const containers = [{ name: "comfyui", resources: { limits } }];
    const pods = part("apps/v1:Deployment", "workstation", { spec: { template: { spec: { containers } } } });
    const workstation = (state: string) =>
      own("ClusterWorkstation", { workstation: "studio", namespace: "team", state, pod: { gpu: { count: 1 } } });
    const found = (perStack: number, ...resources: DeclaredResource[]) => gpuCeilings(resources, { perStack }).length;
    expect([found(3, workstation("running"), pods), found(4, workstation("running"), pods)]).toEqual([1, 0]);
    expect(found(0, workstation("stopped"), pods)).toBe(0);
    expect([found(0, workstation("running")), found(1, workstation("running"))]).toEqual([1, 0]);
  });
});
