import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { V1Node } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Declaration, declarationProblems } from "../../providers/declarations";
import { programProblems } from "../../providers/program";
import { knownLater } from "../../providers/unknown";
import { type Cluster, connectCluster, ServiceRecords } from "../../runtime/kubernetes";
import { waitFor } from "../../runtime/waiting";
import { ApiLink, ApiServer } from "../support/api-server";
import { freePort } from "../support/free-port";
import { otherOwner, owner, settings } from "../support/supervisor-platform";
import { temporaryFolder } from "../support/trees";

// A snapshot of which nothing is found out without its store: what is said of it is not what these tests are about.
const snapshot = knownLater;
const image = "registry/comfyui:1";

let server: ApiServer;
let folder: ReturnType<typeof temporaryFolder>;
let admin: Cluster;
let namespace: string;
let kubeconfig: string;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  folder = temporaryFolder();
  namespace = `test-${randomBytes(4).toString("hex")}`;
  kubeconfig = server.kubeconfig("admin");
  admin = await connectCluster({ kubeconfig, namespace });
  await admin.core.createNamespace({ body: { metadata: { name: namespace } } });
});
afterEach(() => {
  folder.remove();
  vi.unstubAllEnvs();
});

/** The service `studio` as a program declares it: on this test's namespace, of the given pod. */
function declared(platform: object = {}, more: object = {}, name = "studio"): Declaration {
  return {
    kind: "OnlineService",
    name,
    arguments: {
      platform: { kind: "kubernetes", kubeconfig, namespace, pod: { image }, ...platform },
      snapshot,
      scaling: { kind: "fixed", count: 1 },
      ...more,
    },
  };
}

