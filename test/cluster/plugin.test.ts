import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { images } from "../support/cluster";
import { ClusterNamespace } from "../support/cluster-namespace";
import { freePort } from "../support/free-port";
import { type Declared, declare, kubernetesProject } from "../support/kubernetes-stack";
import { at, textAt, type Values } from "../support/plugin-base/values";
import { type PulumiProject, stepsOf } from "../support/pulumi-project";

// What this project relies on in the kubernetes plugin. It holds of the released plugin and of the stand-in, whichever
// TEST_PLUGINS and the machine decide.

let namespace: ClusterNamespace;
let project: PulumiProject;

beforeEach(async () => {
  namespace = await ClusterNamespace.create("plugin");
  project = kubernetesProject();
});

afterEach(async () => {
  await project[Symbol.asyncDispose]();
  await namespace[Symbol.asyncDispose]();
});

/** A container that runs until it is told to end, which it then does at once. */
const idle = {
  name: "idle",
  image: images.node,
  command: ["node", "-e", "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 60_000)"],
};

const provider = (more: object = {}) => ({ kubeconfig: namespace.kubeconfig, namespace: namespace.name, ...more });

function configMap(name: string, data: object, metadata: object = { name }, more: object = {}): Declared {
  return { type: "core.v1.ConfigMap", name, args: { metadata, data, ...more } };
}

const uidOf = (object: Values | undefined) => textAt(object, "metadata", "uid");

/** A Deployment whose pods run, or with `nowhere` find no node. */
function deployment(
  name: string,
  { annotations = {}, nowhere = false, replicas = 1, labels = { app: name } } = {},
): Declared {
  return {
    type: "apps.v1.Deployment",
    name,
    args: {
      metadata: { name, annotations },
      spec: {
        replicas,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            ...(nowhere ? { nodeSelector: { "test/there-is-no": "such-node" } } : {}),
            terminationGracePeriodSeconds: 1,
            containers: [idle],
          },
        },
      },
    },
  };
}

async function namesInState(): Promise<readonly (string | undefined)[]> {
  return (await project.state()).deployment.resources.map(({ urn }) => urn.split("::").at(-1));
}

const byUid = { "pulumi.com/waitFor": "jsonpath={.metadata.uid}" };
const skip = { "pulumi.com/skipAwait": "true" };

