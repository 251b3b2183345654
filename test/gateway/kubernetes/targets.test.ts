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

test("pods that compute cost more to delete than idle ones", async () => {
  const pod = await cluster.pod("r1-aaaaa", "x-1", { duration: null });
  await cluster.serve("r1-aaaaa");
  const gateway = await cluster.gateway();
  const cost = async () => (await pod.annotations())["controller.kubernetes.io/pod-deletion-cost"];
  await gateway.prompt("me", "long");
  await eventually("it to cost more", async () => (await cost()) === "1");
  pod.upstream.finishOne();
  await eventually("it to cost nothing again", async () => (await cost()) === "0");
});

test("an instance that was released and serves again is told that it is needed", async () => {
  const pod = await cluster.pod("r1-aaaaa", "x-1");
  await cluster.serve("r2-bbbbb", ["r1-aaaaa"]);
  await cluster.gateway();
  await eventually("its agent to be released", () => pod.agent.told.at(-1) === "POST /released");
  await cluster.serve("r1-aaaaa");
  await eventually("its agent to be needed", () => pod.agent.told.at(-1) === "POST /needed");
});

test("settings and targets that cannot be used leave those before in force, and a gateway without any does not start", async () => {
  await cluster.pod("r1-aaaaa", "x-1");
  await cluster.serve("r1-aaaaa");
  const gateway = await cluster.gateway();
  const broken = Buffer.from("{}").toString("base64");
  await cluster.patch(cluster.of("secrets", "studio-gateway"), { data: { "settings.json": broken } });
  await cluster.patch(cluster.of("configmaps", "studio-target"), { data: { "target.json": '{"generation": "x"}' } });
  await eventually("it to say so", () =>
    ["ConfigMap studio-target", "Secret studio-gateway"].every((name) =>
      gateway.program.output.includes(`${name} cannot be used`),
    ),
  );
  const id = await gateway.prompt("me");
  expect(await gateway.image(await gateway.result(id))).toContain(`for ${id}`);
  await expect(cluster.gateway({ waits: false })).rejects.toThrow(/needs its settings in .*apiKeyHashes/s);
});