/** Path and reason of each problem, without the component's name. */
async function problemsOf(...declarations: Declaration[]): Promise<Record<string, string>> {
  const problems = await declarationProblems({ owner, declarations });
  return Object.fromEntries(problems.map(({ path, reason }) => [path.replace(/^\w+ "[^"]*" /, ""), reason]));
}

function file(content: string): string {
  const path = join(folder.path, `${randomBytes(4).toString("hex")}.yaml`);
  writeFileSync(path, content);
  return path;
}

/** The test's kubeconfig with something else in it. */
function changedKubeconfig(change: (config: { clusters: { cluster: object }[]; users: { user: object }[] }) => void) {
  const config = JSON.parse(readFileSync(kubeconfig, "utf8"));
  change(config);
  return JSON.stringify(config);
}

const token = "s3cr3t-t0k3n";

describe("a cluster is refused at preview", () => {
  test("not when all is well", async () => {
    expect(await problemsOf(declared())).toEqual({});
  });

  test("when its kubeconfig does not exist, or is a folder", async () => {
    const missing = join(folder.path, "none.yaml");
    expect(await problemsOf(declared({ kubeconfig: missing }))).toEqual({
      "platform.kubeconfig": `the kubeconfig does not exist: it is declared as ${missing}`,
    });
    expect(await problemsOf(declared({ kubeconfig: folder.path }))).toEqual({
      "platform.kubeconfig": `the kubeconfig is no file: it is declared as ${folder.path}`,
    });
  });

  test("when there is none at all, instead of asking a server on this machine", async () => {
    vi.stubEnv("KUBECONFIG", undefined);
    vi.stubEnv("HOME", folder.path);
    expect(await problemsOf(declared({ kubeconfig: undefined }))).toEqual({
      "platform.kubeconfig": `there is no kubeconfig: none is declared, KUBECONFIG is not set, and ${join(folder.path, ".kube", "config")} does not exist`,
    });
    vi.stubEnv("KUBECONFIG", join(folder.path, "elsewhere"));
    expect(await problemsOf(declared({ kubeconfig: undefined }))).toEqual({
      "platform.kubeconfig": `the kubeconfig does not exist: KUBECONFIG names ${join(folder.path, "elsewhere")}`,
    });
  });

  test.each([
    [
      "is no YAML",
      `users:\n- name: a: b\n  token: ${token}\n`,
      /cannot be read: it is no YAML \(.*line 2, column \d+\)$/,
    ],
    ["is other YAML", `just ${token}`, /is none: it has neither contexts nor clusters$/],
    ["is empty", "", /cannot be read: it is no kubeconfig$/],
    [
      "lacks what it must have",
      `users: [{ user: { token: ${token} } }]`,
      /cannot be read: users\[0\]\.name is missing$/,
    ],
  ])("when its kubeconfig %s, without a word of what is in it", async (_, content, reason) => {
    const problems = await problemsOf(declared({ kubeconfig: file(content) }));
    expect(problems).toEqual({ "platform.kubeconfig": expect.stringMatching(reason) });
    expect(JSON.stringify(problems)).not.toContain(token);
  });

  test("when its context does not exist: with those that do", async () => {
    expect(await problemsOf(declared({ context: "prod" }))).toEqual({
      "platform.context": 'there is no context "prod" in the kubeconfig; it has test',
    });
  });

  test("when there is no current context and none is named", async () => {
    const path = file(
      JSON.stringify({
        clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
        users: [],
        contexts: [],
      }),
    );
    expect(await problemsOf(declared({ kubeconfig: path }))).toEqual({
      "platform.kubeconfig": "the kubeconfig has no current context: name one of none",
    });
  });

  test("when nothing listens there", async () => {
    const port = await freePort();
    expect(await problemsOf(declared({ kubeconfig: server.kubeconfig("admin", port) }))).toEqual({
      "platform.kubeconfig": expect.stringMatching(
        `^https://127.0.0.1:${port} \\(context test\\) cannot be reached: .*ECONNREFUSED`,
      ),
    });
  });

  test("when it does not answer in time", async () => {
    const link = await ApiLink.to(server.port);
    try {
      link.silence();
      expect(await problemsOf(declared({ kubeconfig: server.kubeconfig("admin", link.port) }))).toEqual({
        "platform.kubeconfig": expect.stringMatching(
          /\(context test\) cannot be reached: GET \S+ got no answer within 15 s/,
        ),
      });
    } finally {
      link.close();
    }
  }, 60_000);

  test("when its credentials have expired: without them", async () => {
    const path = file(changedKubeconfig((config) => Object.assign(config.users[0] ?? {}, { user: { token } })));
    const problems = await problemsOf(declared({ kubeconfig: path }));
    expect(problems).toEqual({
      "platform.kubeconfig": expect.stringMatching(
        /\(context test\) cannot be reached: the API server \S+ does not accept the credentials of user \S+ in the kubeconfig \S+ \(HTTP 401\)/,
      ),
    });
    expect(JSON.stringify(problems)).not.toContain(token);
  });

  test("when it is not the one of the kubeconfig's certificate", async () => {
    const path = file(
      changedKubeconfig((config) =>
        Object.assign(config.clusters[0]?.cluster ?? {}, { "certificate-authority-data": undefined }),
      ),
    );
    expect(await problemsOf(declared({ kubeconfig: path }))).toEqual({
      "platform.kubeconfig": expect.stringMatching(/cannot be reached: .*(self.signed|certificate)/),
    });
  });

  test("when its namespace does not exist", async () => {
    expect(await problemsOf(declared({ namespace: "nowhere" }))).toEqual({
      "platform.namespace": `https://127.0.0.1:${server.port} (context test) has no namespace "nowhere"`,
    });
  });

  test("when the record of the service may not be read", async () => {
    const problems = await problemsOf(declared({ kubeconfig: server.kubeconfig("nobody") }));
    expect(problems).toEqual({
      platform: expect.stringMatching(/^the record of service studio cannot be read: .*forbidden.* \(HTTP 403\)$/),
    });
  });
});

describe("a kubeconfig that is given as content", () => {
  /** As the check of the service's own claim asks, which has the content among its inputs. */
  const check = (content: string, more: object = {}) =>
    programProblems({ kubeconfig: content, namespace, service: "studio", owner }, [
      declared({ kubeconfig: knownLater }, more),
    ]);

  test("is looked through by the check of the service's own claim", async () => {
    const content = changedKubeconfig(() => {});
    expect(await check(content)).toEqual([]);
    expect(await check(content, { pod: { models: { claim: "none" } } })).toEqual([
      {
        path: 'OnlineService "studio" pod.models.claim',
        reason: expect.stringMatching(/ has no claim "none" in the namespace/),
      },
    ]);
  });

  test("is not told when it cannot be read", async () => {
    const problems = await check(`apiVersion: v1\nusers:\n- name: a: b\n  token: ${token}\n`);
    expect(problems).toEqual([
      {
        path: 'OnlineService "studio" platform.kubeconfig',
        reason: expect.stringMatching(/^the kubeconfig given as content cannot be read: it is no YAML/),
      },
    ]);
    expect(JSON.stringify(problems)).not.toContain(token);
  });

  test("is nothing that another service's check could look through", async () => {
    expect(await problemsOf(declared({ kubeconfig: knownLater }, { pod: { models: { claim: "none" } } }))).toEqual({});
  });
});

describe("what pods need and the namespace has not, is refused", () => {
  test("under the property that names it, of the service or of its platform, all at once", async () => {
    const platform = {
      pod: { image, serviceAccount: "reader", imagePullSecrets: ["registry"], models: { claim: "old" } },
    };
    const pod = { storeCredentials: "store", models: { claim: "models" } };
    const where = `https://127.0.0.1:${server.port} (context test)`;
    expect(await problemsOf(declared(platform, { pod }))).toEqual({
      "pod.models.claim": `${where} has no claim "models" in the namespace ${namespace}`,
      "pod.storeCredentials": `${where} has no Secret "store" in the namespace ${namespace}`,
      "platform.pod.serviceAccount": `${where} has no service account "reader" in the namespace ${namespace}`,
      "platform.pod.imagePullSecrets[0]": `${where} has no Secret "registry" in the namespace ${namespace}`,
    });
    for (const name of ["store", "registry"]) {
      await admin.core.createNamespacedSecret({ namespace, body: { metadata: { name } } });
    }
    await admin.core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: "reader" } } });
    await admin.core.createNamespacedPersistentVolumeClaim({
      namespace,
      body: {
        metadata: { name: "models" },
        spec: { accessModes: ["ReadOnlyMany"], resources: { requests: { storage: "1Gi" } } },
      },
    });
    expect(await problemsOf(declared(platform, { pod }))).toEqual({});
  });

  test("a GPU resource that no node offers while nodes offer another; not while none offers any", async () => {
    expect(await problemsOf(declared({}, { pod: { gpuResource: "amd.com/gpu" } }))).toEqual({});
    const name = `node-${randomBytes(3).toString("hex")}`;
    const body: V1Node = { metadata: { name } };
    await admin.core.createNode({ body });
    try {
      const status = {
        allocatable: { cpu: "4", "nvidia.com/gpu": "4" },
        capacity: { cpu: "4", "nvidia.com/gpu": "4" },
      };
      await admin.core.replaceNodeStatus({ name, body: { ...body, status } });
      expect(await problemsOf(declared())).toEqual({});
      expect(await problemsOf(declared({}, { pod: { gpuResource: "amd.com/gpu", gpus: 0 } }))).toEqual({});
      expect(await problemsOf(declared({}, { pod: { gpuResource: "amd.com/gpu" } }))).toEqual({
        "pod.gpuResource": `no node of https://127.0.0.1:${server.port} (context test) offers "amd.com/gpu"; they offer nvidia.com/gpu`,
      });
    } finally {
      await admin.core.deleteNode({ name });
    }
  });

  test("a node's cache in a namespace that is known to refuse folders of nodes; not for a workstation, which has none", async () => {
    const pod = { image, nodeCache: { path: "/var/lib/restores" } };
    const enforce = (level: string) =>
      admin.core.replaceNamespace({
        name: namespace,
        body: { metadata: { name: namespace, labels: { "pod-security.kubernetes.io/enforce": level } } },
      });
    const refusal = (level: string) =>
      `the namespace ${namespace} enforces the Pod Security level "${level}" (label pod-security.kubernetes.io/enforce), which refuses pods with a folder of their node: leave it out, or use a namespace of level "privileged"`;
    expect(await problemsOf(declared({ pod }))).toEqual({});
    await enforce("privileged");
    expect(await problemsOf(declared({ pod }))).toEqual({});
    await enforce("baseline");
    expect(await problemsOf(declared({ pod }))).toEqual({ "platform.pod.nodeCache": refusal("baseline") });
    await enforce("restricted");
    expect(await problemsOf(declared({}, { pod }))).toEqual({ "pod.nodeCache": refusal("restricted") });
    expect(await problemsOf(declared())).toEqual({});
    await admin.core.createNamespacedPersistentVolumeClaim({
      namespace,
      body: {
        metadata: { name: "environment" },
        spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
      },
    });
    const environment = { kind: "claim", name: "environment" };
    const workstation = (own: object): Declaration => ({
      kind: "DevWorkstation",
      name: "studio",
      arguments: { platform: { kind: "kubernetes", kubeconfig, namespace, pod }, environment, ...own },
    });
    expect(await problemsOf(workstation({}))).toEqual({});
    expect(await problemsOf(workstation({ pod }))).toEqual({
      "pod.nodeCache": "is for the instances of a service: a workstation has its environment on a claim",
    });
  });

  test("a name that another stack owns, with its owner; not when it is to be taken over", async () => {
    const { since } = await new ServiceRecords(admin, "studio").claim(otherOwner, settings, false);
    const { organization, project, stack } = otherOwner;
    expect(await problemsOf(declared())).toEqual({
      name: `service studio in the namespace ${namespace} is owned by ${organization}/${project}/${stack} since ${since}; choose another name, or take it over with takeover: true`,
    });
    expect(await problemsOf(declared({}, { takeover: true }))).toEqual({});
  });

  test("two services of one name in one namespace", async () => {
    expect(await problemsOf(declared(), declared())).toEqual({
      name: expect.stringMatching(/^2 components OnlineService "studio" share the platform/),
    });
  });
});