describe("creating", () => {
  it("puts objects into the provider's namespace, changes nothing the next time, and leaves nothing after destroy", async () => {
    declare(project, provider(), [
      configMap("settings", { colour: "red" }),
      { type: "core.v1.ServiceAccount", name: "account", args: { metadata: { name: "account" } } },
      {
        type: "rbac.v1.Role",
        name: "role",
        args: { metadata: { name: "role" }, rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }] },
      },
      {
        type: "policy.v1.PodDisruptionBudget",
        name: "budget",
        args: {
          metadata: { name: "budget" },
          spec: { maxUnavailable: 1, selector: { matchLabels: { app: "idle" } } },
        },
      },
      {
        type: "networking.v1.NetworkPolicy",
        name: "policy",
        args: {
          metadata: { name: "policy" },
          spec: { podSelector: { matchLabels: { app: "idle" } }, policyTypes: ["Ingress"] },
        },
      },
      {
        type: "apiextensions.CustomResource",
        name: "lease",
        args: {
          apiVersion: "coordination.k8s.io/v1",
          kind: "Lease",
          metadata: { name: "lease" },
          spec: { holderIdentity: "test" },
        },
      },
      deployment("idle", { annotations: byUid }),
    ]);

    const first = await project.mustUp();
    const again = await project.mustUp();
    const outputs = await project.outputs();
    const refreshed = await project.run("refresh", "--yes", "--skip-preview");
    const preview = await project.preview("--expect-no-changes");

    expect(stepsOf(first)).toMatchObject({ create: 9 });
    expect(stepsOf(again)).toEqual({ same: 9 });
    expect(outputs.settings).toBe(`${namespace.name}/settings`);
    expect(outputs["settings.uid"]).toBe(uidOf(await namespace.get("v1", "ConfigMap", "settings")));
    expect(refreshed.code, refreshed.output).toBe(0);
    expect(preview.code, preview.output).toBe(0);
    expect((await project.destroy()).code).toBe(0);
    for (const [apiVersion, kind, name] of [
      ["v1", "ConfigMap", "settings"],
      ["v1", "ServiceAccount", "account"],
      ["apps/v1", "Deployment", "idle"],
      ["coordination.k8s.io/v1", "Lease", "lease"],
    ] as const) {
      expect(await namespace.get(apiVersion, kind, name)).toBeUndefined();
    }
  });

  it("keeps what is secret encrypted in the state", async () => {
    declare(project, provider(), [
      { type: "core.v1.Secret", name: "key", args: { metadata: { name: "key" }, stringData: { token: "swordfish" } } },
      configMap("mixed", { open: "seen-by-all", hidden: { secret: "trout-mask" } }),
    ]);

    await project.mustUp();
    const state = JSON.stringify(await project.state());

    const live = await namespace.get("v1", "Secret", "key");
    expect(textAt(live, "data", "token")).toBe(Buffer.from("swordfish").toString("base64"));
    expect(textAt(await namespace.get("v1", "ConfigMap", "mixed"), "data", "hidden")).toBe("trout-mask");
    expect(state).toContain("seen-by-all");
    for (const text of ["swordfish", Buffer.from("swordfish").toString("base64"), "trout-mask"]) {
      expect(state).not.toContain(text);
    }
    expect(stepsOf(await project.mustUp())).toEqual({ same: 4 });
  });

  it("fails on an existing name, and leaves the object as it is", async () => {
    await namespace.api.create(
      { ...namespace.header("v1", "ConfigMap", "taken"), data: { by: "other" } },
      "other",
      false,
    );
    declare(project, provider(), [configMap("taken", { by: "me" })]);

    const run = await project.up();

    expect(run.code).not.toBe(0);
    expect(run.output).toContain('configmaps "taken" already exists');
    expect(textAt(await namespace.get("v1", "ConfigMap", "taken"), "data", "by")).toBe("other");
  });

  it("adopts an existing object when the provider upserts and the object forces its fields", async () => {
    const made = await namespace.api.create(
      { ...namespace.header("v1", "ConfigMap", "left"), data: { by: "dead run" } },
      "pulumi-kubernetes-0a1b2c3d",
      false,
    );
    const upserting = provider({ upsertExistingObjects: true });

    declare(project, upserting, [configMap("left", { by: "me" })]);
    const refused = await project.up();
    declare(project, upserting, [
      configMap("left", { by: "me" }, { name: "left", annotations: { "pulumi.com/patchForce": "true" } }),
    ]);
    await project.mustUp();

    expect(refused.output).toContain('conflict with "pulumi-kubernetes-0a1b2c3d"');
    const live = await namespace.get("v1", "ConfigMap", "left");
    expect(uidOf(live)).toBe(uidOf(made));
    expect(textAt(live, "data", "by")).toBe("me");
  });

  it("names what has no name, and keeps the name", async () => {
    const unnamed = (label: string) => configMap("auto", { colour: "red" }, { labels: { label } });
    declare(project, provider(), [unnamed("one")]);
    await project.mustUp();
    const first = (await project.outputs()).auto;
    declare(project, provider(), [unnamed("two")]);
    await project.mustUp();

    expect(first).toMatch(new RegExp(`^${namespace.name}/auto-[0-9a-f]{7,8}$`));
    expect((await project.outputs()).auto).toBe(first);
  });
});

