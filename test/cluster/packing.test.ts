import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { listSnapshots, readHead, restore, scan } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { onLab } from "../support/cluster";
import { PackingCluster } from "../support/packing-cluster";
import type { PulumiProject, StartedRun } from "../support/pulumi-project";
import type { Run } from "../support/run-program";
import { keys } from "../support/s3-servers";
import { pluginWithClass } from "../support/stand-in-plugins";
import { setPlugin } from "../support/supervisor-environment";

/** Milliseconds. */
const patience = 120_000;

const before = { id: process.env.AWS_ACCESS_KEY_ID, secret: process.env.AWS_SECRET_ACCESS_KEY };
let packing: PackingCluster;
const projects: PulumiProject[] = [];
let project: PulumiProject;

function begin(more?: Parameters<PackingCluster["project"]>[0]): PulumiProject {
  project = packing.project(more);
  projects.push(project);
  return project;
}

const settings = () => ({ ...packing.server.settings, endpoint: packing.store.endpoint });
const reference = async () => (await project.outputs()).reference ?? "";

/** Waits until a packer works at the store, which is held; fails when the run ends before it. */
async function packerAtStore(up: StartedRun) {
  let ended: Run | undefined;
  let seen: readonly unknown[] = [];
  void up.ended.then((run) => {
    ended = run;
  });
  return waitFor({
    what: "a packer at the held store",
    deadline: patience,
    look: async () => {
      if (ended !== undefined) throw new Error(ended.output);
      const [pod] = (await packing.packers()).filter(({ metadata }) => metadata?.deletionTimestamp === undefined);
      seen = [pod?.metadata?.name, pod?.spec?.nodeName, pod?.status, { isAsked: packing.store.isAsked }];
      const runs = pod?.status?.containerStatuses?.some(({ state }) => state?.running !== undefined);
      return runs === true && packing.store.isAsked ? pod : undefined;
    },
    seen: () => JSON.stringify(seen),
  });
}

beforeAll(() => {
  process.env.AWS_ACCESS_KEY_ID = keys.accessKeyId;
  process.env.AWS_SECRET_ACCESS_KEY = keys.secretAccessKey;
});
afterAll(() => {
  for (const [name, value] of [
    ["AWS_ACCESS_KEY_ID", before.id],
    ["AWS_SECRET_ACCESS_KEY", before.secret],
  ] as const) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});
afterEach(async () => {
  packing.store.release();
  for (const one of projects.splice(0)) await one[Symbol.asyncDispose]();
});