describe("a placement", () => {
  const perRelease = (more: object = {}) => ({
    placement: { kind: "perRelease", cluster: "prod", instanceTypes: ["g5.xlarge"], ...more },
  });
  const shared = (more: object = {}) => ({ placement: { kind: "shared", nodeGroup: "gpus", ...more } });

  test("is not refused when all is well", async () => {
    expect(await problemsOf(declared({}, perRelease()))).toEqual({});
    expect(await problemsOf(declared({}, perRelease({ cluster: knownLater, role: knownLater })))).toEqual({});
    expect(await problemsOf(declared({}, shared()))).toEqual({});
    expect(await problemsOf(declared({}, { placement: { kind: "anywhere" } }))).toEqual({});
  });

  test.each([
    ["of no kind", { placement: { kind: "nodes" } }, "placement.kind", /^is no known placement: use shared/],
    ["without machines", perRelease({ instanceTypes: [] }), "placement.instanceTypes", /^names no instance type/],
    ["of unknown machines", perRelease({ instanceTypes: ["z9.huge"] }), "placement.instanceTypes[0]", /z9\.huge/],
    ["with what no node has", perRelease({ gpu: 1 }), "placement", /gpu/],
    ["that waits for no time", perRelease({ timeout: "soon" }), "placement.timeout", /^"soon" is not a duration/],
    [
      "whose nodes have too few GPUs",
      { ...perRelease(), pod: { gpus: 4 } },
      "pod.gpus",
      /^an instance needs 4 GPUs on one node, and g5\.xlarge has 1$/,
    ],
    [
      "whose group has too few GPUs",
      { ...shared({ gpusPerNode: 1, taints: [] }), pod: { gpus: 2 } },
      "pod.gpus",
      /^an instance needs 2 GPUs on one node, and a node of the group has 1$/,
    ],
    [
      "with a taint that pods do not tolerate",
      perRelease({ taints: [{ key: "team", value: "a", effect: "NoSchedule" }] }),
      "pod.tolerations",
      /^tolerate no team=a:NoSchedule/,
    ],
  ])("%s is refused", async (_, more, path, reason) => {
    expect(await problemsOf(declared({}, more))).toEqual({ [path]: expect.stringMatching(reason) });
  });

  test("is for a service in a cluster", async () => {
    const local = { platform: { kind: "local", directory: folder.path }, ...shared() };
    const declaration = declared();
    const problems = await problemsOf({ ...declaration, arguments: { ...Object(declaration.arguments), ...local } });
    expect(problems.placement).toBe("is for a service on kubernetes({ … })");
  });

  test("by Karpenter needs its NodePool, which makes nodes for one release alone", async () => {
    const karpenter = { placement: { kind: "karpenter", nodePool: "gpu" } };
    expect(await problemsOf(declared({}, karpenter))).toEqual({
      "placement.nodePool": expect.stringMatching(
        /^Karpenter is not in .*: its API server has no group karpenter\.sh$/,
      ),
    });
    const { ApiextensionsV1Api } = await import("@kubernetes/client-node");
    const schema = { openAPIV3Schema: { type: "object", x_kubernetes_preserve_unknown_fields: true } };
    await admin.config.makeApiClient(ApiextensionsV1Api).createCustomResourceDefinition({
      body: {
        metadata: { name: "nodepools.karpenter.sh" },
        spec: {
          group: "karpenter.sh",
          scope: "Cluster",
          names: { plural: "nodepools", kind: "NodePool" },
          versions: [{ name: "v1", served: true, storage: true, schema }],
        },
      },
    });
    await waitFor({
      what: "the API server to serve karpenter.sh",
      deadline: 30_000,
      look: async () =>
        Object.values(await problemsOf(declared({}, karpenter)))
          .join()
          .includes('has no NodePool "gpu"') || undefined,
    });
    const pool = { group: "karpenter.sh", version: "v1", plural: "nodepools" };
    const body = (requirements: readonly object[]) => ({
      ...{ apiVersion: "karpenter.sh/v1", kind: "NodePool", metadata: { name: "gpu" } },
      spec: { template: { spec: { requirements } } },
    });
    const created = await admin.custom.createClusterCustomObject({ ...pool, body: body([]) });
    expect(await problemsOf(declared({}, karpenter))).toEqual({
      "placement.nodePool":
        'the NodePool "gpu" makes no nodes for one release alone: add { key: pulumi-comfyui/release, operator: Exists } to its spec.template.spec.requirements',
    });
    const fitting = { ...created, ...body([{ key: "pulumi-comfyui/release", operator: "Exists" }]) };
    const metadata = (created as { readonly metadata: object }).metadata;
    await admin.custom.replaceClusterCustomObject({ ...pool, name: "gpu", body: { ...fitting, metadata } });
    expect(await problemsOf(declared({}, karpenter))).toEqual({});
  });
});

