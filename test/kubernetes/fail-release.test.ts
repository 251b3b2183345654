import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ReleaseNodes, recordRelease, withEvent, withRelease } from "../../runtime/deployment";
import { type Cluster, connectCluster, failRelease, objectNames, ServiceRecords } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { owner, settings, specFor } from "../support/supervisor-platform";

// No controllers run here: a Deployment is what is wanted.

const nodes: ReleaseNodes = { cluster: "prod", region: "eu-west-1", nodeGroup: "studio-r1" };

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
  await records.claim(owner, settings, false);
});

/** A release with two instances and nodes of its own. */
async function release({ served = false } = {}): Promise<string> {
  let id = "";
  await records.change((record) => {
    const { service, release: made } = recordRelease(record, owner, specFor("/store#sha256:0"), "then");
    id = made.id;
    const started = { ...withEvent(made, "started", "then"), count: 2, nodes };
    return withRelease(service, served ? withEvent(started, "serving", "then") : started);
  });
  const { namespace } = cluster;
  const labels = { release: id };
  const spec = {
    replicas: 2,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: "comfyui", image: "c" }] } },
  };
  const name = objectNames("studio").release(id);
  await cluster.apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec } });
  return id;
}

async function seen(id: string) {
  const { namespace } = cluster;
  const name = objectNames("studio").release(id);
  const known = (await records.required()).releases.find((each) => each.id === id);
  const { spec } = await cluster.apps.readNamespacedDeployment({ name, namespace });
  return { count: known?.count, replicas: spec?.replicas, last: known?.events.at(-1) };
}

describe("a release that fails", () => {
  test("is recorded so; its instances go, and then the nodes of its own", async () => {
    const id = await release();
    await records.changeTarget(() => ({ release: "r0-aaaaa", revision: 0, draining: [] }));
    const given: unknown[] = [];

    const consequence = await failRelease(records, id, "no paint left", async (own) => {
      given.push(own, (await seen(id)).replicas);
    });

    expect(consequence).toBe("traffic stays on r0-aaaaa");
    expect(given).toEqual([nodes, 0]);
    expect(await seen(id)).toEqual({
      count: 0,
      replicas: 0,
      last: { event: "failed", at: expect.any(String), detail: "no paint left" },
    });
  });

  test("keeps what it has once it has served", async () => {
    const id = await release({ served: true });
    await records.changeTarget(() => ({ release: id, revision: 1, draining: [] }));

    const consequence = await failRelease(records, id, "no paint left", async () => {
      throw new Error("its nodes are in use");
    });

    expect(consequence).toBe("what of it is proven goes on serving");
    expect(await seen(id)).toMatchObject({ count: 2, replicas: 2, last: { event: "failed" } });
  });

  test("tells of what could not be taken away, in place of an error", async () => {
    const id = await release();

    const consequence = await failRelease(records, id, "no paint left", async () => {
      throw new Error("AccessDenied");
    });

    expect(consequence).toContain("could not be taken away and stay: AccessDenied");
    expect(await seen(id)).toMatchObject({ count: 0, replicas: 0, last: { event: "failed" } });
  });
});