describe("changing", () => {
  it("changes in place what can be, and leaves to others what is theirs", async () => {
    const declared = (colour: string): Declared => ({
      ...deployment("app", { annotations: byUid, replicas: 1 }),
      options: { ignoreChanges: ["spec.replicas"] },
      args: at(deployment("app", { annotations: { ...byUid, colour } }), "args") as object,
    });
    declare(project, provider(), [declared("red")]);
    await project.mustUp();
    const before = await namespace.get("apps/v1", "Deployment", "app");
    await namespace.api.apply(
      { ...namespace.header("apps/v1", "Deployment", "app"), spec: { replicas: 2 } },
      { fieldManager: "scaler", force: true, dryRun: false },
    );
    declare(project, provider(), [declared("blue")]);
    const run = await project.mustUp("--refresh");

    const live = await namespace.get("apps/v1", "Deployment", "app");
    expect(stepsOf(run)).toMatchObject({ update: 1 });
    expect(uidOf(live)).toBe(uidOf(before));
    expect(at(live, "metadata", "annotations", "colour")).toBe("blue");
    expect(at(live, "spec", "replicas")).toBe(2);
  });

  it("reports a field that someone else has changed since, unless it is forced", async () => {
    const budget = (maxUnavailable: number, annotations = {}): Declared => ({
      type: "policy.v1.PodDisruptionBudget",
      name: "budget",
      args: {
        metadata: { name: "budget", annotations },
        spec: { maxUnavailable, selector: { matchLabels: { app: "x" } } },
      },
    });
    declare(project, provider(), [budget(1)]);
    await project.mustUp();
    await namespace.api.apply(
      { ...namespace.header("policy/v1", "PodDisruptionBudget", "budget"), spec: { maxUnavailable: 2 } },
      { fieldManager: "someone", force: true, dryRun: false },
    );

    declare(project, provider(), [budget(3)]);
    const refused = await project.up();
    declare(project, provider(), [budget(3, { "pulumi.com/patchForce": "true" })]);
    await project.mustUp();

    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("Server-Side Apply field conflict detected");
    expect(refused.output).toContain('conflict with "someone"');
    const live = await namespace.get("policy/v1", "PodDisruptionBudget", "budget");
    expect(at(live, "spec", "maxUnavailable")).toBe(3);
  });

  it("replaces an unnamed ConfigMap of other data by a new one, which is there before the old one goes", async () => {
    declare(project, provider(), [configMap("auto", { colour: "red" }, {})]);
    await project.mustUp();
    const before = (await project.outputs()).auto;
    declare(project, provider(), [configMap("auto", { colour: "blue" }, {})]);
    const preview = await project.preview();
    const run = await project.mustUp("--show-replacement-steps");

    const after = (await project.outputs()).auto;
    expect(preview.output).toMatch(/\+-\s+.*ConfigMap\s+auto\s+replace/);
    expect(after).not.toBe(before);
    expect(run.output.indexOf("created replacement")).toBeLessThan(run.output.indexOf("deleted original"));
    expect(run.output).toContain("created replacement");
    const names = (await namespace.list("v1", "ConfigMap")).map(
      (one) => `${namespace.name}/${textAt(one, "metadata", "name")}`,
    );
    expect(names).toContain(after);
    expect(names).not.toContain(before);
  });

  it("deletes first what is replaced under the same name", async () => {
    declare(project, provider(), [configMap("fixed", { colour: "red" }, { name: "fixed" }, { immutable: true })]);
    await project.mustUp();
    const before = await namespace.get("v1", "ConfigMap", "fixed");
    declare(project, provider(), [configMap("fixed", { colour: "blue" }, { name: "fixed" }, { immutable: true })]);
    const preview = await project.preview();
    const run = await project.mustUp("--show-replacement-steps");

    const live = await namespace.get("v1", "ConfigMap", "fixed");
    expect(preview.code, preview.output).toBe(0);
    expect(run.output).toContain("deleted original");
    expect(run.output.indexOf("deleted original")).toBeLessThan(run.output.indexOf("created replacement"));
    expect(uidOf(live)).not.toBe(uidOf(before));
    expect(textAt(live, "data", "colour")).toBe("blue");
  });

  it("replaces a Deployment whose selector and name change by one that is there before the old one goes", async () => {
    const release = (id: string): Declared => ({
      ...deployment(`app-${id}`, { annotations: byUid, labels: { app: `app-${id}` } }),
      name: "app",
    });
    declare(project, provider(), [release("one")]);
    await project.mustUp();
    declare(project, provider(), [release("two")]);
    const run = await project.mustUp("--show-replacement-steps");

    expect(run.output).toContain("created replacement");
    expect(run.output.indexOf("created replacement")).toBeLessThan(run.output.indexOf("deleted original"));
    expect(await namespace.get("apps/v1", "Deployment", "app-one")).toBeUndefined();
    expect(await namespace.get("apps/v1", "Deployment", "app-two")).toBeDefined();
  });

  it("changes the data of a ConfigMap in place when the provider says that it may", async () => {
    const mutable = provider({ enableConfigMapMutable: true });
    declare(project, mutable, [configMap("fixed", { colour: "red" })]);
    await project.mustUp();
    const before = await namespace.get("v1", "ConfigMap", "fixed");
    declare(project, mutable, [configMap("fixed", { colour: "blue" })]);
    await project.mustUp();

    const live = await namespace.get("v1", "ConfigMap", "fixed");
    expect(uidOf(live)).toBe(uidOf(before));
    expect(textAt(live, "data", "colour")).toBe("blue");
  });
});