describe.runIf(onLab)("a snapshot of a claim that several pods can use", () => {
  beforeAll(async () => {
    packing = await PackingCluster.open();
  });
  afterAll(async () => {
    await packing.close();
  });

  it("is packed by a Job, of which nothing is left, and restores to the same", async () => {
    begin();
    const fingerprint = await packing.tell();
    const preview = await project.preview();
    expect(preview.code, preview.output).toBe(0);
    expect(await packing.left()).toEqual([]);

    const up = await project.mustUp();
    expect(up.output).toMatch(/packed [0-9a-f]{12}: /);
    expect(await packing.left()).toEqual([]);
    const head = await readHead(await reference(), settings());
    expect(head.summary).toEqual(fingerprint.summary);
    expect(head.root).toBe("/comfyui/environment");
    expect(head.plugins).toMatchObject([{ name: "working", baseline: { state: "loaded" } }]);
    const folder = mkdtempSync(join(tmpdir(), "packing-restored-"));
    try {
      const restored = await restore({
        ...{ reference: await reference(), settings: settings(), target: join(folder, "env"), usedElsewhere: true },
      });
      const again = await scan({ environment: restored.location, models: "referenced" });
      expect(again.summary.id).toBe(fingerprint.summary.id);
    } finally {
      rmSync(folder, { recursive: true });
    }

    const second = await project.mustUp();
    expect(second.output).not.toContain("packed");
    expect(second.output).toMatch(/unchanged/);
  });

  it("is another one when the content is, which the preview shows by name", async () => {
    begin();
    await packing.tell();
    await project.mustUp();
    const first = await reference();
    setPlugin(packing.environment, "added", pluginWithClass("Added"));
    await packing.tell();
    const preview = await project.preview("--diff");
    expect(preview.output).toContain("+ plugin added");
    expect(await reference()).toBe(first);

    await project.mustUp();
    const second = await reference();
    expect(second).not.toBe(first);
    expect(Object.keys((await readHead(second, settings())).summary.plugins)).toEqual(["added", "working"]);
    expect(await listSnapshots(first.split("#")[0] ?? "", undefined, settings())).toHaveLength(2);
  });

  it("is kept while nobody can say what the claim holds, and refused where there is none", async () => {
    begin();
    await packing.forget();
    const refused = await project.up();
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("workstation studio has never started");
    expect(refused.output).toContain("have the workstation running");

    await packing.tell();
    await project.mustUp();
    const first = await reference();
    await packing.tell({
      problem: "the disk cannot be read",
      summary: { ...(await packing.tell()).summary, id: "f".repeat(64) },
    });
    const kept = await project.mustUp();
    expect(kept.output).toContain("the disk cannot be read");
    expect(kept.output).toMatch(/the earlier snapshot [0-9a-f]{12} is kept/);
    expect(await reference()).toBe(first);

    await packing.tell({ running: true, pod: "studio-workstation-gone" });
    expect((await project.mustUp()).output).toContain("ended before it could look at its claim again");
  });

  it("is refused, and not published, where the claim holds something else than was promised", async () => {
    begin();
    await packing.tell();
    setPlugin(packing.environment, "late", pluginWithClass("Late"));
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("the environment changed between the preview and the packing");
    expect(run.output).toContain("+ plugin late");
    expect(await packing.left()).toEqual([]);
    const store = `s3://${packing.server.bucket}/${/run-\d+/.exec(run.output)?.[0] ?? "run-none"}`;
    expect(await listSnapshots(store, undefined, settings())).toEqual([]);
  });

  it("says that the Job's credentials are wrong", async () => {
    await packing.tell();
    await packing.cluster.create({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "wrong" },
      stringData: { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: "another-secret-key-0123456789" },
    } as never);
    const run = await begin({ storeCredentials: "wrong" }).up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("was not packed");
    expect(run.output).toContain("SignatureDoesNotMatch");
    expect(await packing.left()).toEqual([]);
  });

  it("says which image or Secret the Job's pod lacks", async () => {
    await packing.tell();
    const run = await begin({ storeCredentials: "missing" }).up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain('no Secret "missing"');
    expect(await packing.left()).toEqual([]);
  });

  it.each(["deleted", "evicted"])("is packed by a second Job when the first one's pod is %s", async (how) => {
    begin();
    await packing.tell();
    packing.store.hold();
    const up = project.start("up", "--yes", "--skip-preview");
    const pod = await packerAtStore(up);
    const { core, namespace } = packing.cluster;
    const name = pod.metadata?.name ?? "";
    if (how === "deleted") await core.deleteNamespacedPod({ name, namespace });
    else await core.createNamespacedPodEviction({ name, namespace, body: { metadata: { name, namespace } } });
    packing.store.release();
    const run = await up.ended;
    expect(run.code, run.output).toBe(0);
    expect(run.output).toContain("it is begun once more");
    expect(await packing.left()).toEqual([]);
  });

  it("is packed by the next run when the engine was killed, whose Job goes with it", async () => {
    begin();
    await packing.tell();
    packing.store.hold();
    const up = project.start("up", "--yes", "--skip-preview");
    const pod = await packerAtStore(up);
    await up.kill();
    await waitFor({
      what: "the Job to go with its engine",
      deadline: patience,
      look: async () => ((await packing.left()).length === 0 ? true : undefined),
      seen: () => pod.metadata?.name ?? "",
    });
    packing.store.release();
    await project.run("cancel", "--yes");
    const run = await project.mustUp();
    expect(run.output).toMatch(/packed [0-9a-f]{12}: /);
    expect(await packing.left()).toEqual([]);
  });

  it("is what the Job of a run of which everything was killed goes on to pack", async () => {
    begin();
    await packing.tell();
    packing.store.hold();
    const up = project.start("up", "--yes", "--skip-preview");
    const pod = await packerAtStore(up);
    await up.killAll();
    const [job] = await packing.jobs();
    await project.run("cancel", "--yes");
    const again = project.start("up", "--yes", "--skip-preview");
    await waitFor({
      what: "the Job to be adopted",
      deadline: patience,
      look: async () => {
        const [now] = await packing.jobs();
        const run = (one: typeof now) => one?.metadata?.annotations?.["pulumi-comfyui/run"];
        return run(now) !== run(job) ? true : undefined;
      },
    });
    packing.store.release();
    const run = await again.ended;
    expect(run.code, run.output).toBe(0);
    expect((await packing.packers()).map(({ metadata }) => metadata?.name)).toEqual([]);
    expect(pod.metadata?.ownerReferences?.[0]?.uid).toBe(job?.metadata?.uid);
    expect(await packing.left()).toEqual([]);
  });

  it("is packed on the node of the pod that has the claim", async () => {
    await packing.cluster.lab.addNode("second");
    await packing.cluster.lab.addNode("third");
    begin();
    await packing.makeWorkstation(1);
    await packing.tell();
    const { core, namespace } = packing.cluster;
    const labelSelector = "app.kubernetes.io/component=workstation";
    const node = await waitFor({
      what: "the workstation's pod to run",
      deadline: patience,
      look: async () => {
        const [pod] = (await core.listNamespacedPod({ namespace, labelSelector })).items;
        return pod?.status?.phase === "Running" ? pod.spec?.nodeName : undefined;
      },
    });
    packing.store.hold();
    const up = project.start("up", "--yes", "--skip-preview");
    const pod = await packerAtStore(up);
    expect(pod.spec?.nodeName).toBe(node);
    packing.store.release();
    expect((await up.ended).code).toBe(0);
    await packing.makeWorkstation(0);
  });
});

describe.runIf(onLab)("a snapshot of a claim that only one pod can use", () => {
  beforeAll(async () => {
    packing = await PackingCluster.open("ReadWriteOncePod");
  });
  afterAll(async () => {
    await packing.close();
  });

  it("is packed while the workstation is stopped, and refused while it runs", async () => {
    begin();
    await packing.makeWorkstation(1);
    await packing.tell();
    const { core, namespace } = packing.cluster;
    const labelSelector = "app.kubernetes.io/component=workstation";
    await waitFor({
      what: "the workstation's pod to run",
      deadline: patience,
      look: async () => {
        const [pod] = (await core.listNamespacedPod({ namespace, labelSelector })).items;
        return pod?.status?.phase === "Running" ? true : undefined;
      },
    });
    const refused = await project.preview();
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("is ReadWriteOncePod");
    expect(refused.output).toContain('state: "stopped"');

    await packing.makeWorkstation(0);
    await waitFor({
      what: "the workstation's pod to be gone",
      deadline: patience,
      look: async () =>
        (await core.listNamespacedPod({ namespace, labelSelector })).items.length === 0 ? true : undefined,
    });
    const run = await project.mustUp();
    expect(run.output).toMatch(/packed [0-9a-f]{12}: /);
    expect(await packing.left()).toEqual([]);
  });
});
