import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ReleaseNodes, sameOwner, withRelease } from "../../runtime/deployment";
import { drainRelease, removeRelease, removeReleasesOf } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { WrittenNamespace } from "../support/cluster-objects";
import { otherOwner, owner, settings } from "../support/supervisor-platform";

let removed: ReleaseNodes[];
let server: ApiServer;
let namespace: WrittenNamespace;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());
beforeEach(async () => {
  removed = [];
  namespace = await WrittenNamespace.create(server, owner);
});

const context = () => ({
  progress: () => undefined,
  signal: new AbortController().signal,
  assertEngine: async () => undefined,
  removeNodes: async (nodes: ReleaseNodes) => void removed.push(nodes),
});

describe("after a takeover", () => {
  test("what the former owner left goes, what the new one has and what serves stays", async () => {
    const former = await namespace.service();
    const idle = await former.release(["started", "proven", "serving", "draining", "drained"], { count: 0 });
    const stillServing = await former.release(["started", "proven", "serving"]);
    await former.serve(stillServing);
    await former.records.claim(otherOwner, settings, true);
    const taken = await (await namespace.service("studio", otherOwner)).release(["started"]);
    const theirs = (other: typeof owner) => !sameOwner(other, otherOwner);

    await removeReleasesOf(former.records, theirs, context());

    const contents = await namespace.contents();
    expect(contents.filter((name) => name.includes(idle))).toEqual([]);
    for (const release of [stillServing, taken]) {
      expect(contents.filter((name) => name.endsWith(`studio-${release}`))).toHaveLength(3);
    }
    const { releases } = await former.records.required();
    expect(releases.map(({ events }) => events.at(-1)?.event)).toEqual(["removed", "serving", "started"]);

    // The switch of the new owner moves the traffic, and then the rest goes as well.
    await former.serve(taken);
    await removeReleasesOf(former.records, theirs, context());
    expect((await namespace.contents()).filter((name) => name.startsWith("Deployment"))).toEqual([
      `Deployment studio-${taken}`,
    ]);
  });
});

describe("a release", () => {
  test("that gets the traffic neither drains nor goes", async () => {
    const service = await namespace.service();
    const release = await service.release(["started", "proven", "serving"]);
    await service.serve(release);
    const target = await service.records.target();

    await expect(drainRelease(service.records, { ...context(), release })).rejects.toThrow("still gets the traffic");
    await expect(removeRelease(service.records, { ...context(), release })).rejects.toThrow("--include-serving");

    expect(await service.records.target()).toEqual(target);
    expect(await namespace.contents()).toContain(`Deployment studio-${release}`);
  });

  test("goes with the nodes that are its own, after its pods", async () => {
    const service = await namespace.service();
    const release = await service.release(["started"]);
    const nodes = { cluster: "prod", nodeGroup: `studio-${release}` };
    await service.records.change((record) => {
      const [known] = record.releases;
      return known === undefined ? record : withRelease(record, { ...known, nodes });
    });

    await removeRelease(service.records, { ...context(), release });
    await removeReleasesOf(service.records, () => true, context());

    expect(removed).toEqual([nodes]);
  });

  test("goes with all its objects, and again when the first removal was killed", async () => {
    const service = await namespace.service();
    const release = await service.release(["started"]);
    const { core, namespace: name } = namespace.cluster;
    await core.deleteNamespacedSecret({ name: `studio-${release}`, namespace: name });

    await removeRelease(service.records, { ...context(), release });
    await removeRelease(service.records, { ...context(), release });

    expect((await namespace.contents()).filter((each) => each.includes(release))).toEqual([]);
    const { releases } = await service.records.required();
    expect(releases[0]?.events.filter(({ event }) => event === "removed")).toHaveLength(1);
  });
});