describe("waiting", () => {
  it("waits for nothing with skipAwait, and for no pods with waitFor on the uid", async () => {
    declare(project, provider(), [
      deployment("by-uid", { annotations: byUid, nowhere: true }),
      {
        type: "core.v1.Service",
        name: "service",
        args: {
          metadata: { name: "service", annotations: skip },
          spec: { selector: { app: "none" }, ports: [{ port: 80 }] },
        },
      },
      {
        type: "core.v1.PersistentVolumeClaim",
        name: "claim",
        args: {
          metadata: { name: "claim", annotations: skip },
          spec: {
            accessModes: ["ReadWriteOnce"],
            storageClassName: "none",
            resources: { requests: { storage: "1024Mi" } },
          },
        },
      },
      { ...configMap("after", {}), options: { dependsOn: ["by-uid", "service", "claim"] } },
    ]);

    const run = await project.mustUp();

    expect(stepsOf(run)).toMatchObject({ create: 6 });
    expect(await namespace.get("v1", "ConfigMap", "after")).toBeDefined();
    expect(at(await namespace.get("apps/v1", "Deployment", "by-uid"), "status", "availableReplicas")).toBeUndefined();
    // 1024Mi is 1Gi to the API server.
    expect(stepsOf(await project.mustUp())).toEqual({ same: 6 });
    expect((await project.destroy()).code).toBe(0);
  });

  it("waits for a Deployment's pods without annotations, and saves what did not become ready", async () => {
    const short = { "pulumi.com/timeoutSeconds": "3" };
    declare(project, provider(), [
      deployment("there"),
      { ...configMap("after-there", {}), options: { dependsOn: ["there"] } },
      deployment("never", { annotations: short, nowhere: true }),
      { ...configMap("after-never", {}), options: { dependsOn: ["never"] } },
    ]);

    const run = await project.up();

    expect(run.code).not.toBe(0);
    expect(run.output).toContain("failed to fully initialize or become live");
    expect(at(await namespace.get("apps/v1", "Deployment", "there"), "status", "availableReplicas")).toBe(1);
    expect(await namespace.get("v1", "ConfigMap", "after-never")).toBeUndefined();
    expect(await namesInState()).toContain("never");
    expect((await project.destroy()).code).toBe(0);
    expect(await namespace.get("apps/v1", "Deployment", "never")).toBeUndefined();
  });

  it("waits with the deletion of a Deployment until its pods are gone, and with skipAwait does not", async () => {
    declare(project, provider(), [
      configMap("under", {}),
      { ...deployment("awaited", { annotations: byUid }), options: { dependsOn: ["under"] } },
      { ...deployment("skipped", { annotations: skip }), options: { dependsOn: ["under"] } },
    ]);
    await project.mustUp();
    for (const name of ["awaited", "skipped"]) {
      await namespace.until(["apps/v1", "Deployment", name], (live) => at(live, "status", "availableReplicas") === 1);
    }
    // Pods that cannot go until the test lets them.
    const pods = await namespace.list("v1", "Pod");
    const finalize = (pod: Values, finalizers: readonly string[] | null) =>
      namespace.api.patch({ ...pod, apiVersion: "v1", kind: "Pod" }, "application/merge-patch+json", {
        metadata: { finalizers },
      });
    for (const pod of pods) await finalize(pod, ["test.pulumi-comfyui/held"]);

    const destroying = project.start("destroy", "--yes", "--skip-preview");
    const isGoing = (live: Values | undefined) => at(live, "metadata", "deletionTimestamp") !== undefined;
    await namespace.until(["apps/v1", "Deployment", "awaited"], isGoing);
    let saved = await namesInState();
    while (saved.includes("skipped")) saved = await namesInState();
    const skipped = await namespace.get("apps/v1", "Deployment", "skipped");
    for (const pod of pods) await finalize(pod, null);
    const destroyed = await destroying.ended;

    expect(pods).toHaveLength(2);
    expect(isGoing(skipped)).toBe(true);
    expect(saved).toEqual(expect.arrayContaining(["awaited", "under"]));
    expect(destroyed.code, destroyed.output).toBe(0);
    expect(await namespace.get("apps/v1", "Deployment", "awaited")).toBeUndefined();
  });

  it("replaces a Job of another template once the old one is gone, unless its deletion is not awaited", async () => {
    const job = (name: string, label: string, annotations: object): Declared => ({
      type: "batch.v1.Job",
      name,
      args: {
        metadata: { name, annotations },
        spec: {
          backoffLimit: 0,
          template: {
            metadata: { labels: { label } },
            spec: { restartPolicy: "Never", containers: [idle] },
          },
        },
      },
    });
    declare(project, provider(), [job("awaited", "one", byUid), job("skipped", "one", skip)]);
    await project.mustUp();
    const before = await namespace.get("batch/v1", "Job", "awaited");
    await namespace.until(["batch/v1", "Job", "skipped"], (live) => at(live, "status", "active") === 1);
    declare(project, provider(), [job("awaited", "two", byUid), job("skipped", "one", skip)]);
    const run = await project.mustUp();
    declare(project, provider(), [job("awaited", "two", byUid), job("skipped", "two", skip)]);
    const refused = await project.up();

    expect(stepsOf(run)).toMatchObject({ replace: 1 });
    expect(uidOf(await namespace.get("batch/v1", "Job", "awaited"))).not.toBe(uidOf(before));
    // The released plugin's own: a skipped wait is also skipped before a replacement of the same name.
    expect(refused.output).toContain('object is being deleted: jobs.batch "skipped" already exists');
  });
});