describe("an autoscaler", () => {
  const range = (by: object, more: object = {}) => ({ scaling: { kind: "range", min: 1, max: 4, by, ...more } });
  const external = { kind: "externalMetric", name: "queue" };
  const keda = { kind: "keda" };

  test("is refused where nothing serves its API, and not where something does", async () => {
    expect(await problemsOf(declared({}, range(external)))).toEqual({
      "scaling.by":
        "no adapter in the cluster serves external metrics: its API server has no group external.metrics.k8s.io",
    });
    expect(await problemsOf(declared({}, range(keda)))).toEqual({
      "scaling.by": "KEDA is not in the cluster: its API server has no group keda.sh",
    });
    const plural = "scaledobjects";
    const { ApiextensionsV1Api } = await import("@kubernetes/client-node");
    await admin.config.makeApiClient(ApiextensionsV1Api).createCustomResourceDefinition({
      body: {
        metadata: { name: `${plural}.keda.sh` },
        spec: {
          group: "keda.sh",
          scope: "Namespaced",
          names: { plural, kind: "ScaledObject" },
          versions: [
            { name: "v1alpha1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } },
          ],
        },
      },
    });
    await waitFor({
      what: "the API server to serve keda.sh",
      deadline: 30_000,
      look: async () => Object.keys(await problemsOf(declared({}, range(keda)))).length === 0 || undefined,
    });
    expect(await problemsOf(declared({}, range({ ...keda, apiKey: { secret: "keys", key: "b" } })))).toEqual({
      "scaling.by.apiKey": `the namespace ${namespace} has no Secret "keys"`,
    });
    await admin.core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: "keys" }, stringData: { a: "1" } },
    });
    expect(await problemsOf(declared({}, range({ ...keda, apiKey: { secret: "keys", key: "b" } })))).toEqual({
      "scaling.by.apiKey.key": 'the Secret "keys" has no key "b"',
    });
  });

  test.each([
    ["bounds the wrong way round", range(external, { min: 5 }), "scaling.max", /^4 is less than min, 5/],
    ["no instance at least", range(external, { min: 0 }), "scaling.min", /^is less than 1/],
    [
      "no autoscaler",
      range({ kind: "cpu" }),
      "scaling.by.kind",
      /^is no known autoscaler: use keda\(\) or externalMetric/,
    ],
    ["no name of a metric", range({ ...external, name: "a b" }), "scaling.by.name", /^"a b" is no name of a metric/],
    ["no prompts for each instance", range({ ...external, target: 0 }), "scaling.by.target", /^is not more than 0/],
    ["more than an hour", range(external, { scaleInAfter: "2h" }), "scaling.scaleInAfter", /^is more than an hour/],
    ["no scaling", { scaling: { kind: "auto" } }, "scaling.kind", /^is no known scaling: use fixed\(count\) or range/],
    [
      "a key of the gateway for Prometheus",
      range({ ...keda, apiKey: { secret: "a" }, prometheus: { serverAddress: "http://a" } }),
      "scaling.by.apiKey",
      /^is for asking the gateway itself/,
    ],
    [
      "no URL of a Prometheus",
      range({ ...keda, prometheus: { serverAddress: "a" } }),
      "scaling.by.prometheus.serverAddress",
      /^is no URL of a Prometheus/,
    ],
  ])("with %s is refused", async (_, more, path, reason) => {
    expect(await problemsOf(declared({}, more))).toEqual({ [path]: expect.stringMatching(reason) });
  });

  test("is for a cluster", async () => {
    const { arguments: args } = declared({}, range(external));
    const platform = { kind: "local", directory: join(folder.path, "platform") };
    expect(
      await problemsOf({ kind: "OnlineService", name: "studio", arguments: { ...(args as object), platform } }),
    ).toEqual({ scaling: "range({ … }) is for a service on kubernetes({ … }): use fixed(count)" });
  });
});

