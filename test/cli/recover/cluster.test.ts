import { mkdirSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { knownInClusters } from "../../../runtime/cli/recover/cluster-state";
import { parseState } from "../../../runtime/cli/recover/state";
import { annotationsOf, labelsOf, ServiceRecords } from "../../../runtime/kubernetes";
import { programLabel } from "../../../runtime/kubernetes/program";
import { ApiServer } from "../../support/api-server";
import { makeStack, pathWithPulumi } from "../../support/cli-pulumi";
import { runCli } from "../../support/cli-run";
import { type StateResource, stackState, stateResource } from "../../support/cli-stack-state";
import { WrittenNamespace, type WrittenService } from "../../support/cluster-objects";
import { FakeEks } from "../../support/fake-eks";

const owner = { organization: "organization", project: "studio", stack: "dev" };
const path = pathWithPulumi ?? "";

let server: ApiServer;
let namespace: WrittenNamespace;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());
beforeEach(async () => {
  namespace = await WrittenNamespace.create(server, owner);
});

const inCluster = (kind: string, outputs: Readonly<Record<string, unknown>>): StateResource => ({
  ...stateResource(kind, { namespace: namespace.name, service: "studio", ...outputs }),
  inputs: { kubeconfig: namespace.kubeconfig },
});
const claim = () => inCluster("ClusterServiceClaim", { programs: "studio-program-used" });
const release = (id: string) => inCluster("ClusterRelease", { release: id });
const trafficSwitch = () => inCluster("ClusterTrafficSwitch", {});
const native = (type: string, name: string): StateResource => ({
  urn: `urn:pulumi:dev::studio::kubernetes:${type}::${type.replaceAll(/\W/g, "-")}-${name}`,
  type: `kubernetes:${type}`,
  custom: true,
  id: `${namespace.name}/${name}`,
  inputs: {},
  outputs: {},
});
const releaseObjects = (id: string) => [
  native("core/v1:ConfigMap", `studio-${id}`),
  native("core/v1:Secret", `studio-${id}`),
  native("apps/v1:Deployment", `studio-${id}`),
];
const gatewayObjects = () => [native("apps/v1:Deployment", "studio"), native("core/v1:Service", "studio")];

function contextOf(resources: readonly StateResource[]) {
  const { project, environment } = makeStack(path, stackState({ resources }));
  return { cwd: project, environment };
}

/** The service, with a release that serves; nothing of it is an orphan to a state that has `all`. */
async function serving(): Promise<{ service: WrittenService; id: string; all: readonly StateResource[] }> {
  const service = await namespace.service();
  const id = await service.release(["started", "proven", "serving"]);
  await service.serve(id);
  await service.gateway([]);
  const all = [claim(), ...gatewayObjects(), release(id), ...releaseObjects(id), trafficSwitch()];
  return { service, id, all };
}

async function program(name: string): Promise<void> {
  const { core } = namespace.cluster;
  const labels = { ...labelsOf("studio", "service"), [programLabel]: name };
  const metadata = { name: `studio-program-${name}`, labels, annotations: { ...annotationsOf(owner) } };
  await core.createNamespacedConfigMap({ namespace: namespace.name, body: { metadata } });
}

