import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";
import type { Upstream } from "../support/gateway-upstream";

const megabyte = 2 ** 20;
let bench: GatewayBench;
let a: Upstream;

beforeEach(async () => {
  bench = await GatewayBench.create();
  a = await bench.upstream({ name: "a" });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
});
afterEach(() => bench.remove());

async function connected(name: string) {
  const client = await bench.socket(name);
  await client.message("its status", ({ type }) => type === "status");
  return client;
}

test("a client that takes no messages loses previews, and hears of its prompt when it takes them again", async () => {
  const client = await connected("me");
  client.socket.pause();
  const previews = 100;
  for (let index = 0; index < previews; index += 1) a.sendPreview("me", Buffer.alloc(megabyte, index));
  await eventually("the gateway to have taken them", () => a.unsent("me") === 0);
  const id = await bench.prompt("me");
  await bench.result(id);
  client.socket.resume();
  await client.end(id);
  expect(client.binary.length).toBeGreaterThan(0);
  expect(client.binary.length).toBeLessThan(previews / 2);
  expect(client.about(id).at(-2)).toBe("execution_success");
});

test("a client that takes no messages at all loses its socket before it costs much, and others do not notice", async () => {
  const slow = await connected("slow");
  const quick = await connected("quick");
  slow.socket.pause();
  const text = "x".repeat(megabyte);
  for (let index = 0; index < 100; index += 1) a.send("slow", "notice", { text });
  await eventually("the gateway to give the slow one up", async () =>
    (await (await bench.get("/metrics")).text()).includes("comfyui_gateway_sockets 1"),
  );
  const id = await bench.prompt("quick");
  await quick.end(id);
  slow.socket.resume();
  expect(await slow.closed).toBe(1006);
});
