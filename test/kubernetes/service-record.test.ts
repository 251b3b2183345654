import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { recordRelease } from "../../runtime/deployment";
import { type Cluster, connectCluster } from "../../runtime/kubernetes";
import { ConflictError, ServiceRecords } from "../../runtime/kubernetes/service-record";
import { ApiServer } from "../support/api-server";
import { otherOwner, owner, settings, specFor } from "../support/supervisor-platform";

let server: ApiServer;
let cluster: Cluster;
let records: ServiceRecords;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  const namespace = `test-${randomBytes(4).toString("hex")}`;
  cluster = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace });
  await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
  records = new ServiceRecords(cluster, "studio");
});

const target = { release: "r1-aaaaa", revision: 1, draining: [] };

describe("a service's record", () => {
  test("is made by the claim, with a token, and says whose it is on every object", async () => {
    expect(await records.record()).toBeNull();
    const { since } = await records.claim(owner, settings, false);
    expect(await records.record()).toEqual({
      format: 1,
      claim: { owner, since },
      settings,
      revision: 0,
      releases: [],
    });
    expect(await records.deployerToken()).toMatch(/^[\w-]{43}$/);
    const { items } = await cluster.core.listNamespacedConfigMap({ namespace: cluster.namespace });
    const own = items.filter(({ metadata }) => metadata?.name?.startsWith("studio-"));
    expect(own.map(({ metadata }) => metadata?.annotations?.["pulumi-comfyui/owner"])).toEqual([
      `${owner.organization}/${owner.project}/${owner.stack}`,
      `${owner.organization}/${owner.project}/${owner.stack}`,
    ]);
  });

  test("is claimed again by its owner without another token, with the new settings", async () => {
    const first = await records.claim(owner, settings, false);
    const token = await records.deployerToken();
    const changed = { drain: { ...settings.drain, deadline: 5 } };
    expect(await records.claim(owner, changed, false)).toEqual(first);
    expect((await records.required()).settings).toEqual(changed);
    expect(await records.deployerToken()).toBe(token);
  });

  test("is refused to another owner by the first one's name and time, and taken over when that is asked for", async () => {
    const { since } = await records.claim(owner, settings, false);
    const refused = records.claim(otherOwner, settings, false);
    await expect(refused).rejects.toThrow(ConflictError);
    await expect(refused).rejects.toThrow(`${owner.organization}/${owner.project}/${owner.stack} since ${since}`);
    expect((await records.claim(otherOwner, settings, true)).owner).toEqual(otherOwner);
  });

  test("two claims at once have one owner", async () => {
    const outcomes = await Promise.allSettled([
      records.claim(owner, settings, false),
      new ServiceRecords(cluster, "studio").claim(otherOwner, settings, false),
    ]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test("changes made at once are all in it: each replaces exactly what it read", async () => {
    await records.claim(owner, settings, false);
    const spec = specFor(`s3://bucket/store#sha256:${"a".repeat(64)}`);
    const create = () =>
      records.change((record) => {
        const { service, release } = recordRelease(record, owner, spec, new Date().toISOString());
        // Somebody knows it: the next one is another.
        return {
          ...service,
          releases: service.releases.map((one) => (one.id === release.id ? { ...one, confirmed: true } : one)),
        };
      });
    await Promise.all(Array.from({ length: 8 }, create));
    const { revision, releases } = await records.required();
    expect(revision).toBe(8);
    expect(releases.map((release) => release.revision)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("that somebody wrote by hand is not guessed at", async () => {
    await records.claim(owner, settings, false);
    const { core, namespace } = cluster;
    const found = await core.readNamespacedConfigMap({ name: "studio-record", namespace });
    await core.replaceNamespacedConfigMap({
      name: "studio-record",
      namespace,
      body: { ...found, data: { "record.json": '{"format":2}' } },
    });
    await expect(records.record()).rejects.toThrow(
      /record\.json of the ConfigMap .*studio-record is not as this package/,
    );
  });

  test("goes with everything that was made for it", async () => {
    await records.claim(owner, settings, false);
    await records.remove();
    const { core, namespace } = cluster;
    const left = [await core.listNamespacedConfigMap({ namespace }), await core.listNamespacedSecret({ namespace })];
    expect(left.flatMap(({ items }) => items.map(({ metadata }) => metadata?.name))).not.toContainEqual(
      expect.stringMatching(/^studio-/),
    );
    await records.remove();
  });
});

describe("a service's target", () => {
  test("grows its generation with every change, and with nothing else", async () => {
    await records.claim(owner, settings, false);
    expect(await records.changeTarget(() => target)).toEqual({ ...target, generation: 1 });
    expect(await records.changeTarget(() => target)).toEqual({ ...target, generation: 1 });
    expect((await records.changeTarget((was) => ({ ...was, draining: ["r0-zzzzz"] }))).generation).toBe(2);
  });

  test("a change that refuses what it finds changes nothing", async () => {
    await records.claim(owner, settings, false);
    await records.changeTarget(() => ({ ...target, revision: 5 }));
    const late = records.changeTarget((was) => {
      if (was.revision > 1) throw new ConflictError("too late");
      return target;
    });
    await expect(late).rejects.toThrow("too late");
    expect(await records.target()).toEqual({ ...target, revision: 5, generation: 1 });
  });
});