describe("what is wrong by itself is refused", () => {
  const pods: [what: string, pod: object, path: string, reason: RegExp | string][] = [
    [
      "no image",
      { image: undefined },
      "pod.image",
      "names no image for ComfyUI's container: name one here or in kubernetes({ pod })",
    ],
    [
      "an image in capitals",
      { image: "registry/ComfyUI:1" },
      "platform.pod.image",
      /^"registry\/ComfyUI:1" is no name of an image/,
    ],
    ["an image with a space", { image: "a b" }, "platform.pod.image", /is no name of an image/],
    ["root", { user: 0 }, "platform.pod.user", "is root, which a pod of strangers' plugins must not be, found 0"],
    ["half a GPU", { gpus: 0.5 }, "platform.pod.gpus", /^is not a whole number of GPUs/],
    ["fewer GPUs than none", { gpus: -1 }, "platform.pod.gpus", /^is less than 0/],
    [
      "a GPU resource without a prefix",
      { gpuResource: "gpu" },
      "platform.pod.gpuResource",
      /^"gpu" is no name of an extended resource/,
    ],
    [
      "storage in no unit of Kubernetes",
      { storage: "50 GB" },
      "platform.pod.storage",
      /^"50 GB" is no quantity as Kubernetes writes it/,
    ],
    [
      "storage in bytes",
      { storage: "50" },
      "platform.pod.storage",
      /^"50" is less than 100Mi, which has room for no environment/,
    ],
    ["storage in thousandths", { storage: "50m" }, "platform.pod.storage", /^"50m" is less than 100Mi/],
    ["storage of no size", { storage: "" }, "platform.pod.storage", /^"" is no quantity/],
    [
      "memory in no unit",
      { resources: { limits: { memory: "16GB" } } },
      "platform.pod.resources.limits.memory",
      /^"16GB" is no quantity/,
    ],
    [
      "a resource that cannot be",
      { resources: { requests: { "c p u": "1" } } },
      "platform.pod.resources.requests.c p u",
      /^"c p u" is no name of a resource/,
    ],
    [
      "more than the limit",
      { resources: { requests: { memory: "2Gi" }, limits: { memory: "1.5G" } } },
      "platform.pod.resources.requests.memory",
      '"2Gi" is more than the limit of "1.5G"',
    ],
    [
      "GPUs among the resources",
      { resources: { limits: { "nvidia.com/gpu": "1" } } },
      "platform.pod.resources.limits.nvidia.com/gpu",
      'is what "gpus" and "gpuResource" set',
    ],
    [
      "storage among the resources",
      { resources: { requests: { "ephemeral-storage": "1Gi" } } },
      "platform.pod.resources.requests.ephemeral-storage",
      'is what "storage" sets',
    ],
    [
      "a label's key with a space",
      { nodeSelector: { "a b": "x" } },
      "platform.pod.nodeSelector.a b",
      /^"a b" is no key of a label/,
    ],
    [
      "a label's value that is too long",
      { nodeSelector: { a: "x".repeat(64) } },
      "platform.pod.nodeSelector.a",
      /is no value of a label: up to 63/,
    ],
    [
      "a toleration of all keys that compares",
      { tolerations: [{ value: "x" }] },
      "platform.pod.tolerations[0].key",
      'is missing: only operator "Exists" tolerates all keys',
    ],
    [
      "a toleration that compares with nothing",
      { tolerations: [{ key: "a", operator: "Exists", value: "x" }] },
      "platform.pod.tolerations[0].value",
      'is of no use with operator "Exists"',
    ],
    [
      "a toleration for a while of what never evicts",
      { tolerations: [{ key: "a", operator: "Exists", effect: "NoSchedule", tolerationSeconds: 5 }] },
      "platform.pod.tolerations[0].tolerationSeconds",
      'goes with effect "NoExecute" only',
    ],
    [
      "a toleration of no effect",
      { tolerations: [{ key: "a", operator: "Exists", effect: "Evict" }] },
      "platform.pod.tolerations[0].effect",
      /^is none of "NoSchedule"/,
    ],
    [
      "a node's cache in no absolute folder",
      { nodeCache: { path: "cache" } },
      "platform.pod.nodeCache.path",
      /^"cache" is no absolute path of a folder on the nodes, such as/,
    ],
    [
      "a node's cache in a folder that ends in a slash",
      { nodeCache: { path: "/var/lib/restores/" } },
      "platform.pod.nodeCache.path",
      /is no absolute path of a folder/,
    ],
    ["a node's cache in the root", { nodeCache: { path: "/" } }, "platform.pod.nodeCache.path", /is no absolute path/],
    [
      "a node's cache that leads upwards",
      { nodeCache: { path: "/var/lib/../../etc" } },
      "platform.pod.nodeCache.path",
      /leads through "\." or "\.\."/,
    ],
    [
      "a node's cache in its system's folders",
      { nodeCache: { path: "/etc/comfyui" } },
      "platform.pod.nodeCache.path",
      /^"\/etc\/comfyui" is in a folder that the node itself, its kubelet or its containers use/,
    ],
    [
      "a node's cache in its kubelet's folder",
      { nodeCache: { path: "/var/lib/kubelet" } },
      "platform.pod.nodeCache.path",
      /its kubelet or its containers use/,
    ],
    [
      "a node's cache that keeps nothing",
      { nodeCache: { path: "/var/lib/restores", keep: 0 } },
      "platform.pod.nodeCache.keep",
      /^is less than 1: leave nodeCache out/,
    ],
    [
      "a node's cache that keeps a half",
      { nodeCache: { path: "/var/lib/restores", keep: 1.5 } },
      "platform.pod.nodeCache.keep",
      /^is not a whole number of restores/,
    ],
    [
      "models outside of their claim",
      { models: { claim: "m", folder: "a/../../b" } },
      "platform.pod.models.folder",
      /^leads outside of the claim/,
    ],
    [
      "a Secret that cannot be",
      { storeCredentials: "My_Secret" },
      "platform.pod.storeCredentials",
      /^"My_Secret" is no name of an object in Kubernetes/,
    ],
    ["what nobody knows", { gpu: 1 }, "platform.pod", /gpu/],
  ];
  test.each(pods)("%s", async (_, pod, path, reason) => {
    const problems = await problemsOf(declared({ pod: { image, ...pod } }));
    expect(problems).toEqual({ [path]: typeof reason === "string" ? reason : expect.stringMatching(reason) });
  });

  const services: [what: string, platform: object, more: object, path: string, reason: RegExp][] = [
    ["a folder of models, which pods do not reach", {}, { models: "/models" }, "models", /use pod\.models, a claim$/],
    [
      "a snapshot in a folder, which pods do not reach",
      {},
      { snapshot: `/store#sha256:${"a".repeat(64)}` },
      "snapshot",
      /is in a folder of this machine, which pods do not reach: use a store in S3$/,
    ],
    [
      "a Service of no kind",
      {},
      { gateway: { service: { type: "Public" } } },
      "gateway.service.type",
      /^is none of "ClusterIP", "NodePort", "LoadBalancer"/,
    ],
    [
      "a host that is none",
      {},
      { gateway: { ingress: { host: "https://a" } } },
      "gateway.ingress.host",
      /^"https:\/\/a" is no host name/,
    ],
    [
      "a namespace that cannot be",
      { namespace: "My Team" },
      {},
      "platform.namespace",
      /^"My Team" is no name of a namespace/,
    ],
    ["an empty context", { context: "" }, {}, "platform.context", /^is empty: name a context, or leave it out/],
    [
      "an empty kubeconfig",
      { kubeconfig: "" },
      {},
      "platform.kubeconfig",
      /^is empty: name a kubeconfig, or leave it out/,
    ],
  ];
  test.each(services)("%s", async (_, platform, more, path, reason) => {
    expect(await problemsOf(declared(platform, more))).toEqual({ [path]: expect.stringMatching(reason) });
  });

  test.each(["a".repeat(31), "Studio", "1st", "studio-", "st_udio"])("the name %s", async (name) => {
    expect(await problemsOf(declared({}, {}, name))).toEqual({
      name: `"${name}" cannot name it in a cluster: use up to 30 lower-case letters, digits and inner hyphens, a letter first`,
    });
  });

  test("what only a cluster has, on one machine", async () => {
    const { arguments: args } = declared(
      {},
      { pod: { image }, gateway: { service: {}, ingress: { host: "a.example" } } },
    );
    const local = { kind: "local", directory: join(folder.path, "platform") };
    const reason = "is for a service on kubernetes({ … })";
    expect(
      await problemsOf({ kind: "OnlineService", name: "studio", arguments: { ...(args as object), platform: local } }),
    ).toEqual({ pod: reason, "gateway.ingress": reason, "gateway.service": reason });
  });
});

test("everything that is wrong is told at once: what is wrong by itself, in the cluster, and of another service", async () => {
  await new ServiceRecords(admin, "studio").claim(otherOwner, settings, false);
  const studio = declared(
    { pod: { image: "Bad", user: 0, serviceAccount: "reader" } },
    {
      pod: { storage: "50", storeCredentials: "store" },
      models: "/models",
      snapshot: `/store#sha256:${"a".repeat(64)}`,
      scaling: { kind: "fixed", count: 0 },
      health: { timeout: "soon" },
    },
  );
  const other = declared({ namespace: "nowhere", pod: {} }, {}, "Other");
  const problems = await declarationProblems({ owner, declarations: [studio, other] });
  expect(problems.map(({ path }) => path).sort()).toEqual(
    [
      ...["platform.pod.image", "platform.pod.user", "pod.storage", "scaling.count", "health.timeout"],
      ...["models", "snapshot", "name"],
    ]
      .map((path) => `OnlineService "studio" ${path}`)
      .concat(["name", "platform.namespace", "pod.image"].map((path) => `OnlineService "Other" ${path}`))
      .sort(),
  );
});
