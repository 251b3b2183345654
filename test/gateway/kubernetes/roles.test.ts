import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { waitFor } from "../../../runtime/waiting";
import { ApiLink, ApiServer } from "../../support/api-server";
import { deployer, eventually } from "../../support/gateway-bench";
import { type ClusterGateway, GatewayCluster, type TestPod } from "../../support/gateway-cluster";

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

/** Two gateways with one instance behind them: who leads, and who follows. */
async function pair(
  duration: number | null = 0,
): Promise<{ leader: ClusterGateway; follower: ClusterGateway; pod: TestPod }> {
  const pod = await cluster.pod("r1-aaaaa", "x-1", { duration });
  await cluster.serve("r1-aaaaa");
  const leader = await cluster.gateway();
  const follower = await cluster.gateway();
  expect(await cluster.leader()).toBe(leader);
  await leader.prompt("warm-up", "warm-up");
  if (duration === null) pod.upstream.finishOne();
  await leader.result("warm-up");
  return { leader, follower, pod };
}

test("a follower passes on requests, large bodies and sockets, and keeps nobody out or in that the leader would not", async () => {
  const { leader, follower } = await pair();
  const client = await cluster.socket(follower, "me");
  const id = await follower.prompt("me");
  await client.end(id);
  expect(client.about(id)).toContain("execution_success");
  expect(await follower.image(await follower.result(id))).toContain(`for ${id}`);
  expect(await leader.image(await leader.result(id))).toContain(`for ${id}`);

  const body = Buffer.alloc(30 * 2 ** 20, 7);
  const echoed = (await (await fetch(`${follower.url}/echo`, { method: "POST", body })).json()) as {
    bytes: number;
    headers: Record<string, string>;
  };
  expect(echoed.bytes).toBe(body.length);
  expect(echoed.headers).not.toHaveProperty("x-comfyui-gateway-hop");
  expect((await (await fetch(`${follower.url}/big`)).arrayBuffer()).byteLength).toBe(64 * 65_536);
  await expect(fetch(`${follower.url}/cut`).then((response) => response.text())).rejects.toThrow();

  expect((await fetch(`${leader.url}/metrics`)).status).toBe(200);
  expect((await fetch(`${follower.url}/metrics`)).status).toBe(401);
  expect((await fetch(`${follower.url}/_gateway/spool`)).status).toBe(401);
  expect((await fetch(`${follower.url}/_gateway/status`, { headers: deployer })).status).toBe(200);
  const looped = await fetch(`${follower.url}/system_stats`, { headers: { "x-comfyui-gateway-hop": "x" } });
  expect(looped.status).toBe(503);
});

test("when the leader is killed, the follower answers within its hold, with what was kept before and what ran on", async () => {
  const { leader, follower, pod } = await pair(null);
  await leader.prompt("me", "kept");
  pod.upstream.finishOne();
  const image = await leader.image(await leader.result("kept"));
  await leader.prompt("me", "running");
  const client = await cluster.socket(follower, "me");
  await eventually("the notes to be copied", async () => (await follower.json("/queue")).queue_running !== undefined);

  await leader.kill();
  const queued = follower.prompt("me", "after");
  expect(await client.closed).toBe(1012);
  expect(await queued).toBe("after");
  expect(await follower.image(await follower.result("kept"))).toBe(image);
  pod.upstream.finishOne();
  pod.upstream.finishOne();
  for (const id of ["running", "after"]) expect(await follower.image(await follower.result(id))).toContain(`for ${id}`);
  expect(pod.upstream.executed).toEqual(["warm-up", "kept", "running", "after"]);

  // The one that was killed comes back, and follows.
  leader.start();
  await leader.ready();
  expect(await leader.image(await leader.result("kept"))).toBe(image);
  expect(await cluster.holder()).toBe(`${follower.name}_${follower.host}`);
});

test("prompts of which no note was copied are found on their instances, and drained only when their results are kept", async () => {
  const { leader, follower, pod } = await pair(null);
  // Straight to the instance: as a prompt whose note was lost.
  const body = JSON.stringify({
    prompt: { "1": { class_type: "SaveImage", inputs: {} } },
    prompt_id: "lost",
    client_id: "me",
  });
  await fetch(`${pod.upstream.url}/prompt`, { method: "POST", body });
  await leader.kill();
  await follower.prompt("other", "after");
  await cluster.serve("r1-aaaaa", ["r1-aaaaa"]);
  pod.upstream.finishOne();
  pod.upstream.finishOne();
  await cluster.statusSays("that it is drained", ({ instances }) => instances[0]?.drained === true);
  await pod.vanish();
  await pod.upstream.kill();
  await eventually("the pod to be gone", async () => ((await follower.status()).instances as []).length === 0);
  for (const id of ["lost", "after"]) expect(await follower.image(await follower.result(id))).toContain(`for ${id}`);
});