describe.skipIf(pathWithPulumi === null)("recover in a cluster", () => {
  it("removes what no state knows: releases, programs, packing; and nothing of what is known, served, or another's", async () => {
    const { service, id, all } = await serving();
    const neighbour = await namespace.service("other", { ...owner, stack: "prod" });
    await neighbour.release(["started"]);
    const orphan = await service.release(["started", "proven", "serving", "draining"]);
    const recordOnly = await service.release([], { objects: false });
    const removedBefore = await service.release(["removed"]);
    await program("used");
    await program("old");
    await namespace.cluster.core.createNamespacedConfigMap({
      namespace: namespace.name,
      body: { metadata: service.metadata("packer", "studio-pack-0123456789ab") },
    });
    const context = contextOf(all);

    const dry = await runCli(["recover", "--dry-run", "--json"], context);
    const before = await namespace.contents();
    const real = await runCli(["recover", "--yes", "--json"], context);
    const again = await runCli(["recover", "--json"], context);

    const kinds = ["release", "release", "release", "packing", "programs"];
    expect([dry.code, real.code, again.code]).toEqual([3, 0, 0]);
    expect(dry.json).toMatchObject({ orphans: kinds.map((kind) => ({ kind, serves: false, removed: false })) });
    expect(real.json).toMatchObject({
      recovered: true,
      orphans: [
        { kind: "release", namespace: namespace.name, release: orphan, removed: true },
        { kind: "release", release: recordOnly, removed: true },
        { kind: "release", release: removedBefore, removed: true },
        { kind: "packing", name: "ConfigMap studio-pack-0123456789ab" },
        { kind: "programs", name: "ConfigMap studio-program-old" },
      ],
    });
    expect(again.json).toMatchObject({ orphans: [] });
    const gone = [orphan, removedBefore].flatMap((each) =>
      ["ConfigMap", "Secret", "Deployment"].map((kind) => `${kind} studio-${each}`),
    );
    const others = ["ConfigMap studio-pack-0123456789ab", "ConfigMap studio-program-old"];
    expect(await namespace.contents()).toEqual(before.filter((name) => ![...gone, ...others].includes(name)));
    const { releases } = await service.records.required();
    expect(releases.map((each) => [each.id, each.events.at(-1)?.event])).toEqual([
      [id, "serving"],
      [orphan, "removed"],
      [recordOnly, "removed"],
      [removedBefore, "removed"],
    ]);
    expect((await service.records.target()).draining).toEqual([]);
  });

  it("removes the nodes of a release that no state knows, after its pods", async () => {
    const { service, all } = await serving();
    const orphan = await service.release(["started"]);
    const account = await FakeEks.start();
    onTestFinished(() => account.stop());
    // The command runs in this process.
    for (const [key, value] of Object.entries(account.environment)) vi.stubEnv(key, value);
    account.addGroup("prod", `studio-${orphan}`, { maxSize: 2, desiredSize: 2 });
    account.addGroup("prod", "another");
    const nodes = { cluster: "prod", nodeGroup: `studio-${orphan}` };
    await service.records.change((record) => ({
      ...record,
      releases: record.releases.map((each) => (each.id === orphan ? { ...each, nodes } : each)),
    }));

    const { code, json } = await runCli(["recover", "--yes", "--json"], contextOf(all));
    vi.unstubAllEnvs();

    expect(code).toBe(0);
    expect(json).toMatchObject({
      orphans: [
        {
          kind: "release",
          release: orphan,
          detail: expect.stringContaining(`node group studio-${orphan} of the EKS cluster prod`),
          removed: true,
        },
      ],
    });
    expect([...account.groups.keys()]).toEqual(["prod/another"]);
  });

  it("removes the objects of a known release whose creation was killed, but not those that serve", async () => {
    const { service, id, all } = await serving();
    const known = await service.release(["started"]);
    const withoutServing = all.filter(({ id: object }) => object !== `${namespace.name}/studio-${id}`);
    const context = contextOf([...withoutServing, release(known), native("core/v1:Secret", `studio-${known}`)]);

    const { code, json } = await runCli(["recover", "--yes", "--json"], context);

    expect(code).toBe(3);
    expect(json).toMatchObject({
      orphans: [
        { kind: "instances", release: id, serves: true, removed: false },
        {
          kind: "instances",
          release: known,
          objects: [`Deployment/studio-${known}`, `ConfigMap/studio-${known}`],
          removed: true,
        },
      ],
    });
    const contents = await namespace.contents();
    expect(contents).toContain(`Deployment studio-${id}`);
    expect(contents.filter((name) => name.includes(known))).toEqual([`Secret studio-${known}`]);
    const { releases } = await service.records.required();
    expect(releases.find((each) => each.id === known)?.events.at(-1)?.event).toBe("started");
  });

  it("keeps traffic that a killed switch has moved, which up takes over, and ends it when it is told to", async () => {
    const { service, id, all } = await serving();
    const context = contextOf(all.filter(({ type }) => !type.endsWith("ClusterTrafficSwitch")));

    const kept = await runCli(["recover", "--yes", "--json"], context);
    const target = await service.records.target();
    const ended = await runCli(["recover", "--yes", "--include-serving", "--json"], context);

    expect([kept.code, ended.code]).toEqual([0, 0]);
    expect(kept.json).toMatchObject({ recovered: true, orphans: [{ kind: "traffic", serves: true, removed: false }] });
    expect(kept.stderr).toContain("pulumi up takes it over");
    expect(target.release).toBe(id);
    expect(ended.json).toMatchObject({ orphans: [{ kind: "traffic", removed: true }] });
    expect(await service.records.target()).toMatchObject({ release: null, revision: 0 });
  });

  it("removes a whole service of a namespace that only the command names, and one whose record is gone", async () => {
    const { service } = await serving();
    const half = await namespace.service("half");
    await half.releaseObjects("r1-zzzzz");
    await half.records.remove();
    const { project: cwd, environment } = makeStack(path);
    const context = { cwd, environment };

    const kept = await runCli(["recover", "--yes", "--json", ...namespace.options], context);
    const ended = await runCli(["recover", "--yes", "--include-serving", "--json", ...namespace.options], context);

    expect([kept.code, ended.code]).toEqual([3, 0]);
    expect(kept.json).toMatchObject({
      orphans: [
        { kind: "service", service: "half", detail: "with r1-zzzzz", removed: true },
        { kind: "service", service: "studio", serves: true, removed: false },
      ],
    });
    expect(ended.json).toMatchObject({ orphans: [{ kind: "service", service: "studio", removed: true }] });
    expect(await namespace.contents()).toEqual([]);
    expect(await new ServiceRecords(namespace.cluster, service.name).record()).toBeNull();
  });

  it("removes the objects of an unknown release where the record of its service is gone", async () => {
    const { service, all } = await serving();
    await service.releaseObjects("r9-zzzzz");
    await service.records.remove();

    const { code, json } = await runCli(["recover", "--yes", "--json"], contextOf(all));

    expect(code).toBe(0);
    expect(json).toMatchObject({ orphans: [{ kind: "release", release: "r9-zzzzz", removed: true }] });
    expect((await namespace.contents()).filter((name) => name.includes("r9-zzzzz"))).toEqual([]);
  });

  it("removes a workstation that no resource knows, but not the claim with its environment", async () => {
    const service = await namespace.service();
    const { core, apps } = namespace.cluster;
    const metadata = service.metadata("workstation", "studio-workstation");
    await core.createNamespacedConfigMap({ namespace: namespace.name, body: { metadata } });
    const template = { metadata: { labels: metadata.labels }, spec: { containers: [{ name: "m", image: "i" }] } };
    const spec = { replicas: 0, selector: { matchLabels: metadata.labels }, template };
    await apps.createNamespacedDeployment({ namespace: namespace.name, body: { metadata, spec } });
    await core.createNamespacedPersistentVolumeClaim({
      namespace: namespace.name,
      body: {
        metadata: { ...metadata, name: "studio-environment" },
        spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
      },
    });
    const context = contextOf([claim()]);

    const { code, json } = await runCli(["recover", "--yes", "--json"], context);

    expect(code).toBe(0);
    expect(json).toMatchObject({ orphans: [{ kind: "workstation", workstation: "studio", removed: true }] });
    expect((await namespace.contents()).filter((name) => name.includes("workstation"))).toEqual([]);
    const { items } = await core.listNamespacedPersistentVolumeClaim({ namespace: namespace.name });
    expect(items.map(({ metadata }) => metadata?.name)).toEqual(["studio-environment"]);
  });

  it("does the rest, and fails, when a cluster cannot be looked at", async () => {
    const away = { ...claim(), inputs: { kubeconfig: "nowhere.yaml" } };
    const context = contextOf([away]);
    mkdirSync(`${context.cwd}/.comfyui`);

    const { code, json, stderr } = await runCli(["recover", "--yes", "--json"], context);
    const told = await runCli(["recover", "--yes", "--json", "--kubeconfig", namespace.kubeconfig], context);

    expect([code, told.code]).toEqual([1, 0]);
    expect(json).toMatchObject({ recovered: false, unseen: [{ name: `namespace ${namespace.name}` }] });
    expect(stderr).toContain(`the kubeconfig does not exist: it is declared as ${context.cwd}/nowhere.yaml`);
    expect(told.json).toMatchObject({ recovered: true, unseen: [], orphans: [] });
  });
});

describe("what a state knows of clusters", () => {
  it("is its resources' namespaces, each once, and whether their kubeconfig is a secret", () => {
    const secret = { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", ciphertext: "v1:x" };
    const resources = [
      { ...claim(), inputs: { kubeconfig: secret, context: "prod" } },
      { ...trafficSwitch(), inputs: { kubeconfig: secret, context: "prod" } },
      { ...release("r1-abcde"), inputs: {} },
    ];

    const { places } = knownInClusters(parseState(JSON.stringify(stackState({ resources }))));

    expect(places).toEqual([
      { context: "prod", namespace: namespace.name, sealed: true },
      { namespace: namespace.name, sealed: false },
    ]);
  });
});
