import { beforeAll, expect, test } from "vitest";
import {
  albIngress,
  claim,
  DevWorkstation,
  externalMetric,
  fixed,
  kubernetes,
  networkLoadBalancer,
  OnlineService,
  type OnlineServiceArgs,
  range,
  Snapshot,
} from "../../index";
import {
  type DeclaredResource,
  gpuCeilings,
  publicServices,
  runningWorkstations,
  unpinnedSnapshots,
} from "../../policy";
import { podSettings } from "../../providers/declarations/pod";
import { waitFor } from "../../runtime/waiting";
import { type Declared, recordDeclarations } from "../support/recording-mocks";

/* What the components really declare, as the policies read it. */

const pin = `s3://bucket/studio#sha256:${"a".repeat(64)}`;
const production = { production: ["stack"] };
let resources: readonly DeclaredResource[];

beforeAll(async () => {
  const recording = recordDeclarations({
    ClusterRelease: {
      settings: podSettings({ image: "registry/comfyui:1" }, {}),
      instance: "{}",
      programs: "p",
      grace: 60,
      startCount: 1,
    },
    Deployment: { metadata: { uid: "uid" } },
    ClusterSnapshot: { reference: pin },
  });
  const platform = kubernetes({ namespace: "team", pod: { image: "registry/comfyui:1", gpus: 2 } });
  const service = (name: string, args: Partial<OnlineServiceArgs>) =>
    new OnlineService(name, { platform, snapshot: pin, scaling: fixed(3), ...args });
  const workstation = new DevWorkstation("desk", { platform, environment: claim({ name: "desk" }), pod: { gpus: 1 } });
  new DevWorkstation("rest", { platform, environment: claim({ name: "rest" }), state: "stopped" });
  const apiKeys = ["a key that is long enough"];
  service("fed", {
    snapshot: new Snapshot("desk", { environment: workstation.environment, store: "s3://bucket/studio" }),
  });
  service("open", { gateway: { service: { type: "LoadBalancer" } } });
  service("keyed", { gateway: { service: { type: "LoadBalancer" }, apiKeys } });
  service("host", { gateway: { ingress: { host: "a.example" } }, pod: { gpus: 4 } });
  const tls = { certificateArn: "arn:aws:acm:eu-central-1:111122223333:certificate/a" };
  const internetFacing = { scheme: "internet-facing", tls, allowPublicWithoutAuthentication: true } as const;
  const idle = { pod: { gpus: 0 } };
  const oidc = {
    type: "oidc",
    issuer: "https://a",
    authorizationEndpoint: "https://a/b",
    tokenEndpoint: "https://a/c",
    userInfoEndpoint: "https://a/d",
    secret: "oidc",
  } as const;
  service("internal", { ...idle, gateway: { entrance: albIngress({ host: "b.example", tls }) } });
  service("risky", { ...idle, gateway: { entrance: albIngress({ host: "c.example", ...internetFacing }) } });
  const login = albIngress({ host: "d.example", ...internetFacing, authentication: oidc });
  service("login", { ...idle, gateway: { entrance: login } });
  service("network", { ...idle, gateway: { entrance: networkLoadBalancer({ host: "e.example", ...internetFacing }) } });
  service("scaled", { scaling: range({ min: 1, max: 9, by: externalMetric({ name: "queue" }) }) });
  await waitFor({
    what: "the last resources",
    deadline: 20_000,
    look: () => {
      const of = (kind: string) => recording.declared.filter(({ type }) => type.endsWith(`:${kind}`)).length;
      return of("ClusterTrafficSwitch") === 9 && of("ClusterWorkstation") === 2 && of("HorizontalPodAutoscaler") === 1
        ? true
        : undefined;
    },
  });
  resources = recording.declared.map(asResource);
});

/** As the engine hands it to `@pulumi/policy`, which shows secrets. */
function asResource({ type, name, inputs, parent, propertyDependencies }: Declared): DeclaredResource {
  const sources = Object.entries(propertyDependencies).map(([property, labels]) => [
    property,
    labels.map((label) => {
      const [kind = "", source = ""] = label.split(" ");
      return { type: `pulumi-nodejs:dynamic/comfyui:${kind}`, name: source };
    }),
  ]);
  return {
    type,
    name,
    urn: `urn:pulumi:stack::project::${type}::${name}`,
    props: revealed(inputs) as DeclaredResource["props"],
    ...(parent === null ? {} : { parent: { urn: parent } }),
    propertyDependencies: Object.fromEntries(sources),
  };
}

function revealed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revealed);
  if (typeof value !== "object" || value === null) return value;
  if ("4dabf18193072939515e22adb298388d" in value) return revealed((value as { readonly value?: unknown }).value);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, revealed(part)]));
}

const found = (violations: readonly { readonly resource: string; readonly property: string }[]) =>
  violations.map(({ resource, property }) => `${resource} ${property}`).sort();

test("a public service without keys is found by what its gateway is made of", () => {
  expect(found(publicServices(resources))).toEqual([
    ...["host gateway.ingress", "network gateway.entrance", "open gateway.service.type", "risky gateway.entrance"],
  ]);
});

test("a service of the stack's own snapshot is found by what its release is made of", () => {
  expect(found(unpinnedSnapshots(resources, production))).toEqual(["fed snapshot"]);
});

test("a running workstation is found", () => {
  expect(found(runningWorkstations(resources, production))).toEqual(["desk state"]);
});

test("GPUs are counted as pods get them: of the platform, of the service, and up to where an autoscaler goes", () => {
  expect(found(gpuCeilings(resources, { perService: 12 }))).toEqual(["host scaling", "scaled scaling"]);
  expect(found(gpuCeilings(resources, { perService: 24 }))).toEqual(["scaled scaling"]);
  // Three services of 3 × 2, one of 3 × 4, one of 9 × 2: 48, twice; and a workstation of one.
  expect(found(gpuCeilings(resources, { perStack: 96 }))).toEqual(["stack scaling"]);
  expect(gpuCeilings(resources, { perStack: 97 })).toEqual([]);
});