test("an instance is drained only when its results are in both, and its agent is told so until it listens", async () => {
  const { leader, follower, pod } = await pair();
  follower.signal("SIGSTOP");
  // A follower that has not been heard of for 5 s no longer counts; until then it does.
  await leader.prompt("me", "kept");
  await leader.result("kept");
  pod.agent.refusals = 1;
  await cluster.serve("r1-aaaaa", ["r1-aaaaa"]);
  await eventually("the instance to drain", async () => JSON.stringify(await leader.status()).includes('"draining"'));
  expect(JSON.stringify(await leader.status())).toContain('"drained":false');
  expect(pod.agent.told).not.toContain("POST /released");
  follower.signal("SIGCONT");
  await cluster.statusSays("that it is drained", ({ instances }) => instances[0]?.drained === true);
  await eventually("its agent to be told", () => pod.agent.told.includes("POST /released"));
  await leader.kill();
  await pod.upstream.kill();
  expect(await follower.image(await follower.result("kept"))).toContain("for kept");
});

test("a leader that was frozen does nothing more when it goes on after another one has taken over", async () => {
  const { leader, follower, pod } = await pair();
  leader.signal("SIGSTOP");
  // Its kernel still takes connections: this request is read when it goes on.
  const late = leader.prompt("me", "late");
  const accepted = late.then(
    () => true,
    () => false,
  );
  await waitFor({
    what: "the other one to have taken over",
    deadline: 60_000,
    look: async () => ((await cluster.holder()).startsWith(follower.name) ? true : undefined),
  });
  await follower.prompt("me", "meanwhile");
  leader.signal("SIGCONT");
  // It was held, and then passed on to the new leader: once.
  expect(await accepted).toBe(true);
  expect(pod.upstream.accepted.filter((id) => id === "late")).toHaveLength(1);
  const submissions = pod.upstream.requests.flatMap((line, index) => (line === "POST /prompt" ? [index] : []));
  const lateHeaders = pod.upstream.requestHeaders[submissions[pod.upstream.accepted.indexOf("late")] ?? -1];
  expect(lateHeaders).toHaveProperty("x-forwarded-for");
  expect(await follower.image(await follower.result("late"))).toContain("for late");
  await leader.ready();
  expect(await cluster.status()).toMatchObject({ leader: follower.name });
});

test("while the API server is away, and after it has come back, both serve as before", async () => {
  const { leader, follower, pod } = await pair();
  await server.killApiServer();
  const until = performance.now() + 15_000;
  let answered = 0;
  while (performance.now() < until) {
    for (const gateway of [leader, follower]) {
      const id = await gateway.prompt("me");
      expect(await gateway.image(await gateway.result(id))).toContain(`for ${id}`);
      answered += 1;
    }
    await delay(200);
  }
  expect(answered).toBeGreaterThan(4);
  expect([await leader.isReady(), await follower.isReady()]).toEqual([true, true]);
  await server.startApiServer();
  const generation = await cluster.serve("r1-aaaaa", ["r0-aaaaa"]);
  await cluster.statusSays("the new generation", (status) => status.generation === generation, 60_000);
  expect(await cluster.leader()).toBe(leader);
  expect(pod.upstream.accepted.length).toBe(answered + 1);
});

test("a leader that is cut off from the API server leads on while its follower agrees, and no longer than that", async () => {
  const link = await ApiLink.to(server.port);
  try {
    const pod = await cluster.pod("r1-aaaaa", "x-1");
    await cluster.serve("r1-aaaaa");
    const leader = await cluster.gateway({ kubeconfig: server.kubeconfig("gateway", link.port) });
    const follower = await cluster.gateway();
    await leader.prompt("me", "before");
    await leader.result("before");
    link.cut();
    await delay(12_000);
    // The Lease has run out, yet who could take it follows.
    expect(await cluster.holder()).toBe(`${leader.name}_${leader.host}`);
    await follower.prompt("me", "through");
    expect(pod.upstream.accepted).toContain("through");
    // Its only witness goes: it must not lead alone.
    follower.signal("SIGSTOP");
    await eventually("it to lead no longer", async () => !(await leader.isReady()));
    follower.signal("SIGCONT");
  } finally {
    link.close();
  }
});

test("watches whose connection has died in silence, and versions that are forgotten, are noticed", async () => {
  const link = await ApiLink.to(server.port);
  try {
    await cluster.pod("r1-aaaaa", "x-1");
    await cluster.serve("r1-aaaaa");
    const gateway = await cluster.gateway({ kubeconfig: server.kubeconfig("gateway", link.port) });
    link.silence();
    const generation = await cluster.serve("r1-aaaaa", ["r0-aaaaa"]);
    await cluster.pod("r1-aaaaa", "x-2");
    await server.killApiServer();
    // Its cache of what was is gone with it.
    await server.startApiServer();
    link.open();
    await cluster.statusSays(
      "what has changed",
      (status) => status.generation === generation && status.instances.length === 2,
      60_000,
    );
    expect(gateway.program.output).toMatch(/silent for .* stays in force/);
    expect(gateway.program.output).toContain("pods is listed anew");
    expect(await gateway.isReady()).toBe(true);
  } finally {
    link.close();
  }
});
