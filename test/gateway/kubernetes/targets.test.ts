import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ApiServer } from "../../support/api-server";
import { eventually } from "../../support/gateway-bench";
import { GatewayCluster } from "../../support/gateway-cluster";

let server: ApiServer;
let cluster: GatewayCluster;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(async () => {
  await server?.stop();
});
beforeEach(async () => {
  cluster = await GatewayCluster.create(server);
});
afterEach(async () => {
  await cluster.remove();
});

const stateOf = async (id: string) =>
  (await cluster.status())?.instances.find((instance) => instance.id === id)?.state ?? "none";

test("a lone gateway leads, serves the pods of the target's release, and says what it does", async () => {
  const pod = await cluster.pod("r1-aaaaa", "x-1");
  const generation = await cluster.serve("r1-aaaaa");
  const gateway = await cluster.gateway();
  const id = await gateway.prompt("me");
  expect(await gateway.image(await gateway.result(id))).toContain(`for ${id}`);
  await cluster.statusSays("its generation", (status) => status.generation === generation);
  expect(await cluster.status()).toMatchObject({
    leader: gateway.name,
    serving: "r1-aaaaa",
    instances: [{ id: pod.id, state: "ready", drained: false }],
  });
  expect(gateway.program.output).not.toContain("Warning");
});

test("pods come, lose their readiness, are started again, and go", async () => {
  const first = await cluster.pod("r1-aaaaa", "x-1");
  const stranger = await cluster.pod("r1-aaaaa", "x-9", { owner: "other-r1-aaaaa-abc12" });
  await cluster.serve("r1-aaaaa");
  const gateway = await cluster.gateway();
  const second = await cluster.pod("r1-aaaaa", "x-2", { ready: false });
  await eventually("the first to be ready", async () => (await stateOf(first.id)) === "ready");
  expect(await stateOf(second.id)).toBe("none");
  expect(await stateOf(stranger.id)).toBe("none");

  await second.setReady(true);
  await eventually("the second to be ready", async () => (await stateOf(second.id)) === "ready");
  await first.setReady(false);
  await eventually("the first to keep its place", async () => (await stateOf(first.id)) === "unready");
  for (let index = 0; index < 4; index += 1) await gateway.prompt(`client-${index}`);
  expect([first.upstream.accepted.length, second.upstream.accepted.length]).toEqual([0, 4]);

  await first.setStatus({ phase: "Failed" });
  await eventually("the first to be gone", async () => (await stateOf(first.id)) === "none");
  await second.delete();
  await eventually("the second to drain", async () => (await stateOf(second.id)) === "draining");
  await eventually("its agent to be told", () => second.agent.told.includes("POST /released"));
  await second.vanish();
  await eventually("the second to be gone", async () => (await stateOf(second.id)) === "none");
});