describe("what happened outside", () => {
  it("sees at refresh that an object is gone, and makes it again", async () => {
    declare(project, provider(), [configMap("gone", { colour: "red" }), configMap("stays", {})]);
    await project.mustUp();
    await namespace.api.delete(namespace.header("v1", "ConfigMap", "gone"), "Background");

    const refreshed = await project.run("refresh", "--yes", "--skip-preview");
    const run = await project.mustUp();

    expect(stepsOf(refreshed)).toMatchObject({ delete: 1 });
    expect(stepsOf(run)).toMatchObject({ create: 1, same: 3 });
    expect(await namespace.get("v1", "ConfigMap", "gone")).toBeDefined();
  });

  it("destroys what is gone already", async () => {
    declare(project, provider(), [configMap("gone", {})]);
    await project.mustUp();
    await namespace.api.delete(namespace.header("v1", "ConfigMap", "gone"), "Background");

    expect((await project.destroy()).code).toBe(0);
  });

  it("imports an object as it is", async () => {
    await namespace.api.create({ ...namespace.header("v1", "ConfigMap", "made"), data: { by: "hand" } }, "hand", false);
    declare(project, provider(), [
      { ...configMap("made", { by: "hand" }), options: { import: `${namespace.name}/made` } },
    ]);

    const run = await project.mustUp();

    expect(run.output).toMatch(/1 imported/);
    declare(project, provider(), [configMap("made", { by: "hand" })]);
    expect(stepsOf(await project.mustUp())).toEqual({ same: 3 });
  });

  it("finds after an engine that was killed in a create the object in its way, and adopts it when told to", async () => {
    const service = (annotations: object): Declared => ({
      type: "core.v1.Service",
      name: "service",
      args: { metadata: { name: "service", annotations }, spec: { selector: { app: "none" }, ports: [{ port: 80 }] } },
    });
    declare(project, provider(), [service({})]);
    const killed = project.start("up", "--yes", "--skip-preview");
    const made = await namespace.until(["v1", "Service", "service"], (live) => live !== undefined);
    await killed.kill();
    await project.run("cancel", "--yes");

    declare(project, provider(), [service(skip)]);
    const refused = await project.up();
    const adopting = { ...skip, "pulumi.com/patchForce": "true" };
    declare(project, provider({ upsertExistingObjects: true }), [service(adopting)]);
    await project.mustUp();

    expect(refused.output).toContain('services "service" already exists');
    expect(uidOf(await namespace.get("v1", "Service", "service"))).toBe(uidOf(made));
    expect((await project.destroy()).code).toBe(0);
    expect(await namespace.get("v1", "Service", "service")).toBeUndefined();
  });

  it("forgets objects of a cluster that is gone only when it is told to", async () => {
    const server = `https://127.0.0.1:${await freePort()}`;
    const kubeconfig = JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "gone", cluster: { server } }],
      users: [{ name: "gone", user: { token: "none" } }],
      contexts: [{ name: "gone", context: { cluster: "gone", user: "gone" } }],
      "current-context": "gone",
    });
    // The same identifier: what changes is taken for the way to the same cluster.
    const same = { clusterIdentifier: "lab" };
    declare(project, provider(same), [configMap("far", {})]);
    await project.mustUp();
    declare(project, provider({ ...same, kubeconfig }), []);
    const refused = await project.up();
    const state = await namesInState();
    declare(project, provider({ ...same, kubeconfig, deleteUnreachable: true }), []);
    await project.mustUp();

    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("configured Kubernetes cluster is unreachable");
    expect(state).toContain("far");
    expect(await namesInState()).not.toContain("far");
    expect(await namespace.get("v1", "ConfigMap", "far")).toBeDefined();
  });
});
