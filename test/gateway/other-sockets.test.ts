import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

async function one(duration: number | null = 0) {
  const a = await bench.upstream({ name: "a", duration });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  return a;
}

describe("other sockets", () => {
  test("of plugins are joined with the client's instance", async () => {
    await one();
    const client = await bench.socket(null, { path: "/plugin-socket" });
    client.socket.send("hello");
    await eventually("the echo", () => client.texts.includes("a heard hello"));
  });

  test("of plugins do not hold up the gateway's stop", async () => {
    await one();
    const client = await bench.socket(null, { path: "/plugin-socket" });
    await bench.stop();
    await client.closed;
  });

  test("of the deployer reach a candidate", async () => {
    const a = await one();
    const candidate = await bench.upstream({ name: "candidate" });
    await bench.setTargets("r1", [target(a, "r1/0"), target(candidate, "r2/0")]);
    const headers = { ...deployer, "x-comfyui-release": "r2" };
    const client = await bench.socket("probe", { headers });
    const id = await bench.prompt("probe", undefined, headers);
    await client.end(id);
    expect(candidate.accepted).toEqual([id]);
    expect(a.openClients).not.toContain("probe");
  });
});

describe("what lasts as long as a page is open", () => {
  test.each(["a plugin's socket", "a stream of events"])("%s does not hold up a drain", async (what) => {
    const a = await one();
    const plugin = what.includes("socket") ? await bench.socket(null, { path: "/plugin-socket" }) : null;
    const events = plugin === null ? await bench.get("/events") : null;
    await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
    if (plugin !== null) expect(plugin.socket.readyState).toBe(plugin.socket.OPEN);
    await events?.body?.cancel();
  });
});
